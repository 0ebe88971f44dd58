"""Patches: what `ctx.patched(change)` answers, the same on every replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from replay.core.cursor import LogCursor


class Patches:
    """The changes that an execution has asked about. `new` holds those that are to be recorded.

    Args:
        rows: The log, encoded. What has been fed may be gone: a change is recorded after it was asked about, never before.
        decode: Decodes rows of it.
        cursor: The place in the log.
    """

    def __init__(
        self, rows: Sequence[bytes], decode: Callable[[Sequence[bytes]], list[Any]], cursor: LogCursor
    ) -> None:
        self._cursor = cursor
        self.new: list[str] = []
        self._rows = rows
        self._decode = decode
        self._recorded: set[str] | None = None
        self._answers: dict[str, bool] = {}

    def go_live(self) -> None:
        """Let go of the log: a long one must not stay in memory while its execution sleeps."""
        self._recorded = set()
        self._rows = ()

    def answer(self, change: str) -> bool:
        """As recorded; where the log goes on without a record, False; at the decider, True."""
        if change not in self._answers:
            self._answers[change] = self._new_answer(change)
        return self._answers[change]

    def _new_answer(self, change: str) -> bool:
        if not self._cursor.live:
            if self._recorded is None:
                marks = [row for row in self._rows if row.startswith(b'["Patched"')]
                self._recorded = {row[3] for row in self._decode(marks)}
            if change in self._recorded:
                return True
            if self._cursor.position < len(self._rows) - 1:
                return False
        self.new.append(change)
        return True
