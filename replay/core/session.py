"""A session: one visit of a worker to an execution, as a generator of effects.

    load and replay the log (or continue the live generator)
    repeat: make the entries that can be decided, commit them, start steps, wait
    until the execution ends, or only waits (suspend)

Entries that the workflow has seen are committed before a step is started, an event is published or the lease is given up
(invariant I7). `Fenced` ends the session without a trace.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from replay.core import commands as c
from replay.core import entries as e
from replay.core.children_anew import Anew, children_to_start_anew
from replay.core.commands import WaitForExecution
from replay.core.completion import Completion, at_latest
from replay.core.cursor import LogCursor
from replay.core.decider import Decider
from replay.core.effects import Call, CancelSteps, Effect, Returned, StartSteps, Wait, WakeUp, Warn
from replay.core.errors import (
    Cancelled,
    Fenced,
    NonDeterminism,
    StepTimeout,
    Undecodable,
    UnknownExecution,
    describe_error,
    text_of,
)
from replay.core.fibers import Fiber
from replay.core.ids import child_id, keyed_id
from replay.core.interpreter import Interpreter
from replay.core.parking import Report, check_place, place_of
from replay.core.patches import Patches
from replay.core.progress import STUCK_AT, ProgressReporter
from replay.core.recorder import Recorder
from replay.core.requests import (
    Claimed,
    Commit,
    Committed,
    End,
    Get,
    Header,
    KeepLease,
    Load,
    Message,
    ReleaseLease,
    Restart,
    Suspend,
    Watch,
)
from replay.core.running_steps import RunningSteps, timed_out
from replay.core.settings import Definition, SessionSettings
from replay.core.wait_targets import of_another_workflow
from replay.core.waits import ChildWait, StepWait
from replay.core.workflow_end import Outcome

STUCK_DELAY = 30.0
"""Seconds until a stuck execution is tried again by itself (a fitting worker's start tries at once)."""

NEAR_LIMIT = 0.8
"""Share of `log_limit` at which a log's length is warned of: early enough to deploy a `ctx.continue_as_new`."""

ALL_SEEN = 2**53
"""Number beyond every message in the inbox: none that arrived meanwhile keeps the execution awake."""

Steps = Generator[Effect, Any, None]


class Session:
    """One execution in a worker: its interpreter, and its entries that are not committed yet.

    A suspended session can be kept and run again with the next claim, if `fits` finds that nothing happened in between.
    """

    def __init__(self, claimed: Claimed, definition: Definition, settings: SessionSettings) -> None:
        self.header = claimed.header
        self.id = claimed.header.id
        self.parked = False
        self.stuck: BaseException | None = None
        self.now = claimed.header.updated_at
        self._definition = definition
        self._settings = settings
        self._codec = settings.codec
        self._interpreter: Interpreter | None = None
        self._decider: Decider
        self._recorder: Recorder
        self._patches: Patches
        self._place: Report | None = None  # the commands at which the execution stood when it was loaded
        self._token = ""
        self._seen = 0
        self._length = claimed.header.length
        self._commits = 0
        self._last_commit = claimed.header.last_commit
        self._running = RunningSteps(definition.key, settings)
        self._amended = e.UNAMENDED
        self._unread: list[Message] = []  # messages that came before the attempt began
        self._draining = False
        self._stop_by: float | None = None
        self._progress = ProgressReporter(settings.codec, settings.payload_limit)

    # --- for the worker ------------------------------------------------------------------------------

    def fits(self, claimed: Claimed) -> bool:
        """Tell whether the execution is unchanged since this session left it."""
        header = claimed.header
        return (
            self._interpreter is not None
            and self.parked
            and header.last_commit == self._last_commit
            and header.length == self._length
            and header.run == self.header.run
            and header.attempt == self.header.attempt
        )

    @property
    def seen(self) -> int:
        """Highest inbox number that the session has been given."""
        return self._seen

    @property
    def token(self) -> str:
        """The lease's token."""
        return self._token

    @property
    def interpreter(self) -> Interpreter | None:
        """The live interpreter, for displays."""
        return self._interpreter

    def close(self) -> None:
        """Close the workflow's generators. Call from the thread that drives them; safe to call twice.

        References between the session and its parts are dropped, so that no cycle is left for the garbage collector.
        """
        if self._interpreter is not None:
            self._interpreter.close()
            self._interpreter = None
            del self._decider, self._recorder

    def give_back(self) -> Commit:
        """Return the request that releases the lease and drops all that is not committed."""
        self._commits += 1
        return Commit(self.id, self._token, self._length, f"{self._token}:{self._commits}", ReleaseLease())

    def give_up(self, error: BaseException) -> Commit:
        """Return the request that leaves the execution stuck after an error of the engine's own."""
        self._commits += 1
        about = {} if self._place is None else {STUCK_AT: self._place}  # what it waited for, for the code that fits
        return Commit(
            self.id,
            self._token,
            self._length,
            f"{self._token}:{self._commits}",
            Suspend("stuck", self.now + STUCK_DELAY, self._settings.lease),
            seen=ALL_SEEN,
            current=self._codec.encode(
                [{"kind": "stuck", **about, "error": type(error).__name__, "message": text_of(error)}]
            ),
        )

    def run(self, claimed: Claimed, now: float) -> Steps:
        """Visit the execution: yield effects until it is suspended, ended or lost."""
        self.header, self.now, self.parked = claimed.header, now, False
        self._token = claimed.header.token or ""
        self._commits = 0
        self._draining = False
        self._stop_by = None
        self._progress.begin(claimed.header, now)
        try:
            if self._interpreter is None:
                yield from self._load()
            self._receive(claimed.messages)
            # Messages that an earlier session consumed count as seen, although the inbox no longer holds them.
            self._seen = max(self._seen, claimed.header.arrivals)
            yield from self._visit()
        except Fenced:
            self.close()
        except (NonDeterminism, Undecodable) as error:
            yield from self._stick(error)
        if not self.parked:
            self.close()

    # --- the visit ---------------------------------------------------------------------------------------

    def _load(self, anew: Anew = ()) -> Steps:
        header, settings = self.header, self._settings
        rows: list[bytes] = (yield Load(self.id)) if header.length else []
        amended = e.UNAMENDED
        if header.amendments:
            begins = e.AttemptStarted(self.now, 0, "", settings.worker, header.attempt, anew)
            amended = e.effective([*self._codec.decode_rows(rows), e.to_row(begins)])
        self._amended = amended
        input = self._codec.decode(header.input)
        cursor = LogCursor()
        self._place = self._parked_at()
        self._patches = Patches(rows, self._codec.decode_rows, cursor, all_passed=self._place is not None)
        context = settings.context(header, self._patches.answer)
        policy = settings.argument_policy
        interpreter = Interpreter(
            lambda ctx: self._definition.generator(ctx, input),
            context,
            cursor=cursor,
            digest=None if policy == "off" else self._codec.digest,
            strict_arguments=policy == "error",
            rollback_on_failure=self._definition.rollback_on_failure,
            amended=amended,
        )
        self._interpreter = interpreter
        self._recorder = Recorder(header, interpreter, settings)
        self._decider = Decider(
            interpreter, self._codec.decode, header.deadline, self._child_id, self._definition.signal_ids
        )
        self._decider.receive_again(amended.receipts, self._codec.encode)
        self._decider.asked_again = amended.ended
        try:
            interpreter.feed_log(rows, self._codec.decode_rows)
        except (ValueError, IndexError) as error:  # IndexError: a row that is too short
            if isinstance(error, Undecodable):
                raise
            raise Undecodable(f"execution {self.id!r}: {text_of(error)}") from error
        self._length = len(rows)
        if self._place is not None:
            check_place(interpreter, self._place, self.id, self._length)
        interpreter.go_live()
        self._patches.go_live()
        for text in dict.fromkeys(interpreter.warnings):
            yield Warn(text)

    def _parked_at(self) -> Report | None:
        """Return the commands at which the execution stands, if its progress was reported after the log's last entry."""
        if self.header.current == b"[]":
            return None
        try:
            return place_of(self._codec.decode(self.header.current), self.header.length)
        except Undecodable:
            return None  # heartbeats of an unknown class

    def _child_id(self, step_id: str, command: c.Start[Any]) -> str:
        if command.key is not None:
            id = keyed_id(command.workflow.key, command.key)
            while id in self._amended.replaced:
                id = self._amended.replaced[id]
            return id
        return child_id(self.id, self.header.run, step_id, self._amended.again.get(step_id, 0))

    def _visit(self) -> Steps:
        interpreter, decider = self._interpreter, self._decider
        assert interpreter is not None
        while self._begins() and self.now < interpreter.resumes_at:
            # A message came during the pause before the next attempt: it waits, as the attempt does.
            yield from self._commit(
                Suspend("retrying", at_latest(self.header, interpreter.resumes_at), self._settings.lease)
            )
            if self.parked:
                return
        if self._begins():
            interpreter = yield from self._begin()
            decider = self._decider
        while True:
            self._decide()
            if interpreter.outcome is not None:
                if (yield from self._finish(interpreter.outcome)):
                    return
                continue
            abandoned = self._running.abandoned(interpreter.fibers)
            if abandoned:
                yield CancelSteps(abandoned, abandon=True)
            if decider.watches:
                yield from self._watch()
                continue
            if decider.starts and self._stop_by is None and not self._draining:
                report = self._progress.is_stale(self.now)
                if (self._recorder.unsaved or report) and (
                    yield from self._commit(KeepLease(self._settings.lease), where=report)
                ):
                    continue  # a message arrived meanwhile: decide before starting steps
                if not (yield from self._start_steps()):
                    continue
            elif not self._running and self._stop_by is None:
                if (yield from self._park()):
                    return
                continue
            elif self._recorder.unsaved:
                yield from self._commit(KeepLease(self._settings.lease))
            woken: WakeUp = yield Wait(self._until())
            yield from self._take(woken)

    def _begin(self) -> Generator[Effect, Any, Interpreter]:
        """Record that the workflow's attempt begins. Children that failed or were cancelled are started anew first."""
        header, interpreter = self.header, self._interpreter
        assert interpreter is not None
        anew: Anew = ()
        replaced: set[str] = set()
        if header.attempt > 1:
            anew = yield from children_to_start_anew(header, interpreter, self._amended)
        if anew:
            before = self._amended.replaced.keys()
            interpreter.close()
            yield from self._load(anew)
            replaced = self._amended.replaced.keys() - before
            interpreter = self._interpreter
            assert interpreter is not None
            self._decider.receive(message for message in self._unread if message.name not in replaced)
            for index in sorted({index for index, _ in anew} & interpreter.anew.keys()):
                self._recorder.create(*interpreter.anew[index])
        stale = tuple(m.seq for m in self._unread if m.kind == "ended" and m.name in replaced)
        self._unread = []
        begins = e.AttemptStarted(self.now, 0, "", self._settings.worker, header.attempt, anew)
        self._recorder.record(begins, stale)
        return interpreter

    def _begins(self) -> bool:
        """Tell whether the workflow's attempt has not begun, and nothing keeps it from doing so."""
        assert self._interpreter is not None
        return self._interpreter.begun < self.header.attempt and self._decider.cancel is None and not self._is_overdue()

    def _is_overdue(self) -> bool:
        deadline = self._decider.deadline
        return deadline is not None and deadline <= self.now

    def _decide(self) -> None:
        """Record every entry that can be decided now."""
        decider = self._decider
        interpreter = self._interpreter
        assert interpreter is not None
        while True:
            ended = interpreter.outcome is not None
            if not ended:
                self._recorder.end_if_too_long(self._length)  # results of steps count, too
            if decider.cancel is not None and interpreter.cancelled is None:
                if not ended and self._running and (self._stop_by is None or self.now < self._stop_by):
                    return  # running bodies are asked to stop first
                self._stop_by = None
                reason = self._codec.decode(decider.cancel.payload)
                self._recorder.record(e.CancelReceived(self.now, 0, "", reason), (decider.cancel.seq,))
                self._give_up_losers()
                continue
            if ended:
                break
            if decider.deadline is not None and self._is_overdue() and interpreter.cancelled is None:
                reason = f"the execution did not end within its timeout ({round(self._allowed(), 3):g} s after it was created)"
                self._recorder.record(e.CancelReceived(self.now, 0, "", reason, "timeout"))
                self._give_up_losers()
                continue
            decided = decider.next_entry(self.now)
            if decided is None:
                break
            self._recorder.record(*decided)
        while self._patches.new:
            self._recorder.record(e.Patched(self.now, 0, self._patches.new.pop(0)))
        if interpreter.unwanted:
            self._recorder.cancels += [id for id in interpreter.unwanted if id in interpreter.children]
            interpreter.unwanted.clear()

    def _give_up_losers(self) -> None:
        """Fail the steps that a lost race or a failed `all` still waits for: a cancel's grace is over, or the time was."""
        assert self._interpreter is not None
        for fiber in self._interpreter.waits():
            wait = fiber.wait
            if isinstance(wait, StepWait) and wait.settling:
                error = StepTimeout(
                    f"step {fiber.id!r} had not ended when its execution was cancelled; its thread is abandoned"
                )
                self._recorder.record(e.StepFailed(self.now, fiber.number, fiber.id, error, None, wait.failures + 1))

    def _allowed(self) -> float:
        return (self.header.deadline or 0.0) - self.header.created_at

    def _until(self) -> float | None:
        """Return the instant at which the session must wake up by itself, None if there is none."""
        until = self._running.next_timeout(self.now)
        for instant in (self._decider.wake_at(), self._stop_by, self._progress.due()):
            if instant is not None and (until is None or instant < until):
                until = instant
        return until

    def _take(self, woken: WakeUp) -> Steps:
        """Take in the results, messages and timeouts of a wake-up."""
        self.now = max(self.now, woken.now)
        self._draining = self._decider.draining = self._draining or woken.drain
        for returned in woken.returned:
            self._return(returned)
        for call in self._running.overdue(self.now):
            yield CancelSteps((call,), abandon=True)
            self._return(Returned(call, error=timed_out(call), seconds=self.now - (call.started or self.now)))
        if woken.news:
            yield from self._commit(KeepLease(self._settings.lease))
        elif self._progress.should_report(self.now, self._running, renewed=woken.report):
            yield from self._commit(KeepLease(self._settings.lease), where=True)
        if self._decider.cancel is not None and self._stop_by is None and self._running:
            assert self._interpreter is not None
            if self._interpreter.cancelled is None:
                self._stop_by = self.now + self._settings.cancel_grace
                yield CancelSteps(self._running.calls(), abandon=False)

    # --- steps ----------------------------------------------------------------------------------------------

    def _start_steps(self) -> Generator[Effect, Any, bool]:
        """Hand steps to the thread pool; return whether there was any."""
        calls = []
        while self._decider.starts:
            fiber, wait = self._decider.starts.popleft()
            if fiber.wait is not wait:
                continue  # it was cancelled before the step began
            again, details = self._amended.again.get(fiber.id, 0), self._progress.details(fiber.id, wait)
            calls.append(self._running.start(self.header, fiber, wait, again, details))
        if calls:
            self._progress.started(self.now)
            yield StartSteps(tuple(calls))
        return bool(calls)

    def _return(self, returned: Returned) -> None:
        call = returned.call
        if not self._running.finish(call):
            return
        assert self._interpreter is not None
        fiber = self._interpreter.fibers.get(call.fiber)
        if fiber is None or fiber.wait is not call.wait:
            return  # cancelled by a result just before it (of a race's winner, say)
        if returned.error is None:
            entry = e.StepDone(
                self.now, call.fiber, call.id, returned.value, call.digest, call.attempt, round(returned.seconds, 6)
            )
            self._recorder.step_done(entry, returned.data)
        else:
            self._fail(call, returned.error, returned.seconds, final=returned.final)

    def _fail(self, call: Call, error: BaseException, seconds: float, *, final: bool) -> None:
        assert self._interpreter is not None
        fiber, wait = self._interpreter.fibers[call.fiber], call.wait
        wait.in_flight = False
        if self._stop_by is not None and isinstance(error, Exception | Cancelled):
            self._interpreter.fresh.append((fiber, wait))
            return  # the body stopped as asked: the cancel decides
        first = wait.first_at if wait.first_at is not None else (call.started or self.now)
        delay = None
        if not final and not wait.settling and isinstance(error, Exception):
            delay = call.command.options.retry.delay(
                call.attempt, error, elapsed=self.now - first, random=self._settings.random()
            )
        if delay is None:
            self._recorder.record(
                e.StepFailed(self.now, call.fiber, call.id, error, call.digest, call.attempt, round(seconds, 6))
            )
        else:
            due = self.now + delay
            self._recorder.record(
                e.StepRetried(self.now, call.fiber, call.id, error, call.attempt, due, round(seconds, 6), call.beat)
            )

    # --- messages and commits --------------------------------------------------------------------------------

    def _receive(self, messages: tuple[Message, ...]) -> None:
        fresh = [message for message in messages if message.seq > self._seen]
        if fresh:
            self._seen = fresh[-1].seq
            self._decider.receive(fresh)
            if self._begins():
                self._unread += fresh

    def _commit(
        self,
        then: KeepLease | Suspend | ReleaseLease | End | Restart,
        *,
        where: bool = False,
        cancels: tuple[str, ...] = (),
        attempt: int | None = None,
        amendments: int = 0,
    ) -> Generator[Effect, Any, bool]:
        """Commit all that is pending; return whether messages came in. An end that yields to a cancel stays pending."""
        self._commits += 1
        commit_id = f"{self._token}:{self._commits}"
        assert self._interpreter is not None
        recorder = self._recorder
        publish = recorder.publish
        reply: Committed = yield Commit(
            self.id,
            self._token,
            self._length,
            commit_id,
            then,
            tuple(recorder.entries),
            tuple(recorder.consumed),
            self._seen,
            tuple(recorder.creates),
            (*cancels, *recorder.cancels),
            self._report() if where else None,
            attempt,
            amendments,
        )
        self.now = max(self.now, reply.now)
        self.parked = reply.parked
        if reply.parked or not isinstance(then, End | Restart):
            yield from self._lengthened(then, len(recorder.entries))
            self._last_commit = commit_id
            recorder.clear()
            yield from publish
        if reply.messages:
            self._receive(reply.messages)
            return True
        return False

    def _report(self) -> bytes:
        assert self._interpreter is not None
        length = self._length + len(self._recorder.entries)
        return self._progress.report(self._interpreter, self._running, self.now, length)

    def _lengthened(self, then: KeepLease | Suspend | ReleaseLease | End | Restart, entries: int) -> Steps:
        """Count committed *entries*; warn once, when the log of a continuing execution comes near its limit."""
        near, before = self._settings.log_limit * NEAR_LIMIT, self._length
        self._length += entries
        if before < near <= self._length and not isinstance(then, End | Restart):
            yield Warn(
                f"the log of execution {self.id!r} has {self._length:,} entries, and fails over {self._settings.log_limit:,}. "
                f"Fix: `return ctx.continue_as_new(...)` in loops, split the work into children, or raise log_limit"
            )

    def _watch(self) -> Steps:
        if self._recorder.unsaved:
            yield from self._commit(KeepLease(self._settings.lease))
        while self._decider.watches:
            target = self._decider.watches.pop(0)
            yield from self._check_workflow(target)
            try:
                yield Watch(target, self.id)
            except UnknownExecution as unknown:
                for fiber, _ in self._waits_for(target):
                    self._recorder.record(e.Refused(self.now, fiber.number, fiber.id, unknown))
        yield from self._commit(KeepLease(self._settings.lease))

    def _check_workflow(self, target: str) -> Steps:
        """Refuse waits for an execution of another workflow than they name."""
        named = [(fiber, key) for fiber, command in self._waits_for(target) if (key := command.workflow) is not None]
        header: Header | None = (yield Get(target)) if named else None
        for fiber, workflow in named:
            if header is not None and header.workflow != workflow:
                refused = of_another_workflow(target, header.workflow, workflow)
                self._recorder.record(e.Refused(self.now, fiber.number, fiber.id, refused))

    def _waits_for(self, target: str) -> list[tuple[Fiber, WaitForExecution[Any]]]:
        """Return the fibers that wait for an execution which they have not started, with their commands."""
        assert self._interpreter is not None
        return [
            (fiber, wait.command)
            for fiber in self._interpreter.waits()
            if isinstance(wait := fiber.wait, ChildWait)
            and isinstance(wait.command, WaitForExecution)
            and wait.execution_id == target
        ]

    # --- leaving ---------------------------------------------------------------------------------------------------

    def _park(self) -> Generator[Effect, Any, bool]:
        """Release the execution; return False if a message arrived meanwhile, so that the session continues."""
        assert self._interpreter is not None
        if self._draining and self._decider.starts:
            yield from self._commit(ReleaseLease(), where=True)
            self.parked = False  # the steps are not in the log: the next session finds them by itself
            return True
        waits = [fiber.wait for fiber in self._interpreter.waits()]
        retrying = any(isinstance(wait, StepWait) and wait.retry_at is not None for wait in waits)
        park = Suspend("retrying" if retrying else "sleeping", self._decider.wake_at(), self._settings.lease)
        yield from self._commit(park, where=True)
        return self.parked

    def _finish(self, outcome: Outcome) -> Generator[Effect, Any, bool]:
        """End the execution, or its attempt; return False if the outcome had to be changed first."""
        assert self._interpreter is not None
        running = self._running.abandon()
        if running:
            yield CancelSteps(running, abandon=True)
        ending = Completion(self.header, self._definition, self._settings, self._interpreter, self._recorder, self.now)
        recorded = len(self._recorder.entries)
        leave = yield from ending.leave(outcome)
        if leave is None:
            return False
        if outcome.raised is not None:
            yield Warn(f"execution {self.id!r} raised {describe_error(outcome.raised)} after it was cancelled")
        if isinstance(leave.then, Suspend):
            self._seen = ALL_SEEN  # messages that arrived meanwhile wait in the inbox for the next attempt
        messages = yield from self._commit(
            leave.then, cancels=leave.cancels, attempt=leave.attempt, amendments=int(leave.attempt is not None)
        )
        if messages and isinstance(leave.then, End | Restart):
            del self._recorder.entries[recorded:]  # a cancel arrived first, and is recorded first
            return False
        self.parked = False  # the next session replays the log
        return True

    def _stick(self, error: BaseException) -> Steps:
        """Leave the execution visibly stuck. It is tried again later, and at a fitting worker's start."""
        self.stuck = error
        if self._interpreter is not None:
            self._recorder.clear()
        running = self._running.abandon()
        if running:
            yield CancelSteps(running, abandon=True)
        yield Warn(text_of(error))
        try:
            yield self.give_up(error)
        except Fenced:
            pass
        self.parked = False
