"""The interpreter: entries in, the workflow's next commands out. A pure state machine over fibers.

Rules of this file (numbered as in `docs/invariants.md`):

1. Nothing here reads a clock, a random source or the environment; everything comes from the log.
2. `_advance` is the only place that resumes a generator, and only `feed` (an entry) leads there.
3. The order in which fibers advance is the order of the log. So replay, whatever its timing, repeats the live run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

import attrs

from replay.core import divergence
from replay.core import entries as e
from replay.core.commands import (
    PLAIN,
    All,
    Command,
    ContinueAsNew,
    Emit,
    Note,
    Race,
    Rollback,
    RollbackReport,
    Sleep,
    Start,
    Step,
    StepOptions,
    Switch,
    WaitForExecution,
    WaitForSignal,
)
from replay.core.context import Context
from replay.core.errors import (
    Cancelled,
    CompensationFailed,
    ExecutionCancelled,
    ExecutionFailed,
    NonDeterminism,
    StepFailed,
)
from replay.core.fibers import Fiber, Join, Trail, voids
from replay.core.ids import check_step_id
from replay.core.outcomes import Completed, Err, Ok, Received, TimedOut, Winner

MAX_MISUSES = 100
"""Wrong yields in a row after which the execution fails: the workflow catches our errors and yields on in a loop."""


@attrs.frozen
class Outcome:
    """How the workflow's code ended: a `value`, or an `error`, or `again` (continue as new with its input)."""

    status: str
    value: Any = None
    error: BaseException | None = None
    again: ContinueAsNew[Any] | None = None


@attrs.frozen
class Done:
    """A step that can be undone: what `ctx.rollback()` needs to know."""

    id: str
    undo: Callable[[Any], Any]
    result: Any
    options: StepOptions
    index: int


@attrs.define
class Child:
    """A child that was started and has not been seen to end."""

    execution_id: str
    on_parent_close: str
    step_id: str


