"""Who is told of entries that were committed: audit hooks, telemetry, and the log that people read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from replay.codec.log_rows import Unreadable, inspected
from replay.core import entries as e
from replay.core.requests import Header
from replay.ports import Codec

log = logging.getLogger("replay.worker")

Observer = Callable[[Header, e.Fact], object]
"""Told of an execution's header (as when it was claimed) and an entry."""


class Observable(Protocol):
    """Who takes observers: an engine, or a client."""

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call *observer* with each entry that is committed here; returns the remover."""
        ...


_FAILURES = (b'["StepFailed"', b'["StepRetried"')
"""How the rows of failures begin, whatever the codec: it writes JSON. The others need not be decoded."""


def tell(observers: Iterable[Observer], header: Header, entries: Iterable[e.Fact]) -> None:
    """Tell all observers of *entries*; what one of them raises is logged and disturbs nobody."""
    for entry in entries:
        for observer in tuple(observers):
            try:
                observer(header, entry)
            except Exception:
                log.exception("on_entry: %r raised; the execution goes on", observer, extra={"execution_id": header.id})


def committed(observers: Iterable[Observer], header: Header, rows: Sequence[bytes], codec: Codec) -> None:
    """Tell of rows that a worker has just committed; failures among them are logged."""
    if observers and rows:
        tell(observers, header, _readable(rows, codec))
    failures = [row for row in rows if row.startswith(_FAILURES)]
    for entry in _readable(failures, codec) if failures else ():
        _log_failure(header, entry)


def _readable(rows: Sequence[bytes], codec: Codec) -> list[e.Fact]:
    return [entry for entry in inspected(list(rows), codec) if not isinstance(entry, Unreadable)]


def _log_failure(header: Header, entry: e.Fact) -> None:
    fields = {"execution_id": header.id, "workflow": header.workflow, "step": entry.id}
    match entry:
        case e.StepFailed(attempts=attempt, error=error):
            text = f"step {entry.id!r} of execution {header.id!r} failed after {attempt}: {_one_line(error)}"
            log.warning("%s", text, extra={**fields, "attempt": attempt})
        case e.StepRetried(attempt=attempt, error=error):
            again = f"again in {entry.due - entry.at:.1f} s"
            text = (
                f"step {entry.id!r} of execution {header.id!r} failed (attempt {attempt}), {again}: {_one_line(error)}"
            )
            log.info("%s", text, extra={**fields, "attempt": attempt})
        case _:
            pass


def _one_line(error: Any) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
