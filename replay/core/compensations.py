"""Compensations: the steps that can be undone, and the rollbacks under way. Newest step first, each once (invariant I38)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from replay.core.commands import RollbackReport, Step, StepOptions
from replay.core.errors import CompensationFailed
from replay.core.fibers import Fiber


@attrs.frozen
class Compensation:
    """The undoing of one recorded step, at log index `index`."""

    id: str
    undo: Callable[[Any], Any]
    result: Any
    options: StepOptions
    index: int


class Compensations:
    """The steps of an execution that `ctx.rollback()` undoes, and the fibers that roll back.

    Rollbacks of several fibers run one after the other, so the later find less to undo. The next compensation is chosen when
    it begins: meanwhile siblings may register more.
    """

    def __init__(self) -> None:
        self._undoable: list[Compensation] = []
        self._undoing: Compensation | None = None
        self._undone: list[Compensation] = []
        self._rollbacks: deque[tuple[Fiber, list[str]]] = deque()  # with the ids they undid; the first is under way

    def register(self, done: Compensation) -> None:
        """Note a step that can be undone."""
        self._undoable.append(done)

    def enter(self, fiber: Fiber) -> bool:
        """Queue the rollback of *fiber*; return whether it may begin at once."""
        self._rollbacks.append((fiber, []))
        return len(self._rollbacks) == 1

    def has(self, fiber: Fiber) -> bool:
        """Tell whether *fiber* rolls back, or waits for its turn."""
        return any(each is fiber for each, _ in self._rollbacks)

    @property
    def under_way(self) -> Fiber:
        """The fiber whose rollback is under way."""
        return self._rollbacks[0][0]

    def completed_rollbacks(self) -> Iterator[tuple[Fiber, RollbackReport]]:
        """Remove and yield the completed rollbacks: all, if no step is left to undo."""
        while self._rollbacks and not self._undoable:
            fiber, undone = self._rollbacks.popleft()
            yield fiber, RollbackReport(tuple(undone))

    def next(self) -> Step[Any] | None:
        """Begin the next compensation; return it as a step of the fiber under way, None without a rollback."""
        if not self._rollbacks:
            return None
        done = self._undoing = self._undoable.pop()
        options = StepOptions(retry=done.options.retry, timeout=done.options.timeout)
        return Step(f"rollback:{done.id}", done.undo, (done.result,), {}, options)

    def done(self) -> None:
        """Record that the current compensation completed."""
        assert self._undoing is not None
        self._undone.append(self._undoing)
        self._rollbacks[0][1].append(self._undoing.id)

    def failed(self, cause: BaseException) -> CompensationFailed:
        """Record that the current compensation failed for good; return the error with the ids undone and not undone."""
        assert self._undoing is not None
        _, undone = self._rollbacks.popleft()
        remaining = (self._undoing.id, *(done.id for done in reversed(self._undoable)))
        return CompensationFailed(self._undoing.id, tuple(undone), remaining, cause)

    @property
    def undoable(self) -> tuple[str, ...]:
        """Ids of the steps that a rollback would undo now, newest first."""
        return tuple(done.id for done in reversed(self._undoable))

    @property
    def first_undone(self) -> int | None:
        """Log index of the earliest step that was undone, None if none was."""
        return min((done.index for done in self._undone), default=None)
