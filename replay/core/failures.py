"""Failure traces: the part of a log that a retry must void, so that the failed command runs again and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from replay.core.errors import ReplayError, cause_of

MAX_CAUSES = 20
"""Causes of an error that are followed to a failed command: a chain may be a circle."""


class FailureTrace:
    """The spread of one failure.

    Attributes:
        rows: Log indexes of the failed command's own entries.
        taint_from: For each fiber that saw the failure, the log index after which its entries depend on it.
    """

    __slots__ = ("rows", "taint_from")

    def __init__(self, rows: Iterable[int]) -> None:
        self.rows = frozenset(rows)
        self.taint_from: dict[int, int] = {}

    def is_tainted(self, index: int, fiber: int, spawned_at: list[tuple[int, int]]) -> bool:
        """Tell whether the entry at *index* of *fiber* depends on the failure, by itself or through an ancestor."""
        taint = self.taint_from.get(fiber)
        if taint is not None and index > taint:
            return True
        while fiber:
            fiber, spawned = spawned_at[fiber]
            taint = self.taint_from.get(fiber)
            if taint is not None and spawned > taint:
                return True
        return False


class FailureTraces:
    """The traces of an execution's failures, by the error that carries each."""

    def __init__(self) -> None:
        self._traces: WeakKeyDictionary[ReplayError, FailureTrace] = WeakKeyDictionary()

    def add(self, error: ReplayError, trace: FailureTrace) -> None:
        """Let *error* carry *trace*."""
        self._traces[error] = trace

    def of(self, error: BaseException | None) -> FailureTrace | None:
        """Return the trace that *error* itself carries."""
        return self._traces.get(error) if isinstance(error, ReplayError) else None

    def of_causes(self, error: BaseException | None) -> FailureTrace | None:
        """Return the trace that *error* or one of its causes carries."""
        for _ in range(MAX_CAUSES):
            if error is None:
                break
            if (trace := self.of(error)) is not None:
                return trace
            error = cause_of(error)
        return None


def entries_to_void(
    trace: FailureTrace, spawned_at: list[tuple[int, int]], rows: list[list[Any]], undone_from: int | None
) -> tuple[int, ...]:
    """Return the log indexes to void so that the failure of *trace* is tried again.

    Args:
        trace: The failure's spread.
        spawned_at: For each fiber, its parent's number and the log index at which it was created.
        rows: The whole log, decoded.
        undone_from: Index of the earliest step that was rolled back: it and all later entries are void.
    """
    return tuple(
        index
        for index, row in enumerate(rows)
        if index in trace.rows
        or (undone_from is not None and index >= undone_from)
        or trace.is_tainted(index, row[2], spawned_at)
    )
