"""The decider: makes the next entry at the end of the log, one at a time.

A decision that outside facts could make differently (signal, timer or cancel first?) is an entry, fed to the interpreter like
any other. A replay reads it instead of deciding again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, assert_never

from replay.core import commands as c
from replay.core import entries as e
from replay.core.contexts import copied
from replay.core.copies import own
from replay.core.divergence import shown
from replay.core.errors import NoBranchMatched, SignalRefused, StepInterrupted, WrongExecution
from replay.core.fibers import Fiber
from replay.core.interpreter import Interpreter
from replay.core.interrupts import ends_the_process
from replay.core.requests import Message
from replay.core.wait_targets import of_another_workflow, waits_for_itself
from replay.core.waits import (
    AnswerWait,
    AnyWait,
    ChildWait,
    JoinWait,
    RollbackWait,
    SignalWait,
    StepWait,
    TimedWait,
    TimerWait,
)


class Decider:
    """The timers, messages and commands of a live execution that have yet to become entries.

    Args:
        interpreter: Live (`go_live` was called) before `next_entry` is.
        decode: Decodes a payload.
        deadline: Instant at which the execution times out.
        child_id: Makes the execution id of the child that a `Start` command creates.
        signals: The signals that the workflow may receive, None: any.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        decode: Callable[[bytes], Any],
        deadline: float | None,
        child_id: Callable[[str, c.Start[Any]], str],
        signals: frozenset[str] | None = None,
    ) -> None:
        self.interpreter = interpreter
        self.starts: deque[tuple[Fiber, StepWait]] = deque()
        self.watches: list[str] = []
        self.cancel: Message | None = None
        self.deadline = deadline
        self.draining = False  # no further step starts
        self.asked_again: frozenset[str] = frozenset()  # executions whose end was delivered, and whose entry is void
        self._allowed = signals
        self._decode = decode
        self._child_id = child_id
        self._timers: list[tuple[float, int, int]] = []
        self._signals: dict[str, deque[Message]] = {}
        self._ended: dict[str, Message] = {}
        self._on_signal: dict[str, deque[tuple[Fiber, SignalWait]]] = {}
        self._on_end: dict[str, deque[tuple[Fiber, ChildWait]]] = {}
        self._pending_signals: deque[str] = deque()
        self._pending_ends: deque[str] = deque()

    def receive(self, messages: Iterable[Message]) -> None:
        """Take messages from the inbox, in their order."""
        for message in messages:
            match message.kind:
                case "signal":
                    self._signals.setdefault(message.name, deque()).append(message)
                    self._pending_signals.append(message.name)
                case "ended":
                    self._ended[message.name] = message
                    self._pending_ends.append(message.name)
                case "cancel":
                    self.cancel = self.cancel or message
                case _:
                    pass  # of a newer version: it stays in the inbox

    def receive_again(self, receipts: dict[int, list[Any]], encode: Callable[[Any], bytes]) -> None:
        """Take signals whose receipt is void (rows by log index), ahead of those in the inbox."""
        for index, (_, at, _, _, name, payload, _) in receipts.items():
            self.receive([Message(~index, "signal", name, encode(payload), at)])

    def next_entry(self, now: float) -> tuple[e.Fact, tuple[int, ...]] | None:
        """Return the next entry to record and the inbox messages that it consumes, None if nothing can be decided.

        A cancel is decided by the session, which gives running steps a moment first.
        """
        if self.interpreter.outcome is not None:
            return None  # it has ended, perhaps by its log's limit, in the middle of what its code wanted
        fresh = self.interpreter.fresh
        while fresh:
            fiber, wait = fresh.popleft()
            entry = self._take_up(fiber, wait, now) if fiber.wait is wait else None  # else it was resumed meanwhile
            if entry is not None:
                return entry, ()
        return (
            (self._next_signal(now) if self._pending_signals else None)
            or (self._next_end(now) if self._pending_ends else None)
            or (self._next_timer(now) if self._timers else None)
        )

    def wake_at(self) -> float | None:
        """Return the earliest instant at which a timer is due, None without timers."""
        timers = self._timers
        while timers and self._timer_of(timers[0]) is None:
            heapq.heappop(timers)
        due = timers[0][0] if timers else None
        if self.deadline is not None and self.interpreter.cancelled is None:
            due = self.deadline if due is None else min(due, self.deadline)
        return due

    # --- commands that have just blocked their fiber ------------------------------------------------

    def _take_up(self, fiber: Fiber, wait: AnyWait, now: float) -> e.Fact | None:
        match wait:
            case StepWait():
                return self._take_up_step(fiber, wait, now)
            case TimerWait():
                return self._take_up_sleep(fiber, wait, now)
            case SignalWait():
                return self._take_up_signal(fiber, wait, now)
            case ChildWait():
                return self._take_up_child(fiber, wait, now)
            case AnswerWait():
                return self._answer(fiber, wait, now)
            case JoinWait():
                if wait.winner is not None and not wait.live:
                    return e.RaceWon(now, fiber.number, fiber.id, wait.command.names[wait.winner])
                return None
            case RollbackWait():
                return None
            case _:
                assert_never(wait)

    def _take_up_sleep(self, fiber: Fiber, wait: TimerWait, now: float) -> e.Fact | None:
        if wait.due is not None:
            self._set_timer(fiber, wait, wait.due)
            return None
        command = wait.command
        due = command.until if command.until is not None else self.interpreter.context.now() + (command.seconds or 0)
        if due > now:
            return e.TimerSet(now, fiber.number, fiber.id, due)
        return e.TimerFired(now, fiber.number, fiber.id)

    def _take_up_child(self, fiber: Fiber, wait: ChildWait, now: float) -> e.Fact | None:
        command = wait.command
        if wait.execution_id is None:
            assert isinstance(command, c.Start)
            child = self._child_id(fiber.id, command)
            if command.wait and child == self.interpreter.context.execution_id:
                return e.Refused(now, fiber.number, fiber.id, waits_for_itself(child, command.workflow.key))
            return e.ChildStarted(now, fiber.number, fiber.id, child, command.workflow.key, command.on_parent_close)
        if isinstance(command, c.WaitForExecution):
            refused = self._wrong_target(command)
            if refused is not None:
                return e.Refused(now, fiber.number, fiber.id, refused)
            if command.timeout is not None and wait.due is None and wait.execution_id not in self._ended:
                return e.TimerSet(now, fiber.number, fiber.id, self.interpreter.context.now() + command.timeout)
            if wait.due is not None:
                self._set_timer(fiber, wait, wait.due)
        self._wait_for_end(fiber, wait, wait.execution_id)
        return None

    def _wrong_target(self, command: c.WaitForExecution[Any]) -> WrongExecution | None:
        """Return the refusal of a wait for this execution itself, or for a child of another workflow than *command* names."""
        target, workflow = command.execution_id, command.workflow
        if target == self.interpreter.context.execution_id:
            return waits_for_itself(target, workflow)
        child = self.interpreter.children.get(target)
        if child is None or workflow is None or child.workflow == workflow:
            return None
        return of_another_workflow(target, child.workflow, workflow)

    def _take_up_signal(self, fiber: Fiber, wait: SignalWait, now: float) -> e.Fact | None:
        command = wait.command
        if self._allowed is not None and command.signal not in self._allowed:
            known = ", ".join(sorted(self._allowed)) or "none"
            refused = SignalRefused(
                f"the workflow waits for signal {command.signal!r}, which nobody may send it (signals=[...] holds: {known}). "
                f"Fix: add it to @workflow(signals=[...])"
            )
            return e.Refused(now, fiber.number, fiber.id, refused)
        waiting = self._on_signal.setdefault(command.signal, deque())
        if command.timeout is not None and wait.due is None and not self._is_there(command.signal):
            return e.TimerSet(now, fiber.number, fiber.id, self.interpreter.context.now() + command.timeout)
        waiting.append((fiber, wait))
        self._pending_signals.append(command.signal)
        if wait.due is not None:
            self._set_timer(fiber, wait, wait.due)
        return None

    def _is_there(self, signal: str) -> bool:
        """Tell whether a signal has arrived that no earlier waiter will take."""
        arrived = len(self._signals.get(signal, ()))
        return arrived > 0 and arrived > sum(fiber.wait is wait for fiber, wait in self._on_signal[signal])

    def _take_up_step(self, fiber: Fiber, wait: StepWait, now: float) -> e.Fact | None:
        if not _is_function(wait.command.fn):
            return e.Refused(now, fiber.number, fiber.id, _not_a_function(fiber))
        if wait.command.options.at_most_once:
            if self.draining and not wait.begun:
                self.starts.append((fiber, wait))  # left to the next session: begun here, it would count as interrupted
                return None
            if not wait.begun and (wait.retry_at is None or wait.retry_at <= now):
                return e.StepBegun(now, fiber.number, fiber.id)
            if wait.begun == "recorded":
                lost = StepInterrupted(
                    f"step {fiber.id!r} was begun, and its process died before its outcome was recorded; "
                    f"it runs at most once, so whether its effect happened must be found out by the workflow"
                )
                return e.StepFailed(now, fiber.number, fiber.id, lost, None, wait.failures + 1)
        if wait.retry_at is not None and wait.retry_at > now:
            self._set_timer(fiber, wait, wait.retry_at)
        else:
            assert not wait.in_flight, "a step is taken up once"
            wait.in_flight = True
            self.starts.append((fiber, wait))
        return None

    def _answer(self, fiber: Fiber, wait: AnswerWait, now: float) -> e.Fact:
        command = wait.command
        match command:
            case c.Switch():
                return self._choose(fiber, command, now)
            case c.Emit():
                return e.Emitted(now, fiber.number, fiber.id, command.event, command.payload)
            case c.Note():
                return e.NoteAdded(now, fiber.number, fiber.id, command.text, command.data)
            case _:
                assert_never(command)

    def _choose(self, fiber: Fiber, switch: c.Switch[Any], now: float) -> e.Fact:
        try:
            for branch in switch.branches:
                # In a copy of the context, because a matcher does not run again on replay.
                if copied(fiber.context).run(_matches, branch.match, switch.value):
                    return e.BranchChosen(now, fiber.number, fiber.id, branch.id)
        except BaseException as error:  # the matcher is user code; its exception is raised inside the workflow
            if ends_the_process(error):
                raise
            return e.Refused(now, fiber.number, fiber.id, error)
        if switch.default is not None:
            return e.BranchChosen(now, fiber.number, fiber.id, switch.default.id)
        known = ", ".join(branch.id for branch in switch.branches) or "none"
        return e.Refused(
            now,
            fiber.number,
            fiber.id,
            NoBranchMatched(
                f"switch {fiber.id!r}: no branch matches {shown(switch.value, 100)!r} (branches: {known}). "
                f"Fix: add a branch, or default="
            ),
        )

    def _wait_for_end(self, fiber: Fiber, wait: ChildWait, execution_id: str) -> None:
        child = self.interpreter.children.get(execution_id)
        notified = child is not None and child.notifies_us and execution_id not in self.asked_again
        if not notified and not wait.watching and execution_id not in self._ended:
            wait.watching = True
            self.watches.append(execution_id)
        self._on_end.setdefault(execution_id, deque()).append((fiber, wait))
        self._pending_ends.append(execution_id)

    # --- arrivals and timers ------------------------------------------------------------------------

    def _next_signal(self, now: float) -> tuple[e.Fact, tuple[int, ...]] | None:
        while self._pending_signals:
            name = self._pending_signals[0]
            waiting, arrived = self._on_signal.get(name), self._signals.get(name)
            while waiting and waiting[0][0].wait is not waiting[0][1]:
                waiting.popleft()
            if not waiting or not arrived:
                self._pending_signals.popleft()
                continue
            fiber, wait = waiting[0]
            message = arrived[0]
            if wait.due is not None and wait.due < message.at and wait.due <= now:
                return e.WaitTimedOut(now, fiber.number, fiber.id), ()
            payload = self._decode(message.payload)
            arrived.popleft()
            waiting.popleft()
            if message.seq < 0:  # not from the inbox: see `receive_again`
                return e.SignalReceived(now, fiber.number, fiber.id, name, payload, ~message.seq), ()
            return e.SignalReceived(now, fiber.number, fiber.id, name, payload), (message.seq,)
        return None

    def _next_end(self, now: float) -> tuple[e.Fact, tuple[int, ...]] | None:
        while self._pending_ends:
            target = self._pending_ends[0]
            message = self._ended.get(target)
            waiting = self._on_end.get(target)
            while waiting and waiting[0][0].wait is not waiting[0][1]:
                waiting.popleft()
            if message is None or not waiting:
                self._pending_ends.popleft()  # an end for which nobody waits now is kept
                continue
            fiber, wait = waiting[0]
            if wait.due is not None and wait.due < message.at and wait.due <= now:
                return e.WaitTimedOut(now, fiber.number, fiber.id), ()
            end = self._decode(message.payload)
            error = end["error"] if end["status"] != "completed" else None
            waiting.popleft()
            consumed = () if waiting else (message.seq,)
            if not waiting:
                del self._ended[target]
            ended = e.ExecutionEnded(now, fiber.number, fiber.id, target, end["status"], end["result"], error)
            return ended, consumed
        return None

    def _set_timer(self, fiber: Fiber, wait: TimedWait, due: float) -> None:
        heapq.heappush(self._timers, (due, fiber.number, id(wait)))

    def _timer_of(self, timer: tuple[float, int, int]) -> tuple[Fiber, TimedWait] | None:
        """Return the fiber and the wait of *timer*, None if they no longer need it."""
        due, number, identity = timer
        fiber = self.interpreter.fibers.get(number)
        wait = None if fiber is None else fiber.wait
        if fiber is None or id(wait) != identity:
            return None
        match wait:
            case StepWait() if wait.retry_at == due and not wait.in_flight:
                return fiber, wait
            case TimerWait() | SignalWait() | ChildWait() if wait.due == due:
                return fiber, wait
            case _:  # pragma: no cover  by chance: an ended wait, in whose place in memory another one is
                return None

    def _next_timer(self, now: float) -> tuple[e.Fact, tuple[int, ...]] | None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            found = self._timer_of(heapq.heappop(timers))
            if found is None:
                continue
            fiber, wait = found
            match wait:
                case TimerWait():
                    return e.TimerFired(now, fiber.number, fiber.id), ()
                case StepWait():
                    self.interpreter.fresh.append((fiber, wait))
                    return self.next_entry(now)
                case SignalWait() | ChildWait():
                    return e.WaitTimedOut(now, fiber.number, fiber.id), ()
                case _:
                    assert_never(wait)
        return None


def _matches(match: Any, value: Any) -> bool:
    return bool(match(own(value)) if callable(match) else match == value)


def _is_function(value: Any) -> bool:
    return callable(value)


def _not_a_function(fiber: Fiber) -> TypeError:
    fn = fiber.command.fn
    return TypeError(
        f"step {fiber.id!r} got {type(fn).__name__} {shown(fn, 80)!r} in place of a function. "
        f"Fix: pass the function and its arguments apart, `ctx.step(id, function, argument)`, not what a call of it returned"
    )
