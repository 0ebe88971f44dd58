"""The frontier: where the log ends and entries are made. Decides, one entry at a time, what happens next.

Every decision that outside facts could make differently (which came first: signal, timer, cancel?) is an entry, fed to the
interpreter like any other; a replay reads it instead of deciding again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, assert_never

from replay.core import commands as c
from replay.core import entries as e
from replay.core.divergence import shown
from replay.core.errors import NoBranchMatched, SignalRefused, StepInterrupted
from replay.core.fibers import Fiber
from replay.core.interpreter import Interpreter
from replay.core.requests import Message


class Decider:
    """What a live interpreter waits for, and what has arrived for it.

    Args:
        interpreter: Live (`go_live` was called) before `next_entry` is.
        decode: The codec's.
        deadline: Instant at which the execution times out.
        child_id: Gives the id under which a `Start` command's child is created.
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
        self.launches: deque[Fiber] = deque()
        self.watches: list[str] = []
        self.cancel: Message | None = None
        self.deadline = deadline
        self.draining = False  # nothing more is launched
        self.asked_again: frozenset[str] = frozenset()  # executions that have told us of their end, in void entries
        self._allowed = signals
        self._decode = decode
        self._child_id = child_id
        self._timers: list[tuple[float, int, int]] = []
        self._signals: dict[str, deque[Message]] = {}
        self._ended: dict[str, Message] = {}
        self._on_signal: dict[str, deque[tuple[Fiber, Any]]] = {}
        self._on_end: dict[str, list[tuple[Fiber, Any]]] = {}
        self._hot: deque[str] = deque()
        self._hot_ends: deque[str] = deque()

    def receive(self, messages: Iterable[Message]) -> None:
        """Take messages from the inbox, in their order."""
        for message in messages:
            match message.kind:
                case "signal":
                    self._signals.setdefault(message.name, deque()).append(message)
                    self._hot.append(message.name)
                case "ended":
                    self._ended[message.name] = message
                    self._hot_ends.append(message.name)
                case "cancel":
                    self.cancel = self.cancel or message
                case _:
                    pass  # of a newer version: it stays in the inbox

    def receive_again(self, receipts: dict[int, list[Any]], encode: Callable[[Any], bytes]) -> None:
        """Take signals whose receipt is void (rows by log index): they come before those that wait in the inbox."""
        for index, (_, at, _, _, name, payload, _) in receipts.items():
            self.receive([Message(~index, "signal", name, encode(payload), at)])

    def next_entry(self, now: float) -> tuple[e.Fact, tuple[int, ...]] | None:
        """Return the next entry to record, and the inbox messages that it consumes; None if nothing can be decided.

        A cancel is not decided here: the session gives running steps a moment first.
        """
        interpreter = self.interpreter
        if interpreter.outcome is not None:
            return None
        while interpreter.fresh:
            fiber = interpreter.fresh.popleft()
            if fiber.command is None:
                continue
            entry = self._take_up(fiber, now)
            if entry is not None:
                return entry, ()
        return (
            (self._next_signal(now) if self._hot else None)
            or (self._next_end(now) if self._hot_ends else None)
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

    def _take_up(self, fiber: Fiber, now: float) -> e.Fact | None:
        command: c.AnyCommand = fiber.command
        at, number, id = now, fiber.number, fiber.id
        match command:
            case c.Step():
                return self._take_up_step(fiber, now)
            case c.Sleep():
                if fiber.due is None:
                    due = (
                        command.until
                        if command.until is not None
                        else self.interpreter.context.now() + (command.seconds or 0)
                    )
                    return e.TimerSet(at, number, id, due) if due > now else e.TimerFired(at, number, id)
                self._set_timer(fiber, fiber.due)
            case c.WaitForSignal():
                return self._take_up_wait(fiber, command, now)
            case c.Switch():
                return self._choose(fiber, command, now)
            case c.Emit():
                return e.Emitted(at, number, id, command.event, command.payload)
            case c.Note():
                return e.NoteAdded(at, number, id, command.text, command.data)
            case c.Start():
                if fiber.child is None:
                    child = self._child_id(id, command)
                    return e.ChildStarted(at, number, id, child, command.workflow.key, command.on_parent_close)
                self._wait_for_end(fiber, fiber.child)
            case c.WaitForExecution():
                if command.timeout is not None and fiber.due is None and command.execution_id not in self._ended:
                    return e.TimerSet(at, number, id, self.interpreter.context.now() + command.timeout)
                if fiber.due is not None:
                    self._set_timer(fiber, fiber.due)
                self._wait_for_end(fiber, command.execution_id)
            case c.Race():
                join = fiber.join
                if join is not None and join.winner is not None and not join.live:
                    return e.RaceWon(at, number, id, join.command.names[join.winner])
            case c.All() | c.Rollback():
                pass
            case _:
                assert_never(command)
        return None

    def _take_up_wait(self, fiber: Fiber, command: c.WaitForSignal[Any], now: float) -> e.Fact | None:
        if self._allowed is not None and command.signal not in self._allowed:
            known = ", ".join(sorted(self._allowed)) or "none"
            refused = SignalRefused(
                f"the workflow waits for signal {command.signal!r}, which nobody may send it (signals=[...] holds: {known}). "
                f"Fix: add it to @workflow(signals=[...])"
            )
            return e.Refused(now, fiber.number, fiber.id, refused)
        waiting = self._on_signal.setdefault(command.signal, deque())
        if command.timeout is not None and fiber.due is None and not self._is_there(command.signal):
            return e.TimerSet(now, fiber.number, fiber.id, self.interpreter.context.now() + command.timeout)
        waiting.append((fiber, command))
        self._hot.append(command.signal)
        if fiber.due is not None:
            self._set_timer(fiber, fiber.due)
        return None

    def _is_there(self, signal: str) -> bool:
        """Tell whether a signal has arrived that no earlier waiter will take."""
        arrived = len(self._signals.get(signal, ()))
        return arrived > 0 and arrived > sum(f.command is command for f, command in self._on_signal[signal])

    def _take_up_step(self, fiber: Fiber, now: float) -> e.Fact | None:
        if not callable(fiber.command.fn):
            return e.Refused(now, fiber.number, fiber.id, _not_a_function(fiber))
        if fiber.command.options.at_most_once:
            if self.draining and not fiber.begun:
                self.launches.append(
                    fiber
                )  # for the next session: begun, and not run here, it would count as interrupted
                return None
            if not fiber.begun and (fiber.retry_at is None or fiber.retry_at <= now):
                return e.StepBegun(now, fiber.number, fiber.id)
            if fiber.begun == "recorded":
                lost = StepInterrupted(
                    f"step {fiber.id!r} was begun, and its process died before its outcome was recorded; "
                    f"it runs at most once, so whether its effect happened must be found out by the workflow"
                )
                return e.StepFailed(now, fiber.number, fiber.id, lost, None, fiber.tries + 1)
        if fiber.retry_at is not None and fiber.retry_at > now:
            self._set_timer(fiber, fiber.retry_at)
        elif not fiber.flying:
            fiber.flying = True
            self.launches.append(fiber)
        return None

    def _choose(self, fiber: Fiber, switch: c.Switch[Any], now: float) -> e.Fact:
        try:
            for branch in switch.branches:
                if branch.match(switch.value) if callable(branch.match) else branch.match == switch.value:
                    return e.BranchChosen(now, fiber.number, fiber.id, branch.id)
        except Exception as error:  # the matcher is the user's code: what it raises is the workflow's to see
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

    def _wait_for_end(self, fiber: Fiber, execution_id: str) -> None:
        child = self.interpreter.children.get(execution_id)
        told = child is not None and child.tells and execution_id not in self.asked_again
        if not told and not fiber.watching and execution_id not in self._ended:
            fiber.watching = True
            self.watches.append(execution_id)
        self._on_end.setdefault(execution_id, []).append((fiber, fiber.command))
        self._hot_ends.append(execution_id)

    # --- arrivals and timers ------------------------------------------------------------------------

    def _next_signal(self, now: float) -> tuple[e.Fact, tuple[int, ...]] | None:
        while self._hot:
            name = self._hot[0]
            waiting, arrived = self._on_signal.get(name), self._signals.get(name)
            while waiting and waiting[0][0].command is not waiting[0][1]:
                waiting.popleft()
            if not waiting or not arrived:
                self._hot.popleft()
                continue
            fiber, _ = waiting[0]
            message = arrived[0]
            if fiber.due is not None and fiber.due < message.at and fiber.due <= now:
                return e.WaitTimedOut(now, fiber.number, fiber.id), ()
            payload = self._decode(message.payload)
            arrived.popleft()
            waiting.popleft()
            if message.seq < 0:  # not from the inbox: see `receive_again`
                return e.SignalReceived(now, fiber.number, fiber.id, name, payload, ~message.seq), ()
            return e.SignalReceived(now, fiber.number, fiber.id, name, payload), (message.seq,)
        return None

    def _next_end(self, now: float) -> tuple[e.Fact, tuple[int, ...]] | None:
        while self._hot_ends:
            target = self._hot_ends[0]
            message = self._ended.get(target)
            waiting = self._on_end.get(target, [])
            while waiting and waiting[0][0].command is not waiting[0][1]:
                waiting.pop(0)
            if message is None or (not waiting and target not in self.interpreter.children):
                self._hot_ends.popleft()
                continue
            said = self._decode(message.payload)
            error = said["error"] if said["status"] != "completed" else None
            if not waiting:  # nobody waits for this child now: note that it is no longer open, keep the message
                self._hot_ends.popleft()
                continue
            fiber, _ = waiting[0]
            if fiber.due is not None and fiber.due < message.at and fiber.due <= now:
                return e.WaitTimedOut(now, fiber.number, fiber.id), ()
            waiting.pop(0)
            consumed = () if waiting else (message.seq,)
            if not waiting:
                del self._ended[target]
            return e.ExecutionEnded(
                now, fiber.number, fiber.id, target, said["status"], said["result"], error
            ), consumed
        return None

    def _set_timer(self, fiber: Fiber, due: float) -> None:
        heapq.heappush(self._timers, (due, fiber.number, id(fiber.command)))

    def _timer_of(self, timer: tuple[float, int, int]) -> Fiber | None:
        due, number, command = timer
        fiber = self.interpreter.fibers.get(number)
        if fiber is None or fiber.command is None or id(fiber.command) != command:
            return None
        return fiber if due in (fiber.due, fiber.retry_at) and not fiber.flying else None

    def _next_timer(self, now: float) -> tuple[e.Fact, tuple[int, ...]] | None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            fiber = self._timer_of(heapq.heappop(timers))
            if fiber is None:
                continue
            match fiber.command:
                case c.Sleep():
                    return e.TimerFired(now, fiber.number, fiber.id), ()
                case c.Step():
                    self.interpreter.fresh.append(fiber)
                    return self.next_entry(now)
                case _:
                    return e.WaitTimedOut(now, fiber.number, fiber.id), ()
        return None


def _not_a_function(fiber: Fiber) -> TypeError:
    fn = fiber.command.fn
    return TypeError(
        f"step {fiber.id!r} got {type(fn).__name__} {shown(fn, 80)!r} in place of a function. "
        f"Fix: pass the function and its arguments apart, `ctx.step(id, function, argument)`, not what a call of it returned"
    )
