"""Observers of committed entries: audit hooks, telemetry, and log lines of failed steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from replay.codec.log_rows import Unreadable, inspected
from replay.core import entries as e
from replay.core.errors import describe_error
from replay.core.interrupts import ends_the_process
from replay.core.requests import Header
from replay.logs import get_logger
from replay.ports import Codec

log = get_logger("replay.worker")

Observer = Callable[[Header, e.Fact], object]
"""Takes an execution's header (as it was claimed) and one entry."""


class Observable(Protocol):
    """An engine or client, as observers attach to it."""

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call *observer* with each entry that is committed here. Return a function that removes it."""
        ...


_FAILURES = (b'["StepFailed"', b'["StepRetried"')
"""First bytes of the rows of failed attempts, with any codec, since all write JSON. Other rows need not be decoded."""


def notify(observers: Iterable[Observer], header: Header, entries: Iterable[e.Fact]) -> None:
    """Call all observers with each entry. An exception of an observer is logged, and the others are called."""
    for entry in entries:
        for observer in tuple(observers):
            try:
                observer(header, entry)
            except BaseException as error:  # whatever it raises, it must not stop the worker
                if ends_the_process(error):
                    raise
                log.exception("on_entry: %r raised; the execution goes on", observer, extra={"execution_id": header.id})


def notify_committed(observers: Iterable[Observer], header: Header, rows: Sequence[bytes], codec: Codec) -> None:
    """Call all observers with the rows that a worker has just committed; log the failed attempts among them."""
    if observers and rows:
        notify(observers, header, _readable(rows, codec))
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
    return " ".join(describe_error(error).split())[:200]
