"""The driver: resumes fibers, takes up what they yield, and ends them: `all`, `race`, rollback and cancellation included.

It knows nothing of the log. The interpreter tells it what an entry means: `_resume` this fiber, `_cancel` that one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Literal
from weakref import WeakKeyDictionary

import attrs

from replay.core import divergence
from replay.core import entries as e
from replay.core.commands import (
    All,
    Command,
    ContinueAsNew,
    Race,
    Rollback,
    Step,
    WaitForExecution,
)
from replay.core.compensations import Compensations
from replay.core.context import Context
from replay.core.errors import (
    Cancelled,
    CompensationFailed,
    ExecutionCancelled,
    ExecutionFailed,
    NonDeterminism,
    ReplayError,
    WorkflowExit,
)
from replay.core.fibers import FailureTrace, Fiber, Join
from replay.core.generators import close_generator
from replay.core.ids import check_step_id, check_text

RAISED = (Exception, Cancelled, SystemExit, GeneratorExit)
"""What a workflow's code may end with. Other `BaseException`s are not its own: a person's Ctrl-C, a test framework's."""

Settle = Literal["all", "undoable", "none"]
"""Which running steps of a cancelled member are let end first: all, those with a compensation (which a later rollback must
know of), or none."""

MAX_MISUSES = 100
"""Wrong yields in a row after which the execution fails: the workflow catches our errors and yields on in a loop."""


@attrs.frozen
class Outcome:
    """How the workflow's code ended: a `value`, or an `error`, or `again` (continue as new with its input).

    `raised` is what it raised although its status says something else: a clean-up that failed after a cancel.
    """

    status: str
    value: Any = None
    error: BaseException | None = None
    again: ContinueAsNew[Any] | None = None
    raised: BaseException | None = None


@attrs.frozen
class Child:
    """A child that was started, at log index `index`, and has not been seen to end.

    `tells`: it is surely ours, so that its end comes to our inbox by itself. One that a key names may be somebody else's.
    """

    execution_id: str
    workflow: str
    on_parent_close: str
    step_id: str
    index: int
    tells: bool


