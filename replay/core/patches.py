"""Patches: the answers of `ctx.patched(change)`, the same on every replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from replay.core.cursor import LogCursor


class Patches:
    """The answers for one execution. `new` holds the changes to be recorded.

    Args:
        rows: The log, encoded. Rows that were fed may be empty: a change is recorded after its question, never before.
        decode: Decodes rows of it.
        cursor: The place in the log.
        all_passed: The execution is known to have run to the end of the log, and to have been parked there.
    """

    def __init__(
        self,
        rows: Sequence[bytes],
        decode: Callable[[Sequence[bytes]], list[Any]],
        cursor: LogCursor,
        *,
        all_passed: bool = False,
    ) -> None:
        self._cursor = cursor
        self._all_passed = all_passed
        self.new: list[str] = []
        self._rows = rows
        self._decode = decode
        self._recorded: set[str] | None = None
        self._answers: dict[str, bool] = {}

    def go_live(self) -> None:
        """Release the log: a long one must not stay in memory while its execution sleeps."""
        self._recorded = set()
        self._rows = ()

    def answer(self, change: str) -> bool:
        """Return True if *change* is recorded, or new code asks; False if older code has passed here without a record."""
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
            if self._all_passed or self._cursor.position < len(self._rows) - 1:
                return False
        self.new.append(change)
        return True
