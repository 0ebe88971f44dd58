"""The interpreter: replays one execution's log onto its fibers, entry by entry. A pure state machine.

It knows the meaning of each entry. The `Scheduler` runs the fibers.

Rules of this file (numbered as in `docs/invariants.md`):

1. Nothing here reads a clock, a random source or the environment; everything comes from the log.
2. `Scheduler._advance` is the only place that resumes a generator, and only `feed` (an entry) leads there.
3. The order in which fibers advance is the order of the log. So replay, whatever its timing, repeats the live run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar, assert_never

from replay.core import divergence
from replay.core import entries as e
from replay.core.commands import (
    All,
    Command,
    Emit,
    Note,
    Race,
    Sleep,
    Start,
    Step,
    Switch,
    WaitForExecution,
    WaitForSignal,
)
from replay.core.compensations import Compensation
from replay.core.context import Context
from replay.core.cursor import LogCursor
from replay.core.errors import (
    CompensationFailed,
    ExecutionCancelled,
    ExecutionFailed,
    NonDeterminism,
    StepFailed,
)
from replay.core.failures import FailureTrace, Voids, entries_to_void
from replay.core.fast_replay import Digest, feed_plain_steps
from replay.core.fibers import Fiber
from replay.core.generators import run_branch
from replay.core.interrupts import ends_the_process
from replay.core.outcomes import Completed, Err, Ok, Received, TimedOut, Winner
from replay.core.scheduler import Child, Scheduler
from replay.core.waits import (
    AnswerWait,
    AnyWait,
    ChildWait,
    FiberWait,
    JoinWait,
    SignalWait,
    StepWait,
    TimerWait,
)
from replay.core.workflow_end import Outcome

W = TypeVar("W", bound=FiberWait)

PORTION = 512
"""Log entries decoded at a time: enough to amortise the call, few enough to keep memory flat on a long log."""

REFUSABLE = (Step, Switch, Emit, Note, Start, WaitForExecution, WaitForSignal)
"""Commands that a `Refused` entry can answer."""


class Interpreter:
    """Replays one execution's log onto its fibers.

    Args:
        start: Makes the workflow's generator.
        context: The workflow's context (`now` and `replaying` are kept up by the interpreter).
        cursor: The place in the log, to be shared with those that ask for it; default: one of its own.
        digest: Fingerprints arguments, None to compare none.
        strict_arguments: Changed arguments are a divergence instead of a warning.
        rollback_on_failure: Roll back before failing.
        amended: The amendments of the log (`entries.effective`).

    Attributes:
        begun: Number of the workflow's attempt that began last, 0 before the first.
        uncounted: Attempts that failed by a failure of an earlier attempt.
        began_at: Instant at which the first attempt began.
        resumes_at: Instant before which the next attempt must not begin.
        anew: Starts of children in place of others, with their commands, by log index.
        warnings: Texts about arguments that changed.
        fibers: See `Scheduler`; likewise `fresh`, `children`, `unwanted` and `root`.
    """

    def __init__(
        self,
        start: Callable[[Context], Generator[Any, Any, Any]],
        context: Context,
        *,
        cursor: LogCursor | None = None,
        digest: Digest | None = None,
        strict_arguments: bool = False,
        rollback_on_failure: bool = False,
        amended: e.Effective = e.UNAMENDED,
    ) -> None:
        self._cursor = cursor if cursor is not None else LogCursor()
        self._scheduler = scheduler = Scheduler(start, context, self._cursor, rollback_on_failure=rollback_on_failure)
        self.context = context
        self.fibers: dict[int, Fiber] = scheduler.fibers
        self.fresh: deque[tuple[Fiber, AnyWait]] = scheduler.fresh
        self.children: dict[str, Child] = scheduler.children
        self.unwanted: list[str] = scheduler.unwanted
        self.root: Fiber = scheduler.root
        self.begun = 0
        self.uncounted = 0
        self._begun_at = 0
        self.began_at: float | None = None
        self.resumes_at = 0.0
        self.anew: dict[int, tuple[e.ChildStarted, Any]] = {}
        self.warnings: list[str] = []
        self._digest = digest
        self._strict = strict_arguments
        self._changes = amended.changes
        self._started_anew = amended.started_anew
        scheduler.dissolved = amended.dissolved
        self._cancelled_at: int | None = None

    # --- facts in ----------------------------------------------------------------------------------

    def feed_rows(self, rows: Sequence[list[Any]]) -> None:
        """Feed decoded rows in the log's order.

        Raises:
            NonDeterminism: The code does not want what the log says.
        """
        index, end = 0, len(rows)
        while index < end:
            if not self._changes and not self._cursor.live:
                index = feed_plain_steps(self._scheduler, self._cursor, self._digest, rows, index)
            if index < end:
                self.feed(rows[index])
                index += 1

    def feed_log(self, rows: list[bytes], decode: Callable[[Sequence[bytes]], list[list[Any]]]) -> None:
        """Feed a stored log, a portion at a time. Rows that were fed are emptied: a long log is in memory once.

        Raises:
            NonDeterminism: The code does not want what the log says.
            ValueError: A row is not an entry.
        """
        for start in range(0, len(rows), PORTION):
            portion = rows[start : start + PORTION]
            self.feed_rows(decode(portion))
            rows[start : start + PORTION] = [b""] * len(portion)

    def feed(self, row: list[Any]) -> None:
        """Feed one decoded row: its fact resumes the fiber that waited for it.

        Raises:
            NonDeterminism: The code does not want what the row says.
        """
        position = self._cursor.position
        changed = self._changes.get(position, row) if self._changes else row
        if changed is not None:
            self.context.advance_to(row[1])
            try:
                self._apply(e.from_row(changed))
            except NonDeterminism as error:
                error.index = position
                raise
            self._scheduler.drive()
        self._cursor.position = position + 1

    def feed_entry(self, entry: e.Fact) -> None:
        """Feed a new entry (live): as `feed`, without the row in between."""
        self.context.advance_to(entry.at)
        self._apply(entry)
        self._scheduler.drive()
        self._cursor.position += 1

    def _apply(self, entry: e.Fact) -> None:
        match entry:
            case e.StepDone():
                self._step_done(*self._waiting(entry, StepWait), entry)
            case e.AttemptStarted():
                self.begun, self.resumes_at, self._begun_at = entry.attempt, 0.0, self.position
                self.began_at = entry.at if self.began_at is None else self.began_at
                self._scheduler.open()
            case e.AttemptFailed(due=due):
                self.resumes_at = due
                self.uncounted += not due
            case e.Retried():
                self.resumes_at = 0.0
            case e.Edited() | e.Intervened() | e.ExecutionClosed():
                pass
            case e.Patched():
                pass  # `ctx.patched` finds them by itself
            case e.CancelReceived():
                self._cancel_received(entry)
            case e.StepFailed():
                self._step_failed(*self._waiting(entry, StepWait), entry)
            case e.StepRetried():
                self._step_retried(*self._waiting(entry, StepWait), entry)
            case e.StepBegun():
                self._step_begun(*self._waiting(entry, StepWait))
            case e.TimerSet():
                self._timer_set(entry)
            case e.TimerFired():
                fiber, _ = self._waiting(entry, TimerWait)
                self._scheduler.resume(fiber)
            case e.SignalReceived():
                fiber, wait = self._waiting(entry, SignalWait)
                timed = wait.command.timeout is not None
                self._scheduler.resume(fiber, Received(entry.payload) if timed else entry.payload)
            case e.WaitTimedOut():
                fiber, _ = self._waiting(entry, FiberWait, WaitForSignal, WaitForExecution)
                self._scheduler.resume(fiber, TimedOut())
            case e.BranchChosen():
                self._branch_chosen(*self._waiting(entry, AnswerWait, Switch), entry)
            case e.Emitted():
                fiber, _ = self._waiting(entry, AnswerWait, Emit)
                self._scheduler.resume(fiber)
            case e.NoteAdded():
                fiber, _ = self._waiting(entry, AnswerWait, Note)
                self._scheduler.resume(fiber)
            case e.ChildStarted(id=""):
                self._note_child(entry, notifies_us=False)
            case e.ChildStarted():
                self._child_started(*self._waiting(entry, ChildWait, Start), entry)
            case e.ExecutionEnded():
                self._execution_ended(entry)
            case e.RaceWon():
                self._race_won(*self._waiting(entry, JoinWait, Race), entry)
            case e.Refused():
                fiber, _ = self._waiting(entry, FiberWait, *REFUSABLE)
                self._scheduler.resume(fiber, error=entry.error)
            case _:
                assert_never(entry)

    def _waiting(self, entry: e.Entry, kind: type[W], *commands: type[Any]) -> tuple[Fiber, W]:
        """Return the fiber that *entry* is for and its wait, if it waits for what the entry says.

        Raises:
            NonDeterminism: The fiber does not, or there is none.
        """
        fiber = self.fibers.get(entry.fiber)
        if fiber is not None and fiber.id == entry.id:
            wait = fiber.wait
            if isinstance(wait, kind) and (not commands or isinstance(wait.command, commands)):
                return fiber, wait
        raise self._mismatch(entry, fiber)

    def _mismatch(self, entry: e.Entry, fiber: Fiber | None) -> NonDeterminism:
        outcome = self.outcome
        ended = None if outcome is None else (outcome.status, outcome.error)
        return divergence.mismatch(self.context.execution_id, self.position, entry, fiber, self.root, ended)

    # --- steps --------------------------------------------------------------------------------------

    def _step_done(self, fiber: Fiber, wait: StepWait, entry: e.StepDone) -> None:
        command, scheduler = wait.command, self._scheduler
        self._check_arguments(fiber, wait, entry.digest)
        if self._is_compensation(fiber):
            scheduler.undone()
            return
        if command.options.down is not None:
            scheduler.compensations.register(
                Compensation(fiber.id, command.options.down, entry.result, command.options, self.position)
            )
        if wait.settling:
            self._settled(fiber, keep=True)
            return
        scheduler.resume(fiber, Ok(entry.result) if command.options.settled else entry.result)

    def _is_compensation(self, fiber: Fiber) -> bool:
        return fiber.id.startswith("rollback:")  # a reserved prefix

    def _step_failed(self, fiber: Fiber, wait: StepWait, entry: e.StepFailed) -> None:
        self._check_arguments(fiber, wait, entry.digest)
        cause = entry.error if isinstance(entry.error, BaseException) else RuntimeError(str(entry.error))
        trace = FailureTrace([*wait.rows, self.position])
        if self._is_compensation(fiber):
            self._scheduler.undoing_failed(fiber, cause, trace)
            return
        error = StepFailed(fiber.id, entry.attempts, cause)
        self._scheduler.traces.add(error, trace)
        if wait.settling:
            if fiber.abandoned_by is not None:
                fiber.abandoned_by.rows |= trace.rows
            self._settled(fiber, keep=False)
        elif wait.command.options.settled:
            self._scheduler.resume(fiber, Err(error))
        else:
            self._scheduler.resume(fiber, error=error)

    def _step_retried(self, fiber: Fiber, wait: StepWait, entry: e.StepRetried) -> None:
        wait.failures = entry.attempt
        wait.retry_at = entry.due
        wait.details = entry.details
        wait.begun = ""
        wait.in_flight = False
        wait.rows += (self.position,)
        if wait.first_at is None:
            wait.first_at = entry.at - entry.seconds
        self._scheduler.notice(fiber, wait)

    def _step_begun(self, fiber: Fiber, wait: StepWait) -> None:
        wait.begun = "live" if self.live else "recorded"
        wait.rows += (self.position,)
        self._scheduler.notice(fiber, wait)

    def _check_arguments(self, fiber: Fiber, wait: StepWait, recorded: int | None) -> None:
        if self._digest is None or recorded is None or self.live:
            return
        found = self._digest(wait.command.args, wait.command.kwargs)
        if found is not None and found != recorded:
            error = divergence.arguments(self.context.execution_id, self.position, fiber)
            if self._strict:
                raise error
            self.warnings.append(str(error))

    def _settled(self, fiber: Fiber, *, keep: bool) -> None:
        """Cancel a member whose running step has settled; *keep*: the step succeeded, so a retry keeps its entry."""
        trace = fiber.abandoned_by
        if keep and trace is not None:
            trace.taint_from[fiber.number] = self.position
        self._scheduler.resume(fiber, error=fiber.cancel)

    # --- timers, branches, children and races -------------------------------------------------------

    def _timer_set(self, entry: e.TimerSet) -> None:
        fiber, wait = self._waiting(entry, FiberWait, Sleep, WaitForSignal, WaitForExecution)
        assert isinstance(wait, TimerWait | SignalWait | ChildWait)  # by its command
        if isinstance(wait, ChildWait):
            wait.rows += (self.position,)
        wait.due = entry.due
        self._scheduler.notice(fiber, wait)

    def _branch_chosen(self, fiber: Fiber, wait: AnswerWait, entry: e.BranchChosen) -> None:
        switch: Any = wait.command
        branches = [*switch.branches, *([switch.default] if switch.default is not None else [])]
        branch = next((b for b in branches if b.id == entry.branch), None)
        if branch is None:
            raise self._mismatch(entry, fiber)
        try:
            result = fiber.context.run(run_branch, branch.run, switch.value)
        except BaseException as error:
            if ends_the_process(error):
                raise
            self._scheduler.resume(fiber, error=error)
            return
        if isinstance(result, Generator | Command):
            if isinstance(result, Command):
                self.context.not_yielded.use(result)
            self._scheduler.run_branch(fiber, All(switch.id, (result,), (branch.id,), "switch"))
        else:
            self._scheduler.resume(fiber, result)

    def _child_started(self, fiber: Fiber, wait: ChildWait, entry: e.ChildStarted) -> None:
        command: Any = wait.command
        self._note_child(entry, notifies_us=command.key is None)
        if self.position in self._started_anew:
            self.anew[self.position] = (entry, command)
        if not command.wait:
            self._scheduler.resume(fiber, entry.execution_id)
            return
        wait.execution_id = entry.execution_id
        self._scheduler.notice(fiber, wait)

    def _note_child(self, entry: e.ChildStarted, *, notifies_us: bool) -> None:
        self.children[entry.execution_id] = Child(
            entry.execution_id, entry.workflow, entry.on_parent_close, entry.id, self.position, notifies_us
        )

    def _execution_ended(self, entry: e.ExecutionEnded) -> None:
        self.children.pop(entry.execution_id, None)
        fiber, wait = self._waiting(entry, ChildWait)
        timed = isinstance(wait.command, WaitForExecution) and wait.command.timeout is not None
        match entry.status:
            case "completed":
                self._scheduler.resume(fiber, Completed(entry.result) if timed else entry.result)
            case "cancelled":
                reason = str(entry.error or "") or None
                self._wait_failed(fiber, wait, ExecutionCancelled(entry.execution_id, reason))
            case status:
                self._wait_failed(
                    fiber, wait, ExecutionFailed(entry.execution_id, _as_error(entry.error), status=status)
                )

    def _wait_failed(self, fiber: Fiber, wait: ChildWait, failure: ExecutionFailed | ExecutionCancelled) -> None:
        """Raise *failure* at the wait. A retry waits again; the start stays (see `Session._ended_badly`)."""
        self._scheduler.traces.add(failure, FailureTrace([*wait.rows, self.position]))
        self._scheduler.resume(fiber, error=failure)

    def _race_won(self, fiber: Fiber, join: JoinWait, entry: e.RaceWon) -> None:
        if join.winner is None or join.live or join.command.names[join.winner] != entry.winner:
            raise self._mismatch(entry, fiber)
        if join.failure is not None:
            self._scheduler.resume(fiber, error=join.failure)
        else:
            self._scheduler.resume(fiber, Winner(entry.winner, join.results[join.winner]))

    def _cancel_received(self, entry: e.CancelReceived) -> None:
        if self.cancelled is None:
            self._cancelled_at = self.position
            self._scheduler.cancel_all(entry)

    # --- orders ----------------------------------------------------------------------------------------------

    def go_live(self) -> None:
        """Note that the log is at its end: from now on entries are made, not read."""
        self._cursor.live = True
        self.context.replaying = False
        self.fresh.extend((fiber, wait) for _, fiber in sorted(self.fibers.items()) if (wait := fiber.wait) is not None)

    def fail(self, error: BaseException) -> None:
        """End the workflow with *error*, wherever its code is."""
        self._scheduler.fail(error)

    def close(self) -> None:
        """Close the generators, innermost first. Commands yielded while closing are discarded."""
        self._scheduler.close()

    # --- questions -------------------------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        """The log is at its end: entries are made, not read."""
        return self._cursor.live

    @property
    def position(self) -> int:
        """Log index of the entry that is fed, or of the next one."""
        return self._cursor.position

    @property
    def outcome(self) -> Outcome | None:
        """The result of the workflow's code, None until it has ended."""
        return self._scheduler.outcome

    @property
    def cancelled(self) -> e.CancelReceived | None:
        """The cancel that the execution received."""
        return self._scheduler.cancelled

    def waits(self) -> list[Fiber]:
        """Return the fibers that are blocked on a command of their own, in order of number."""
        return [fiber for _, fiber in sorted(self.fibers.items()) if _is_blocked(fiber)]

    def location(self) -> str:
        """Return `file:line` of the workflow's current yield."""
        return self.root.where()

    def retryable(self, error: BaseException | None) -> bool:
        """Tell whether *error* comes from a step (or an awaited execution), so that a retry may end otherwise."""
        return self._scheduler.traces.of_causes(error) is not None

    def failed_before(self, error: BaseException | None) -> bool:
        """Tell whether *error* comes from a failure that an earlier attempt recorded, and that its code was handling then.

        After a rollback it does not count: the rollback was the answer to the failure.
        """
        trace = self._scheduler.traces.of_causes(error)
        undone = self._scheduler.compensations.first_undone
        return trace is not None and undone is None and trace.index < self._begun_at

    @property
    def dismissed(self) -> frozenset[str]:
        """Open children that were cancelled by a decision of the log: a lost race, a failed `all`."""
        return frozenset(self._scheduler.dismissed) & self.children.keys()

    @property
    def rewinds(self) -> bool:
        """A retry voids all entries after some point: after a rolled-back step, or after the timeout that cancelled it."""
        return self._scheduler.compensations.first_undone is not None or self._cancelled_at is not None

    @property
    def undoable(self) -> tuple[str, ...]:
        """Ids of the steps that a rollback would undo now, newest first."""
        return self._scheduler.compensations.undoable

    def entries_to_void(self, error: BaseException | None, rows: list[list[Any]]) -> Voids:
        """Return what is to be void so that what failed with *error* is tried again; *rows* is the whole log."""
        trace = self._scheduler.traces.of_causes(error)
        undone_from = None
        if not isinstance(error, CompensationFailed):
            undone = self._scheduler.compensations.first_undone
            undone_from = self._cancelled_at if undone is None else undone
        if trace is None:
            if undone_from is None:
                return Voids()
            trace = FailureTrace([])
        return entries_to_void(trace, self._scheduler.spawned_at, rows, undone_from)


def _is_blocked(fiber: Fiber) -> bool:
    wait = fiber.wait
    return wait is not None and not (isinstance(wait, JoinWait) and wait.live)


def _as_error(value: Any) -> BaseException | None:
    return value if isinstance(value, BaseException) or value is None else RuntimeError(str(value))
