"""Failure traces: the part of a log that a retry must void, so that the failed command runs again and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from replay.core.errors import ReplayError, cause_of, context_of

MAX_CAUSES = 20
"""Causes of an error that are followed to a failed command: a chain may be a circle."""


class FailureTrace:
    """The spread of one failure.

    Attributes:
        rows: Log indexes of the failed command's own entries, and of attempts that were abandoned because of it.
        index: Log index of the failure itself.
        taint_from: For each fiber that saw the failure, the log index after which its entries depend on it.
    """

    __slots__ = ("index", "rows", "taint_from")

    def __init__(self, rows: Iterable[int]) -> None:
        self.rows = set(rows)
        self.index = max(self.rows, default=-1)
        self.taint_from: dict[int, int] = {}

    def taint(self, fiber: int, index: int) -> None:
        """Note that the entries of *fiber* after *index* depend on the failure."""
        self.taint_from[fiber] = min(index, self.taint_from.get(fiber, index))

    def include(self, other: FailureTrace) -> None:
        """Make the failure of *other* void with this one."""
        if other is not self:
            self.rows |= other.rows
            for fiber, index in other.taint_from.items():
                self.taint(fiber, index)

    def is_tainted(self, index: int, fiber: int, spawned_at: dict[int, tuple[int, int]]) -> bool:
        """Tell whether the entry at *index* of *fiber* depends on the failure, by itself or through an ancestor."""
        taint = self.taint_from.get(fiber)
        return (taint is not None and index > taint) or self.dissolves(fiber, spawned_at)

    def dissolves(self, fiber: int, spawned_at: dict[int, tuple[int, int]]) -> bool:
        """Tell whether *fiber* was created because of the failure."""
        while fiber in spawned_at and fiber:
            fiber, spawned = spawned_at[fiber]
            taint = self.taint_from.get(fiber)
            if taint is not None and spawned >= taint:
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

    def in_flight(self, error: BaseException | None) -> Iterator[FailureTrace]:
        """Yield the traces of *error*, of its causes, and of the errors that were being handled when it was raised."""
        errors, seen = [error], 0
        while errors and seen < MAX_CAUSES:
            seen += 1
            each = errors.pop()
            if each is None:
                continue
            if (trace := self.of(each)) is not None:
                yield trace
            errors += (cause_of(each), context_of(each))


@attrs.frozen
class Voids:
    """The part of an attempt that a retry makes void.

    Attributes:
        entries: Log indexes.
        fibers: Numbers of the fibers that were created because of the failure.
    """

    entries: tuple[int, ...] = ()
    fibers: tuple[int, ...] = ()


def entries_to_void(
    trace: FailureTrace, spawned_at: dict[int, tuple[int, int]], rows: list[list[Any]], undone_from: int | None
) -> Voids:
    """Return what is to be void so that the failure of *trace* is tried again.

    Args:
        trace: The failure's spread.
        spawned_at: For each fiber, its parent's number and the log index at which it was created.
        rows: The whole log, decoded.
        undone_from: Index of the earliest step that was rolled back: it and all later entries are void.
    """
    entries = tuple(
        index
        for index, row in enumerate(rows)
        if index in trace.rows
        or (undone_from is not None and index >= undone_from)
        or trace.is_tainted(index, row[2], spawned_at)
    )
    fibers = tuple(
        fiber
        for fiber, (_, spawned) in spawned_at.items()
        if fiber and ((undone_from is not None and spawned >= undone_from) or trace.dissolves(fiber, spawned_at))
    )
    return Voids(entries, fibers)