class Driver:
    """Fibers and what becomes of them.

    `_advance` is the only place that resumes a generator (and `Interpreter._feed_straight`, its short cut).

    Args:
        start: Makes the workflow's generator.
        context: Its context.
        rollback_on_failure: Roll back before failing.
    """

    def __init__(
        self, start: Callable[[Context], Generator[Any, Any, Any]], context: Context, *, rollback_on_failure: bool
    ) -> None:
        self.context = context
        self.outcome: Outcome | None = None
        self.fibers: dict[int, Fiber] = {}
        self.fresh: deque[Fiber] = deque()  # fibers that blocked since the frontier looked (live only)
        self.live = False
        self.cancelled: e.CancelReceived | None = None
        self.children: dict[str, Child] = {}
        self.unwanted: list[str] = []  # children to cancel: nobody waits for them any more
        self.position = 0  # log index of the next row
        self.births: list[tuple[int, int]] = [(0, 0)]
        self.root = Fiber(0, "", None, 0, None)
        self._start = start
        self._rollback_on_failure = rollback_on_failure
        self._ids: dict[str, int] = {}
        self._runnable: deque[tuple[Fiber, Any, BaseException | None]] = deque()
        self._compensations = Compensations()
        self._trails: WeakKeyDictionary[ReplayError, FailureTrace] = WeakKeyDictionary()
        self._epilogue = False
        self._misuses = 0

    # --- fibers ------------------------------------------------------------------------------------------

    def _open(self) -> None:
        root = self.root
        self.fibers[0] = root
        try:
            root.gen = self._start(self.context)
        except RAISED as error:
            self._finish(root, None, error)
            return
        self._runnable.append((root, None, None))

    def _resume(self, fiber: Fiber, value: Any = None, error: BaseException | None = None) -> None:
        fiber.command = None
        fiber.join = None
        if fiber.cancel is error:
            fiber.cancel = None
        trail = self._trail(error)
        if trail is not None:
            trail.cuts[fiber.number] = self.position
        self._runnable.append((fiber, value, error))

    def _trail(self, error: BaseException | None) -> FailureTrace | None:
        return self._trails.get(error) if isinstance(error, ReplayError) else None

    def _drive(self) -> None:
        while self._runnable and self.outcome is None:
            self._advance(*self._runnable.popleft())

    def _advance(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        if fiber.gen is None:
            self._finish(fiber, value, error)
            return
        try:
            command = fiber.gen.send(value) if error is None else fiber.gen.throw(error)
        except StopIteration as stop:
            self._finish(fiber, stop.value, None)
        except NonDeterminism:
            raise
        except RAISED as raised:
            self._finish(fiber, None, raised)
        else:
            self._begin(fiber, command)

    def _begin(self, fiber: Fiber, command: Any) -> None:
        """Take up *command*, which *fiber* has yielded: block the fiber on it, or refuse it at its yield."""
        wrong: BaseException | None = None
        if not isinstance(command, Command):
            wrong = divergence.not_a_command(command, fiber)
        elif fiber.gen is not None and not self._epilogue:
            lost = self.context._yielded(command)
            wrong = None if lost is None else divergence.forgotten(lost, fiber.where())
        if wrong is None and fiber.cancel is not None:
            wrong, fiber.cancel = fiber.cancel, None
        elif wrong is not None:
            self._misuses += 1
            if self._misuses > MAX_MISUSES:
                self._finish_root(None, wrong)
                return
        if wrong is not None:
            self._runnable.append((fiber, None, wrong))
            return
        try:
            fiber.block(command, self._unique(fiber.prefix, command.id, type(command).__name__))
        except Exception as refused:
            self._runnable.append((fiber, None, refused))
            return
        match command:
            case Step():
                self._look(fiber)
            case All() | Race():
                self._join(fiber, command)
            case Rollback():
                if self._compensations.enter(fiber):
                    self._undo_next()
            case _:
                self._look(fiber)

    def _unique(self, prefix: str, id: str, kind: str) -> str:
        """Return the id under which a command stands in the log: scoped by its member, numbered if repeated."""
        full = prefix + (id if id.__class__ is str else check_text(id, kind))
        count = self._ids.get(full)
        if count is None:
            count = self._given(full) if "#" in full else 0
        if count == 0:
            self._ids[full] = 1
            check_step_id(id, kind)
            return full
        while (numbered := f"{full}#{count + 1}") in self._ids:
            count += 1
        self._ids[full] = count + 1
        return numbered

    def _given(self, id: str) -> int:
        """Return 1 if *id* (which nobody has yielded as such) was given to the repetition of another id, else 0."""
        base, _, number = id.rpartition("#")
        return int(base in self._ids and number.isdecimal() and 2 <= int(number) <= self._ids[base])

    def _look(self, fiber: Fiber) -> None:
        if self.live:
            self.fresh.append(fiber)

    def _finish(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        join = fiber.of
        if join is None:
            self._finish_root(value, error)
            return
        if isinstance(value, Generator) and error is None:
            error = divergence.returned_generator(value)
        self.fibers.pop(fiber.number, None)
        del join.live[fiber.name]
        join.results[fiber.name] = value
        match join.command:
            case All():
                self._member_of_all(join, fiber, error)
            case Race():
                self._member_of_race(join, fiber, error)

    # --- the workflow's end -------------------------------------------------------------------------------

    def _finish_root(self, value: Any, error: BaseException | None) -> None:
        if not self._epilogue:
            if error is None and isinstance(value, Generator):
                error = divergence.returned_generator(value)
            if error is None and not isinstance(value, ContinueAsNew):
                lost = self.context._returned()
                error = None if lost is None else divergence.forgotten(lost)
            self._epilogue = True
            self.root.gen = self._epilogue_of(value, error)
            self._runnable.append((self.root, None, None))
            self.fibers[0] = self.root
            return
        self.fibers.pop(0, None)
        self.outcome = self._outcome(value, error)

    def _epilogue_of(self, value: Any, error: BaseException | None) -> Generator[Any, Any, Any]:
        """What the engine does after the workflow's own code: roll back if asked to, wait for children."""
        if error is not None and self._rollback_on_failure:
            yield Rollback()
        waiting = True
        while waiting and (children := [c for c in self.children.values() if c.on_parent_close == "wait"]):
            self.unwanted.extend(c.execution_id for c in self.children.values() if c.on_parent_close == "cancel")
            try:
                yield WaitForExecution(f"close:{children[0].step_id}", children[0].execution_id)
            except (ExecutionFailed, ExecutionCancelled):
                continue
            except Cancelled:
                self.unwanted.extend(child.execution_id for child in children)
                waiting = False
        if error is not None:
            raise error
        return value

    def _outcome(self, value: Any, error: BaseException | None) -> Outcome:
        if self.cancelled is not None:
            return self._as_cancelled(value, error)
        if isinstance(value, ContinueAsNew):
            return Outcome("again", again=value)
        if isinstance(error, Cancelled | SystemExit | GeneratorExit):
            error = WorkflowExit.of(error)
        if isinstance(error, CompensationFailed):
            return Outcome("compensation_failed", error=error)
        if error is not None:
            return Outcome("failed", error=error)
        return Outcome("completed", value)

    def _as_cancelled(self, value: Any, error: BaseException | None = None) -> Outcome:
        assert self.cancelled is not None
        raised = None if isinstance(error, Cancelled) else error
        if self.cancelled.cause == "timeout":
            return Outcome("failed", error=TimeoutError(self.cancelled.reason), raised=raised)
        return Outcome("cancelled", value, Cancelled(self.cancelled.reason), raised=raised)

    # --- all and race -------------------------------------------------------------------------------------

    def _join(self, fiber: Fiber, command: Any) -> None:
        join = fiber.join = Join(fiber, command)
        fiber.command = command
        if not command.members:
            self._resume(fiber, join.shaped())
            return
        limit = getattr(command, "limit", None) or len(command.members)
        while len(join.live) < limit and join.next < len(command.members) and not join.closing:
            self._begin_member(join)

    def _begin_member(self, join: Join) -> None:
        index = join.next
        join.next += 1
        member = join.command.members[index]
        number = len(self.births)
        self.births.append((join.fiber.number, self.position))
        generator = member if isinstance(member, Generator) else None
        scope = "" if join.command.names == () else f"{join.command.names[index]}/"
        fiber = Fiber(number, f"{join.fiber.prefix}{scope}", join, index, generator)
        self.fibers[number] = join.live[index] = fiber
        if generator is not None:
            self._runnable.append((fiber, None, None))
        else:
            self._begin(fiber, member)

    def _member_of_all(self, join: Join, member: Fiber, error: BaseException | None) -> None:
        if error is not None and join.failure is None and join.cancelled is None:
            join.failure = error
            join.close_unbegun()
            trail = self._trail(error)
            for sibling in list(join.live.values()):
                if trail is not None:
                    trail.cuts[sibling.number] = self.position
                self._cancel(sibling, Cancelled(f"member {member.prefix or member.id} failed"), settle="all")
        elif not join.closing and join.next < len(join.command.members):
            self._begin_member(join)
        if join.live or join.next < len(join.command.members):
            return
        fiber = join.fiber
        if join.cancelled is not None:
            self._resume(fiber, error=join.cancelled)
        elif join.failure is not None:
            self._resume(fiber, error=join.failure)
        elif join.command.shape == "switch":  # type: ignore[union-attr]
            self._resume(fiber, join.results[0])
        else:
            self._resume(fiber, join.shaped())

    def _member_of_race(self, join: Join, member: Fiber, error: BaseException | None) -> None:
        if join.winner is None and join.cancelled is None:
            join.winner = member.name
            join.failure = error
            join.close_unbegun()
            for loser in list(join.live.values()):
                self._cancel(loser, Cancelled("another member won the race"), settle="undoable")
        if join.live:
            return
        if join.cancelled is not None:
            self._resume(join.fiber, error=join.cancelled)
        else:
            self._look(join.fiber)  # `RaceWon` is to be recorded

    # --- rollback -------------------------------------------------------------------------------------------

    def _undo_next(self) -> None:
        for fiber, report in self._compensations.over():
            self._resume(fiber, report, error=fiber.cancel)
        step = self._compensations.next()
        if step is not None:
            fiber = self._compensations.under_way
            fiber.block(step, step.id)
            self._look(fiber)

    def _undoing_failed(self, fiber: Fiber, cause: BaseException, trail: FailureTrace) -> None:
        error = self._compensations.failed(cause)
        trail.cuts[fiber.number] = self.position
        self._trails[error] = trail
        self.outcome = Outcome("compensation_failed", error=error)

    # --- cancelling and closing ---------------------------------------------------------------------------

    def _cancel(self, fiber: Fiber, cancelled: Cancelled, *, settle: Settle) -> None:
        """Have *cancelled* thrown into *fiber* at its yield, members first. A second cancel changes nothing.

        Running steps are let end (and be recorded) first as *settle* says; a child that is waited for is cancelled.
        """
        if fiber.cancelled or fiber.number not in self.fibers:
            return
        fiber.cancelled = True
        fiber.cancel = cancelled
        if self._compensations.has(fiber) or fiber.command is None:
            return  # a rollback is not interrupted; a fiber about to run gets it at its next yield
        join = fiber.join
        if join is not None:
            join.cancelled = cancelled
            join.close_unbegun()
            for member in list(join.live.values()):
                self._cancel(member, cancelled, settle=settle)
            if not join.live and not self._is_queued(fiber):
                self._resume(fiber, error=cancelled)
        elif self._settles(fiber, settle):
            fiber.settling = True
        else:
            child = self.children.get(fiber.child or "")
            if child is not None and child.on_parent_close == "cancel":
                self.unwanted.append(child.execution_id)
            self._resume(fiber, error=cancelled)

    def _settles(self, fiber: Fiber, settle: Settle) -> bool:
        step = fiber.command
        if not isinstance(step, Step) or fiber.retry_at is not None:
            return False
        return settle == "all" or (settle == "undoable" and step.options.down is not None)

    def _is_queued(self, fiber: Fiber) -> bool:
        return any(queued is fiber for queued, _, _ in self._runnable)

    def waits(self) -> list[Fiber]:
        """Return the fibers that are blocked on a command of their own, in order of number."""
        return [
            f for _, f in sorted(self.fibers.items()) if f.command is not None and (f.join is None or not f.join.live)
        ]

    def location(self) -> str:
        """Return `file:line` of the workflow's current yield."""
        return self.root.where()

    def close(self) -> None:
        """Close the generators, innermost first. Commands yielded while closing are discarded."""
        for _, fiber in sorted(self.fibers.items(), reverse=True):
            if fiber.join is not None:
                fiber.join.close_unbegun()
            if fiber.gen is not None:
                close_generator(fiber.gen)
        self.fibers.clear()
        self._runnable.clear()
        self.fresh.clear()