class Interpreter:
    """Drives one execution's fibers by its log.

    Args:
        start: Makes the workflow's generator.
        context: Its context (time and `replaying` are kept up by the interpreter).
        digest: Fingerprints arguments, None to compare none.
        strict_arguments: Changed arguments are a divergence instead of a warning.
        rollback_on_failure: Roll back before failing.
        changes: Amendments by log index (`entries.effective`): a replacing row, or None for a void one.
    """

    def __init__(
        self,
        start: Callable[[Context], Generator[Any, Any, Any]],
        context: Context,
        *,
        digest: Callable[[tuple[Any, ...], dict[str, Any]], int | None] | None = None,
        strict_arguments: bool = False,
        rollback_on_failure: bool = False,
        changes: dict[int, list[Any] | None] | None = None,
    ) -> None:
        self.context = context
        self.outcome: Outcome | None = None
        self.fibers: dict[int, Fiber] = {}
        self.fresh: deque[Fiber] = deque()  # fibers that blocked since the frontier looked (live only)
        self.live = False
        self.cancelled: e.CancelReceived | None = None
        self._cancelled_at: int | None = None
        self.children: dict[str, Child] = {}
        self.position = 0  # log index of the next row
        self.begun = 0  # the workflow's attempt that began last
        self.warnings: list[str] = []
        self.births: list[tuple[int, int]] = [(0, 0)]
        self._start = start
        self._digest = digest
        self._strict = strict_arguments
        self._rollback_on_failure = rollback_on_failure
        self._changes = changes or {}
        self._ids: dict[str, int] = {}
        self._runnable: deque[tuple[Fiber, Any, BaseException | None]] = deque()
        self._undoable: list[Done] = []
        self._undone: list[Done] = []
        self._trails: dict[int, Trail] = {}
        self._epilogue = False
        self._misuses = 0
        self.root = Fiber(0, "", None, 0, None)

    # --- facts in ----------------------------------------------------------------------------------

    def feed_rows(self, rows: Sequence[list[Any]]) -> None:
        """Feed decoded rows in the log's order.

        Raises:
            NonDeterminism: The code does not want what the log says.
        """
        index, end = 0, len(rows)
        while index < end:
            index = self._feed_straight(rows, index)
            if index < end:
                self.feed(rows[index])
                index += 1

    def feed(self, row: list[Any]) -> None:
        """Feed one decoded row: the fact it states resumes whoever waited for it."""
        changed = self._changes.get(self.position, row) if self._changes else row
        if changed is not None:
            if row[1] > self.context._now:
                self.context._now = row[1]
            try:
                self._apply(e.from_row(changed))
            except NonDeterminism as error:
                error.index = self.position
                raise
            self._drive()
        self.position += 1

    def feed_entry(self, entry: e.Fact) -> None:
        """Feed a new entry (live): as `feed`, without the row in between."""
        if entry.at > self.context._now:
            self.context._now = entry.at
        self._apply(entry)
        self._drive()
        self.position += 1

    def _feed_straight(self, rows: Sequence[list[Any]], index: int) -> int:
        """Feed the run of plain `StepDone` rows of the root fiber that starts at *index*; return where it ends.

        The same as `feed`, for the commonest log there is: about eight times as fast.
        """
        root, context, ids, end = self.root, self.context, self._ids, len(rows)
        command = root.command
        if root.gen is None or self._changes or self.live or command.__class__ is not Step or root.cancel is not None:
            return index
        send, digest, began = root.gen.send, self._digest, index
        while index < end:
            row = rows[index]
            if (
                row[0] != "StepDone"
                or row[2] != 0
                or row[3] != root.id
                or command.options is not PLAIN
                or root.tries
                or (digest is not None and row[5] is not None and digest(command.args, command.kwargs) != row[5])
            ):
                break
            if row[1] > context._now:
                context._now = row[1]
            index += 1
            try:
                command = send(row[4])
            except StopIteration as stop:
                self._leave_straight(index - began, self._finish, root, stop.value, None)
                return index
            except NonDeterminism:
                raise
            except (Exception, Cancelled) as error:
                self._leave_straight(index - began, self._finish, root, None, error)
                return index
            if command.__class__ is Step and context._last is command and not context._lost:
                id = command.id
                if id in ids:
                    ids[id] += 1
                    id = f"{id}#{ids[id]}"
                elif id.__class__ is str and 0 < len(id) <= 200 and id[0] not in "_r":  # surely not reserved
                    ids[id] = 1
                else:
                    self._leave_straight(index - began, self._begin, root, command)
                    return index
                context._last = None
                root.command = command
                root.id = id
            else:
                self._leave_straight(index - began, self._begin, root, command)
                return index
        self.position += index - began
        return index

    def _leave_straight(self, fed: int, then: Callable[..., None], *args: Any) -> None:
        """Go on in the general way after *fed* rows, the last of which is the current one."""
        self.position += fed - 1
        self.root.command = None
        then(*args)
        self._drive()
        self.position += 1

    def _apply(self, entry: e.Fact) -> None:
        match entry:
            case e.Began():
                self.begun = entry.attempt
                if self.root.number not in self.fibers and self.outcome is None:
                    self._open()
            case e.AttemptFailed() | e.Retried() | e.Edited() | e.Intervened() | e.Ended():
                pass
            case e.Patched():
                pass  # `ctx.patched` finds them by itself
            case e.CancelReceived():
                self._cancel_all(entry)
            case e.StepDone():
                self._step_done(self._blocked(entry, Step), entry)
            case e.StepFailed():
                self._step_failed(self._blocked(entry, Step), entry)
            case e.StepRetried():
                self._step_retried(self._blocked(entry, Step), entry)
            case e.StepBegun():
                fiber = self._blocked(entry, Step)
                fiber.begun = "live" if self.live else "recorded"
                fiber.rows.append(self.position)
                self._look(fiber)
            case e.TimerSet():
                fiber = self._blocked(entry, Sleep, WaitForSignal, WaitForExecution)
                fiber.due = entry.due
                self._look(fiber)
            case e.TimerFired():
                self._resume(self._blocked(entry, Sleep))
            case e.SignalReceived():
                fiber = self._blocked(entry, WaitForSignal)
                timed = fiber.command.timeout is not None
                self._resume(fiber, Received(entry.payload) if timed else entry.payload)
            case e.WaitTimedOut():
                self._resume(self._blocked(entry, WaitForSignal, WaitForExecution), TimedOut())
            case e.Chosen():
                self._chosen(self._blocked(entry, Switch), entry)
            case e.Emitted():
                self._resume(self._blocked(entry, Emit))
            case e.Noted():
                self._resume(self._blocked(entry, Note))
            case e.ChildStarted():
                self._child_started(self._blocked(entry, Start), entry)
            case e.ExecutionEnded():
                self._execution_ended(entry)
            case e.Raced():
                self._raced(self._blocked(entry, Race), entry)
            case e.Refused():
                self._resume(
                    self._blocked(entry, Step, Switch, Emit, Note, Start, WaitForExecution, WaitForSignal),
                    error=entry.error,
                )

    def _blocked(self, entry: e.Entry, *kinds: type[Any]) -> Fiber:
        """Return the fiber that *entry* is for, if it is blocked on the command that the entry answers."""
        fiber = self.fibers.get(entry.fiber)
        if fiber is None or fiber.id != entry.id or not isinstance(fiber.command, kinds):
            raise divergence.mismatch(self.context.execution_id, self.position, entry, fiber, self.root)
        return fiber

    # --- what entries do ----------------------------------------------------------------------------

    def _step_done(self, fiber: Fiber, entry: e.StepDone) -> None:
        command = fiber.command
        self._check_arguments(fiber, entry.digest)
        if fiber.undone is not None:
            self._undoing_done(fiber)
            return
        if command.options.down is not None:
            self._undoable.append(Done(fiber.id, command.options.down, entry.result, command.options, self.position))
        if fiber.settling:
            self._settle(fiber, keep=True)
            return
        self._resume(fiber, Ok(entry.result) if command.options.settled else entry.result)

    def _step_failed(self, fiber: Fiber, entry: e.StepFailed) -> None:
        command = fiber.command
        self._check_arguments(fiber, entry.digest)
        cause = entry.error if isinstance(entry.error, BaseException) else RuntimeError(str(entry.error))
        trail = Trail([*fiber.rows, self.position])
        if fiber.undone is not None:
            self._undoing_failed(fiber, cause, trail)
            return
        error = StepFailed(fiber.id, entry.attempts, cause)
        self._trails[id(error)] = trail
        if fiber.settling:
            self._settle(fiber, keep=False)
        elif command.options.settled:
            self._resume(fiber, Err(error))
        else:
            self._resume(fiber, error=error)

    def _step_retried(self, fiber: Fiber, entry: e.StepRetried) -> None:
        fiber.tries = entry.attempt
        fiber.retry_at = entry.due
        fiber.details = entry.details
        fiber.begun = ""
        fiber.flying = False
        fiber.rows.append(self.position)
        if fiber.first_at is None:
            fiber.first_at = entry.at - entry.seconds
        self._look(fiber)

    def _check_arguments(self, fiber: Fiber, recorded: int | None) -> None:
        if self._digest is None or recorded is None or self.live:
            return
        found = self._digest(fiber.command.args, fiber.command.kwargs)
        if found is not None and found != recorded:
            error = divergence.arguments(self.context.execution_id, self.position, fiber)
            if self._strict:
                raise error
            self.warnings.append(str(error))

    def _settle(self, fiber: Fiber, *, keep: bool) -> None:
        """A step of a failed `all`'s member has settled; now the member is cancelled like the others."""
        fiber.settling = False
        join = fiber.of
        trail = self._trails.get(id(join.failure)) if join is not None else None
        if keep and trail is not None:
            trail.cuts[fiber.number] = self.position
        self._resume(fiber, error=fiber.cancel or Cancelled())

    def _chosen(self, fiber: Fiber, entry: e.Chosen) -> None:
        switch = fiber.command
        branches = [*switch.branches, *([switch.default] if switch.default is not None else [])]
        branch = next((b for b in branches if b.id == entry.branch), None)
        if branch is None:
            raise divergence.mismatch(self.context.execution_id, self.position, entry, fiber, self.root)
        try:
            result = _run_branch(branch.run, switch.value)
        except Exception as error:
            self._resume(fiber, error=error)
            return
        if isinstance(result, Generator | Command):
            self._join(fiber, All(switch.id, (result,), (branch.id,), "switch"))
        else:
            self._resume(fiber, result)

    def _child_started(self, fiber: Fiber, entry: e.ChildStarted) -> None:
        self.children[entry.execution_id] = Child(entry.execution_id, entry.on_parent_close, entry.id)
        if not fiber.command.wait:
            self._resume(fiber, entry.execution_id)
            return
        fiber.child = entry.execution_id
        fiber.watching = True  # a child tells its parent by itself
        self._look(fiber)

    def _execution_ended(self, entry: e.ExecutionEnded) -> None:
        self.children.pop(entry.execution_id, None)
        if not entry.id:
            return  # nobody waited: it is only noted that the child is no longer open
        fiber = self._blocked(entry, WaitForExecution, Start)
        timed = isinstance(fiber.command, WaitForExecution) and fiber.command.timeout is not None
        match entry.status:
            case "completed":
                self._resume(fiber, Completed(entry.result) if timed else entry.result)
            case "cancelled":
                self._resume(fiber, error=ExecutionCancelled(entry.execution_id, str(entry.error or "") or None))
            case status:
                failure = ExecutionFailed(entry.execution_id, _as_error(entry.error), status=status)
                self._trails[id(failure)] = Trail([self.position])
                self._resume(fiber, error=failure)

    def _raced(self, fiber: Fiber, entry: e.Raced) -> None:
        join = fiber.join
        if join is None or join.winner is None or join.live or join.command.names[join.winner] != entry.winner:
            raise divergence.mismatch(self.context.execution_id, self.position, entry, fiber, self.root)
        if join.failure is not None:
            self._resume(fiber, error=join.failure)
        else:
            self._resume(fiber, Winner(entry.winner, join.results[join.winner]))

    # --- cancelling ------------------------------------------------------------------------------------

    def _cancel_all(self, entry: e.CancelReceived) -> None:
        if self.cancelled is None:
            self.cancelled = entry
            self._cancelled_at = self.position
            if self.root.number in self.fibers:
                self._cancel(self.root, Cancelled(entry.reason), settle=False)
            else:
                self.outcome = self._as_cancelled(None)

    def _cancel(self, fiber: Fiber, cancelled: Cancelled, *, settle: bool) -> None:
        """Have *cancelled* thrown into *fiber* at its yield, members first. A second cancel changes nothing.

        With *settle*, a running step is let end (and be recorded) first.
        """
        if fiber.cancelled or fiber.number not in self.fibers:
            return
        fiber.cancelled = True
        fiber.cancel = cancelled
        if fiber.undone is not None or fiber.command is None:
            return  # a rollback is not interrupted; a fiber about to run gets it at its next yield
        join = fiber.join
        if join is not None:
            join.cancelled = cancelled
            join.close_unbegun()
            for member in list(join.live.values()):
                self._cancel(member, cancelled, settle=settle)
            if not join.live and not self._is_queued(fiber):
                self._resume(fiber, error=cancelled)
        elif settle and isinstance(fiber.command, Step) and fiber.retry_at is None:
            fiber.settling = True
        else:
            self._resume(fiber, error=cancelled)

    def _is_queued(self, fiber: Fiber) -> bool:
        return any(queued is fiber for queued, _, _ in self._runnable)

    # --- driving fibers ----------------------------------------------------------------------------------

    def _open(self) -> None:
        root = self.root
        self.fibers[0] = root
        try:
            root.gen = self._start(self.context)
        except Exception as error:
            self._finish(root, None, error)
            return
        self._runnable.append((root, None, None))

    def _resume(self, fiber: Fiber, value: Any = None, error: BaseException | None = None) -> None:
        fiber.command = None
        fiber.join = None
        if fiber.cancel is error:
            fiber.cancel = None
        if error is not None:
            trail = self._trails.get(id(error))
            if trail is not None:
                trail.cuts[fiber.number] = self.position
        self._runnable.append((fiber, value, error))

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
        except (Exception, Cancelled) as raised:
            self._finish(fiber, None, raised)
        else:
            self._begin(fiber, command)

    def _begin(self, fiber: Fiber, command: Any) -> None:
        """Take up *command*, which *fiber* has yielded: block the fiber on it, or refuse it at its yield."""
        wrong: BaseException | None = None
        if not isinstance(command, Command):
            wrong = divergence.not_a_command(command, fiber)
        elif fiber.gen is not None and not self._epilogue:
            wrong = self.context._yielded(command)
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
            case All() | Race():
                self._join(fiber, command)
            case Rollback():
                fiber.undone = []
                self._undo_next(fiber)
            case _:
                self._look(fiber)

    def _unique(self, prefix: str, id: str, kind: str) -> str:
        """Return the id under which a command stands in the log: scoped by its member, numbered if repeated."""
        full = prefix + id
        count = self._ids.get(full)
        if count is None:
            self._ids[full] = 1
            check_step_id(id, kind)
            return full
        self._ids[full] = count + 1
        return f"{full}#{count + 1}"

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

    def _finish_root(self, value: Any, error: BaseException | None) -> None:
        if not self._epilogue:
            if error is None and isinstance(value, Generator):
                error = divergence.returned_generator(value)
            if error is None and not isinstance(value, ContinueAsNew):
                error = self.context._returned()
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
        while waiting := [c for c in self.children.values() if c.on_parent_close == "wait"]:
            try:
                yield WaitForExecution(f"close:{waiting[0].step_id}", waiting[0].execution_id)
            except (ExecutionFailed, ExecutionCancelled):
                continue
            except Cancelled:
                for child in waiting:
                    child.on_parent_close = "cancel"
        if error is not None:
            raise error
        return value

    def _outcome(self, value: Any, error: BaseException | None) -> Outcome:
        if self.cancelled is not None:
            return self._as_cancelled(value)
        if isinstance(value, ContinueAsNew):
            return Outcome("again", again=value)
        if isinstance(error, CompensationFailed):
            return Outcome("compensation_failed", error=error)
        if error is not None:
            return Outcome("failed", error=error)
        return Outcome("completed", value)

    def _as_cancelled(self, value: Any) -> Outcome:
        assert self.cancelled is not None
        if self.cancelled.cause == "timeout":
            return Outcome("failed", error=TimeoutError(self.cancelled.reason))
        return Outcome("cancelled", value, Cancelled(self.cancelled.reason))

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
            trail = self._trails.get(id(error))
            for sibling in list(join.live.values()):
                if trail is not None:
                    trail.cuts[sibling.number] = self.position
                self._cancel(sibling, Cancelled(f"member {member.prefix or member.id} failed"), settle=True)
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
                self._cancel(loser, Cancelled("another member won the race"), settle=False)
        if join.live:
            return
        if join.cancelled is not None:
            self._resume(join.fiber, error=join.cancelled)
        else:
            self._look(join.fiber)  # `Raced` is to be recorded

    # --- rollback -------------------------------------------------------------------------------------------

    def _undo_next(self, fiber: Fiber) -> None:
        if not self._undoable:
            report = RollbackReport(tuple(fiber.undone or ()))
            fiber.undone = None
            self._resume(fiber, report, error=fiber.cancel)
            return
        done = self._undoable[-1]
        options = StepOptions(retry=done.options.retry, timeout=done.options.timeout)
        step: Step[Any] = Step(f"rollback:{done.id}", done.undo, (done.result,), {}, options)
        undone = fiber.undone
        fiber.block(step, step.id)
        fiber.undone = undone
        self._look(fiber)

    def _undoing_done(self, fiber: Fiber) -> None:
        done = self._undoable.pop()
        self._undone.append(done)
        assert fiber.undone is not None
        fiber.undone.append(done.id)
        self._undo_next(fiber)

    def _undoing_failed(self, fiber: Fiber, cause: BaseException, trail: Trail) -> None:
        failed = self._undoable[-1]
        remaining = tuple(done.id for done in reversed(self._undoable))
        error = CompensationFailed(failed.id, tuple(fiber.undone or ()), remaining, cause)
        trail.cuts[fiber.number] = self.position
        self._trails[id(error)] = trail
        fiber.undone = None
        self.outcome = Outcome("compensation_failed", error=error)

    # --- questions -------------------------------------------------------------------------------------------

    def go_live(self) -> None:
        """Say that the log is at its end: from now on entries are made, not read."""
        self.live = True
        self.context.replaying = False
        self.fresh.extend(fiber for _, fiber in sorted(self.fibers.items()) if fiber.command is not None)

    def retryable(self, error: BaseException | None) -> bool:
        """Tell whether *error* comes from a step (or an awaited execution), so that a retry may end otherwise."""
        return self._trail_of(error) is not None

    def voids(self, error: BaseException | None, rows: list[list[Any]]) -> tuple[int, ...]:
        """Return the log indexes to void so that what failed with *error* is tried again; *rows* is the whole log."""
        trail = self._trail_of(error)
        undone_from = None
        if not isinstance(error, CompensationFailed):
            undone_from = min((done.index for done in self._undone), default=self._cancelled_at)
        if trail is None:
            if undone_from is None:
                return ()
            trail = Trail([])
        return voids(trail, self.births, rows, undone_from)

    def _trail_of(self, error: BaseException | None) -> Trail | None:
        seen = 0
        while error is not None and seen < 20:
            if id(error) in self._trails:
                return self._trails[id(error)]
            error = error.__cause__
            seen += 1
        return None

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


def close_generator(gen: Any) -> None:
    """Close *gen*, even if it yields on in its `finally` blocks: each further close takes it one yield nearer to its end."""
    for _ in range(MAX_MISUSES):
        try:
            gen.close()
        except RuntimeError:
            if gen.gi_frame is not None:
                continue
        except (Exception, Cancelled):
            return  # user code that fails while closing: there is nothing to save
        return


def _run_branch(run: Any, value: Any) -> Any:
    if not callable(run) or isinstance(run, Command):
        return run
    code = getattr(run, "__code__", None)
    takes = code.co_argcount - len(getattr(run, "__defaults__", None) or ()) if code is not None else 0
    if getattr(run, "__self__", None) is not None:
        takes -= 1
    return run(value) if takes >= 1 else run()


def _as_error(value: Any) -> BaseException | None:
    return value if isinstance(value, BaseException) or value is None else RuntimeError(str(value))
