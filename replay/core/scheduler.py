"""The scheduler: resumes fibers, takes up their commands, and ends them; `all`, `race`, rollback and cancellation included.

It reads no entry. The interpreter says what an entry means: `resume` this fiber, `cancel` that one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Literal, assert_never

import attrs

from replay.core import divergence
from replay.core.commands import All, Command, ContinueAsNew, Race, Rollback, WaitForExecution
from replay.core.compensations import Compensations
from replay.core.context import Context
from replay.core.cursor import LogCursor
from replay.core.entries import CancelReceived
from replay.core.errors import Cancelled, ExecutionCancelled, ExecutionFailed, NonDeterminism
from replay.core.failures import FailureTrace, FailureTraces
from replay.core.fibers import Fiber
from replay.core.generators import close_generator
from replay.core.interrupts import ends_the_process
from replay.core.numbering import CommandIds
from replay.core.waits import (
    AnswerWait,
    AnyWait,
    ChildWait,
    JoinWait,
    RollbackWait,
    SignalWait,
    StepWait,
    TimerWait,
    wait_for,
)
from replay.core.workflow_end import Outcome, outcome_of

Settle = Literal["all", "undoable", "none"]
"""The running steps of a cancelled member that may end first: all, those with a compensation (for a later rollback), or none."""

MAX_MISUSES = 100
"""Wrong yields of an execution after which it fails: its code catches our errors and yields on in a loop."""


@attrs.frozen
class Child:
    """A child that was started, at log index `index`, and has not been seen to end.

    `notifies_us`: we created it, so its end is delivered to our inbox. A keyed child may belong to another parent.
    """

    execution_id: str
    workflow: str
    on_parent_close: str
    step_id: str
    index: int
    notifies_us: bool


class Scheduler:
    """The fibers of one execution.

    `_advance` is the only place that resumes a generator (and `fast_replay`, its short cut).

    Args:
        start: Makes the workflow's generator.
        context: The workflow's context.
        cursor: The place in the log.
        rollback_on_failure: Roll back before failing.

    Attributes:
        outcome: The result of the workflow's code, None until it has ended.
        fibers: The fibers that have not ended, by number.
        fresh: Fibers that blocked since the decider looked (live only), with the wait that each had then.
        cancelled: The cancel that the execution received.
        children: Open children by execution id.
        unwanted: Children to cancel.
        dismissed: Children that were in `unwanted`.
        spawned_at: For each fiber, its parent's number and the log index at which it was created.
        dissolved: Numbers of fibers that a retry dissolved. They are given to no other fiber.
    """

    def __init__(
        self,
        start: Callable[[Context], Generator[Any, Any, Any]],
        context: Context,
        cursor: LogCursor,
        *,
        rollback_on_failure: bool,
    ) -> None:
        self.context = context
        self.outcome: Outcome | None = None
        self.fibers: dict[int, Fiber] = {}
        self.fresh: deque[tuple[Fiber, AnyWait]] = deque()
        self.cancelled: CancelReceived | None = None
        self.children: dict[str, Child] = {}
        self.unwanted: list[str] = []
        self.dismissed: set[str] = set()
        self.spawned_at: dict[int, tuple[int, int]] = {0: (0, 0)}
        self.dissolved: frozenset[int] = frozenset()
        self.root = Fiber(0)
        self.ids = CommandIds()
        self.compensations = Compensations()
        self.traces = FailureTraces()
        self._cursor = cursor
        self._start = start
        self._rollback_on_failure = rollback_on_failure
        self._runnable: deque[tuple[Fiber, Any, BaseException | None]] = deque()
        self._epilogue = False
        self._misuses = 0
        self._next_fiber = 1

    # --- fibers ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the workflow's code, unless it has started."""
        root = self.root
        if root.number in self.fibers or self.outcome is not None:
            return
        self.fibers[root.number] = root
        try:
            root.gen = root.context.run(self._start, self.context)
        except BaseException as error:
            if ends_the_process(error):
                raise
            self.finish(root, None, error)
            return
        self._runnable.append((root, None, None))

    def resume(self, fiber: Fiber, value: Any = None, error: BaseException | None = None) -> None:
        """Let *fiber* run on with *value*, or with *error* raised at its yield, as soon as `drive` is called."""
        fiber.wait = None
        if error is not None:
            if fiber.cancel is error:
                fiber.cancel = None
            trace = self.traces.of_causes(error)
            if trace is not None:
                trace.taint(fiber.number, self._cursor.position)
        self._runnable.append((fiber, value, error))

    def drive(self) -> None:
        """Run all fibers that can run, in the order in which they were resumed."""
        runnable = self._runnable
        while runnable and self.outcome is None:
            self._advance(*runnable.popleft())

    def _advance(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        if fiber.gen is None:
            self.finish(fiber, value, error)
            return
        try:
            run, gen = fiber.context.run, fiber.gen
            command = run(gen.send, value) if error is None else run(gen.throw, error)
        except StopIteration as stop:
            self.finish(fiber, stop.value, None)
        except NonDeterminism:
            raise
        except BaseException as raised:
            if ends_the_process(raised):
                raise
            self.finish(fiber, None, raised)
        else:
            self.begin(fiber, command)

    def begin(self, fiber: Fiber, command: Any) -> None:
        """Block *fiber* on *command*, which it has yielded, or refuse the command at its yield."""
        wrong: BaseException | None = None
        if not isinstance(command, Command):
            wrong = divergence.not_a_command(command, fiber)
        elif fiber.gen is not None and not self._epilogue:
            dropped = self.context.not_yielded.take(command)
            wrong = None if dropped is None else divergence.forgotten(dropped, fiber.where())
        if wrong is None and fiber.cancel is not None:
            wrong, fiber.cancel = fiber.cancel, None
        elif wrong is not None:
            self._misuses += 1
            if self._misuses > MAX_MISUSES:
                self._finish_root(None, wrong)
                return
        if wrong is None:
            try:
                fiber.id = self.ids.unique(fiber.prefix, command.id, type(command).__name__)
            except Exception as refused:
                wrong = refused
        if wrong is not None:
            self._runnable.append((fiber, None, wrong))
            return
        wait = fiber.wait = wait_for(command, fiber.number)
        match wait:
            case JoinWait():
                self._begin_members(fiber, wait)
            case RollbackWait():
                if self.compensations.enter(fiber):
                    self._undo_next()
            case _:
                self.notice(fiber, wait)

    def notice(self, fiber: Fiber, wait: AnyWait) -> None:
        """Queue *fiber*, which has *wait*, for the decider, if the log has ended."""
        if self._cursor.live:
            self.fresh.append((fiber, wait))

    def finish(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        """End *fiber*, whose code returned *value* or raised *error*."""
        join = fiber.parent_join
        if join is None:
            self._finish_root(value, error)
            return
        if isinstance(value, Generator) and error is None:
            error = divergence.returned_generator(value)
        self.fibers.pop(fiber.number, None)
        if fiber.abandoned_by is not None:
            for trace in self.traces.in_flight(error):
                fiber.abandoned_by.include(trace)  # a failure that its clean-up was about to raise
        del join.live[fiber.member_index]
        join.results[fiber.member_index] = value
        match join.command:
            case All():
                self._member_of_all(join, fiber, error)
            case Race():
                self._member_of_race(join, fiber, error)
            case _:
                assert_never(join.command)

    # --- the workflow's end -------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """End the workflow with *error*, wherever its code is."""
        self.outcome = Outcome("failed", error=error)

    def _finish_root(self, value: Any, error: BaseException | None) -> None:
        if self._epilogue:
            self.fibers.pop(self.root.number, None)
            self.outcome = outcome_of(value, error, self.cancelled)
            return
        if error is None and isinstance(value, Generator):
            error = divergence.returned_generator(value)
        if error is None and not isinstance(value, ContinueAsNew):
            dropped = self.context.not_yielded.first()
            error = None if dropped is None else divergence.forgotten(dropped)
        self._epilogue = True
        self.root.gen = self._epilogue_of(value, error)
        self._runnable.append((self.root, None, None))
        self.fibers[self.root.number] = self.root

    def _epilogue_of(self, value: Any, error: BaseException | None) -> Generator[Any, Any, Any]:
        """Roll back after a failure if asked to, then wait for children with `on_parent_close="wait"`."""
        if error is not None and self._rollback_on_failure:
            yield Rollback()
        waiting = True
        while waiting and (children := [c for c in self.children.values() if c.on_parent_close == "wait"]):
            self._dismiss(*(c.execution_id for c in self.children.values() if c.on_parent_close == "cancel"))
            try:
                yield WaitForExecution(f"close:{children[0].step_id}", children[0].execution_id)
            except (ExecutionFailed, ExecutionCancelled):
                continue
            except Cancelled:
                self._dismiss(*(child.execution_id for child in children))
                waiting = False
        if error is not None:
            raise error
        return value

    # --- all and race -------------------------------------------------------------------------------------

    def run_branch(self, fiber: Fiber, command: All[Any]) -> None:
        """Run a switch's chosen branch, the only member of *command*, in place of the switch."""
        wait = fiber.wait = JoinWait(command, fiber.number)
        self._begin_members(fiber, wait)

    def _begin_members(self, fiber: Fiber, join: JoinWait) -> None:
        command = join.command
        if not command.members:
            self.resume(fiber, join.shaped())
            return
        limit = len(command.members) if isinstance(command, Race) or command.limit is None else command.limit
        while len(join.live) < limit and join.next < len(command.members) and not join.closing:
            self._begin_member(fiber, join)

    def _begin_member(self, fiber: Fiber, join: JoinWait) -> None:
        index = join.next
        join.next += 1
        command = join.command
        member = command.members[index]
        number = self._next_number()
        self.spawned_at[number] = (fiber.number, self._cursor.position)
        generator = member if isinstance(member, Generator) else None
        scope = f"{command.names[index]}/" if command.names else ""
        # A switch's branch runs in place of the switch, so it shares the context.
        context = fiber.context if isinstance(command, All) and command.shape == "switch" else None
        begun = Fiber(number, f"{fiber.prefix}{scope}", generator, fiber, join, index, context)
        self.fibers[number] = begun
        join.live[index] = number
        if generator is not None:
            self._runnable.append((begun, None, None))
        else:
            self.begin(begun, member)

    def _next_number(self) -> int:
        number = self._next_fiber
        while number in self.dissolved:
            number += 1
        self._next_fiber = number + 1
        return number

    def _member_of_all(self, join: JoinWait, member: Fiber, error: BaseException | None) -> None:
        fiber = self.fibers[join.number]
        if error is not None and join.failure is None and join.cancelled is None:
            join.failure = error
            join.close_unbegun()
            trace = self.traces.of_causes(error)
            for number in list(join.live.values()):
                reason = f"member {member.prefix or member.id} failed"
                self.cancel(self.fibers[number], Cancelled(reason), settle="all", trace=trace)
        elif not join.closing and join.next < len(join.command.members):
            self._begin_member(fiber, join)
        if join.live or join.next < len(join.command.members):
            return
        error = join.cancelled if join.cancelled is not None else join.failure
        if error is not None:
            self.resume(fiber, error=error)
        else:
            self.resume(fiber, join.shaped())

    def _member_of_race(self, join: JoinWait, member: Fiber, error: BaseException | None) -> None:
        if join.winner is None and join.cancelled is None:
            join.winner = member.member_index
            join.failure = error
            join.close_unbegun()
            trace = self.traces.of_causes(error)
            if trace is not None:
                trace.taint(join.number, self._cursor.position)  # the race's decision
            for number in list(join.live.values()):
                cancelled = Cancelled("another member won the race")
                self.cancel(self.fibers[number], cancelled, settle="undoable", trace=trace)
        if join.live:
            return
        fiber = self.fibers[join.number]
        if join.cancelled is not None:
            self.resume(fiber, error=join.cancelled)
        else:
            self.notice(fiber, join)  # `RaceWon` is to be recorded

    # --- rollback -------------------------------------------------------------------------------------------

    def undone(self) -> None:
        """Go on with the rollback whose current compensation has completed."""
        self.compensations.done()
        self._undo_next()

    def _undo_next(self) -> None:
        for fiber, report in self.compensations.completed_rollbacks():
            self.resume(fiber, report, error=fiber.cancel)
        step = self.compensations.next()
        if step is not None:
            fiber = self.compensations.under_way
            fiber.id = step.id
            wait = fiber.wait = StepWait(step)
            self.notice(fiber, wait)

    def undoing_failed(self, fiber: Fiber, cause: BaseException, trace: FailureTrace) -> None:
        """End the workflow, for the current compensation of *fiber* has failed for good."""
        error = self.compensations.failed(cause)
        trace.taint(fiber.number, self._cursor.position)
        self.traces.add(error, trace)
        self.outcome = Outcome("compensation_failed", error=error)

    # --- cancelling and closing ---------------------------------------------------------------------------

    def cancel_all(self, entry: CancelReceived) -> None:
        """Cancel the workflow. Code that has ended meanwhile is not run again; its outcome is the cancel's."""
        self.cancelled = entry
        ended = self.outcome
        if ended is not None:
            if ended.status != "compensation_failed":
                self.outcome = outcome_of(None if ended.again else ended.value, ended.error, entry)
        elif self.root.number in self.fibers:
            self.cancel(self.root, Cancelled(entry.reason), settle="none")
        else:
            self.outcome = outcome_of(None, None, entry)

    def cancel(self, fiber: Fiber, cancelled: Cancelled, *, settle: Settle, trace: FailureTrace | None = None) -> None:
        """Raise *cancelled* at the yield of *fiber*, in its members first. A second cancel changes nothing.

        Running steps may end (and are recorded) first as *settle* says. A child started by the command is cancelled.
        A failure with *trace* is the reason: a retry that makes it void makes void whatever the cancel leads to.
        """
        if fiber.cancelled:
            return
        fiber.cancelled = True
        fiber.cancel = cancelled
        wait = fiber.wait
        if trace is not None:
            fiber.abandoned_by = trace
            trace.taint(fiber.number, self._cursor.position)
        if wait is None or self.compensations.has(fiber):
            return  # a rollback is not interrupted; a fiber about to run gets it at its next yield
        match wait:
            case JoinWait():
                wait.cancelled = cancelled
                wait.close_unbegun()
                for number in list(wait.live.values()):
                    self.cancel(self.fibers[number], cancelled, settle=settle, trace=trace)
                if not wait.live:
                    self.resume(fiber, error=cancelled)
            case StepWait():
                if _settles(wait, settle):
                    wait.settling = True
                else:
                    if trace is not None:
                        trace.rows.update(wait.rows)
                    self.resume(fiber, error=cancelled)
            case ChildWait():
                child = self.children.get(wait.execution_id or "") if wait.is_start else None
                if child is not None and child.on_parent_close == "cancel":
                    self._dismiss(child.execution_id)
                self.resume(fiber, error=cancelled)
            case TimerWait() | SignalWait() | AnswerWait() | RollbackWait():
                self.resume(fiber, error=cancelled)
            case _:
                assert_never(wait)

    def _dismiss(self, *execution_ids: str) -> None:
        self.unwanted.extend(execution_ids)
        self.dismissed.update(execution_ids)

    def close(self) -> None:
        """Close the generators, innermost first. Commands yielded while closing are discarded."""
        for _, fiber in sorted(self.fibers.items(), reverse=True):
            if isinstance(fiber.wait, JoinWait):
                fiber.wait.close_unbegun()
            if fiber.gen is not None:
                fiber.context.run(close_generator, fiber.gen)
        self.fibers.clear()
        self._runnable.clear()
        self.fresh.clear()


def _settles(wait: StepWait, settle: Settle) -> bool:
    if wait.retry_at is not None:
        return False
    return settle == "all" or (settle == "undoable" and wait.command.options.down is not None)
