"""The interpreter: entries in, the workflow's next commands out. A pure state machine over fibers.

Here is what each entry means; how fibers are driven is the `Driver`'s.

Rules of this file (numbered as in `docs/invariants.md`):

1. Nothing here reads a clock, a random source or the environment; everything comes from the log.
2. `Driver._advance` is the only place that resumes a generator, and only `feed` (an entry) leads there.
3. The order in which fibers advance is the order of the log. So replay, whatever its timing, repeats the live run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from replay.core import divergence
from replay.core import entries as e
from replay.core.commands import (
    PLAIN,
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
from replay.core.driver import RAISED, Child, Driver
from replay.core.errors import (
    Cancelled,
    CompensationFailed,
    ExecutionCancelled,
    ExecutionFailed,
    NonDeterminism,
    StepFailed,
    cause_of,
)
from replay.core.fibers import FailureTrace, Fiber, voids
from replay.core.generators import run_branch
from replay.core.outcomes import Completed, Err, Ok, Received, TimedOut, Winner

PORTION = 512
"""Log entries decoded at a time: enough to amortise the call, few enough to keep memory flat on a long log."""


class Interpreter(Driver):
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
        super().__init__(start, context, rollback_on_failure=rollback_on_failure)
        self.begun = 0  # the workflow's attempt that began last
        self.began_at: float | None = None  # when the first one did
        self.warnings: list[str] = []
        self._digest = digest
        self._strict = strict_arguments
        self._changes = changes or {}
        self._cancelled_at: int | None = None
        self.resumes_at = 0.0  # the instant before which the workflow's next attempt must not begin

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

    def feed_log(self, rows: list[bytes], decode: Callable[[Sequence[bytes]], list[list[Any]]]) -> None:
        """Feed a stored log, a portion at a time; of *rows*, what has been fed is let go: a long log is in memory once.

        Raises:
            NonDeterminism: The code does not want what the log says.
            ValueError: A row is not an entry.
        """
        for start in range(0, len(rows), PORTION):
            portion = rows[start : start + PORTION]
            self.feed_rows(decode(portion))
            rows[start : start + PORTION] = [b""] * len(portion)

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
            except RAISED as error:
                self._leave_straight(index - began, self._finish, root, None, error)
                return index
            if command.__class__ is Step and context._last is command and not context._lost:
                id = command.id
                if id in ids:
                    id = self._unique("", id, "Step")
                elif id.__class__ is str and 0 < len(id) <= 200 and id[0] not in "_r" and "#" not in id:
                    ids[id] = 1  # surely neither reserved nor given to a repetition
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
            case e.StepDone():
                self._step_done(self._blocked(entry, Step), entry)
            case e.AttemptStarted():
                self.begun, self.resumes_at = entry.attempt, 0.0
                self.began_at = entry.at if self.began_at is None else self.began_at
                if self.root.number not in self.fibers and self.outcome is None:
                    self._open()
            case e.AttemptFailed(due=due):
                self.resumes_at = due
            case e.Retried():
                self.resumes_at = 0.0
            case e.Edited() | e.Intervened() | e.ExecutionClosed():
                pass
            case e.Patched():
                pass  # `ctx.patched` finds them by itself
            case e.CancelReceived():
                self._cancel_all(entry)
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
                fiber.rows.append(self.position)
                self._look(fiber)
            case e.TimerFired():
                self._resume(self._blocked(entry, Sleep))
            case e.SignalReceived():
                fiber = self._blocked(entry, WaitForSignal)
                timed = fiber.command.timeout is not None
                self._resume(fiber, Received(entry.payload) if timed else entry.payload)
            case e.WaitTimedOut():
                self._resume(self._blocked(entry, WaitForSignal, WaitForExecution), TimedOut())
            case e.BranchChosen():
                self._chosen(self._blocked(entry, Switch), entry)
            case e.Emitted():
                self._resume(self._blocked(entry, Emit))
            case e.NoteAdded():
                self._resume(self._blocked(entry, Note))
            case e.ChildStarted(id=""):
                self._note_child(entry, tells=False)
            case e.ChildStarted():
                self._child_started(self._blocked(entry, Start), entry)
            case e.ExecutionEnded():
                self._execution_ended(entry)
            case e.RaceWon():
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
            raise self._mismatch(entry, fiber)
        return fiber

    def _mismatch(self, entry: e.Entry, fiber: Fiber | None) -> NonDeterminism:
        ended = None if self.outcome is None else (self.outcome.status, self.outcome.error)
        return divergence.mismatch(self.context.execution_id, self.position, entry, fiber, self.root, ended)

    # --- what entries do ----------------------------------------------------------------------------

    def _step_done(self, fiber: Fiber, entry: e.StepDone) -> None:
        command = fiber.command
        self._check_arguments(fiber, entry.digest)
        if self._is_compensation(fiber):
            self._compensations.done()
            self._undo_next()
            return
        if command.options.down is not None:
            self._compensations.register(
                Compensation(fiber.id, command.options.down, entry.result, command.options, self.position)
            )
        if fiber.settling:
            self._settle(fiber, keep=True)
            return
        self._resume(fiber, Ok(entry.result) if command.options.settled else entry.result)

    def _is_compensation(self, fiber: Fiber) -> bool:
        return fiber.id.startswith("rollback:")  # a reserved prefix

    def _step_failed(self, fiber: Fiber, entry: e.StepFailed) -> None:
        command = fiber.command
        self._check_arguments(fiber, entry.digest)
        cause = entry.error if isinstance(entry.error, BaseException) else RuntimeError(str(entry.error))
        trail = FailureTrace([*fiber.rows, self.position])
        if self._is_compensation(fiber):
            self._undoing_failed(fiber, cause, trail)
            return
        error = StepFailed(fiber.id, entry.attempts, cause)
        self._trails[error] = trail
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
        trail = self._trail(join.failure) if join is not None else None
        if keep and trail is not None:
            trail.cuts[fiber.number] = self.position
        self._resume(fiber, error=fiber.cancel or Cancelled())

    def _chosen(self, fiber: Fiber, entry: e.BranchChosen) -> None:
        switch = fiber.command
        branches = [*switch.branches, *([switch.default] if switch.default is not None else [])]
        branch = next((b for b in branches if b.id == entry.branch), None)
        if branch is None:
            raise self._mismatch(entry, fiber)
        try:
            result = run_branch(branch.run, switch.value)
        except Exception as error:
            self._resume(fiber, error=error)
            return
        if isinstance(result, Generator | Command):
            if isinstance(result, Command):
                self.context._used(result)
            self._join(fiber, All(switch.id, (result,), (branch.id,), "switch"))
        else:
            self._resume(fiber, result)

    def _child_started(self, fiber: Fiber, entry: e.ChildStarted) -> None:
        self._note_child(entry, tells=fiber.command.key is None)
        if not fiber.command.wait:
            self._resume(fiber, entry.execution_id)
            return
        fiber.child = entry.execution_id
        fiber.rows.append(self.position)
        self._look(fiber)

    def _note_child(self, entry: e.ChildStarted, *, tells: bool) -> None:
        self.children[entry.execution_id] = Child(
            entry.execution_id, entry.workflow, entry.on_parent_close, entry.id, self.position, tells
        )

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
                self._trails[failure] = FailureTrace([*fiber.rows, self.position])
                self._resume(fiber, error=failure)

    def _raced(self, fiber: Fiber, entry: e.RaceWon) -> None:
        join = fiber.join
        if join is None or join.winner is None or join.live or join.command.names[join.winner] != entry.winner:
            raise self._mismatch(entry, fiber)
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
                self._cancel(self.root, Cancelled(entry.reason), settle="none")
            else:
                self.outcome = self._as_cancelled(None)

    # --- questions -------------------------------------------------------------------------------------------

    def go_live(self) -> None:
        """Say that the log is at its end: from now on entries are made, not read."""
        self.live = True
        self.context.replaying = False
        self.fresh.extend(fiber for _, fiber in sorted(self.fibers.items()) if fiber.command is not None)

    def retryable(self, error: BaseException | None) -> bool:
        """Tell whether *error* comes from a step (or an awaited execution), so that a retry may end otherwise."""
        return self._trail_of(error) is not None

    @property
    def rewinds(self) -> bool:
        """Whether something makes all that came after it void for a retry: a rollback, or the timeout that cancelled it."""
        return self._compensations.first_undone is not None or self._cancelled_at is not None

    def voids(self, error: BaseException | None, rows: list[list[Any]]) -> tuple[int, ...]:
        """Return the log indexes to void so that what failed with *error* is tried again; *rows* is the whole log."""
        trail = self._trail_of(error)
        undone_from = None
        if not isinstance(error, CompensationFailed):
            undone = self._compensations.first_undone
            undone_from = self._cancelled_at if undone is None else undone
        if trail is None:
            if undone_from is None:
                return ()
            trail = FailureTrace([])
        return voids(trail, self.births, rows, undone_from)

    def _trail_of(self, error: BaseException | None) -> FailureTrace | None:
        seen = 0
        while error is not None and seen < 20:
            if (trail := self._trail(error)) is not None:
                return trail
            error = cause_of(error)
            seen += 1
        return None


def _as_error(value: Any) -> BaseException | None:
    return value if isinstance(value, BaseException) or value is None else RuntimeError(str(value))
