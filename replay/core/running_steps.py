"""The steps of one session that run at this moment, by fiber."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from replay.core.effects import Call
from replay.core.errors import StepTimeout
from replay.core.fibers import Fiber
from replay.core.requests import Header
from replay.core.settings import SessionSettings
from replay.core.waits import StepWait


class RunningSteps:
    """Calls that were started and have neither returned nor been abandoned."""

    def __init__(self, workflow: str, settings: SessionSettings) -> None:
        self._workflow = workflow
        self._settings = settings
        self._calls: dict[int, Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def calls(self) -> tuple[Call, ...]:
        """Return all calls."""
        return tuple(self._calls.values())

    @property
    def heartbeats(self) -> int:
        """Number of heartbeats of the running bodies."""
        return sum(call.beats for call in self._calls.values())

    def details(self) -> dict[int, Any]:
        """Return the last heartbeat of each running body, by fiber."""
        return {call.fiber: call.beat for call in self._calls.values() if call.beats}

    def start(self, header: Header, fiber: Fiber, wait: StepWait, again: int, details: Any) -> Call:
        """Return the call of the step for which *fiber* waits.

        Args:
            header: The execution's header.
            fiber: The waiting fiber.
            wait: Its wait.
            again: Number of recorded results of the step that were voided.
            details: Last heartbeat of an earlier attempt.
        """
        step = wait.command
        token = f"{header.id}/{header.run}/{fiber.id}" + (f"/{again}" if again else "")
        call = self._calls[fiber.number] = Call(
            header.id,
            self._workflow,
            fiber.number,
            fiber.id,
            step.fn,
            step.args,
            step.kwargs,
            wait.failures + 1,
            token,
            step.options.timeout,
            self._settings.digest(step.args, step.kwargs),
            details,
            step,
            wait,
            context=fiber.context,
        )
        return call

    def finish(self, call: Call) -> bool:
        """Remove a call that returned; False if it had been abandoned, so that its result is refused."""
        if self._calls.get(call.fiber) is not call:
            return False
        del self._calls[call.fiber]
        return True

    def abandon(self) -> tuple[Call, ...]:
        """Forget and return all calls."""
        calls = self.calls()
        self._calls.clear()
        return calls

    def abandoned(self, fibers: Mapping[int, Fiber]) -> tuple[Call, ...]:
        """Forget and return the calls for which their fibers no longer wait."""
        if not self._calls:
            return ()
        gone = []
        for number, call in list(self._calls.items()):
            fiber = fibers.get(number)
            if fiber is None or fiber.wait is not call.wait:
                gone.append(self._calls.pop(number))
        return tuple(gone)

    def overdue(self, now: float) -> tuple[Call, ...]:
        """Return the calls whose timeout has passed."""
        if not self._calls:
            return ()
        return tuple(
            call
            for call in self._calls.values()
            if call.timeout is not None and call.started is not None and call.started + call.timeout <= now
        )

    def next_timeout(self, now: float) -> float | None:
        """Return the instant of the first timeout, None without one. A call that waits for a thread counts as begun *now*."""
        first: float | None = None
        for call in self._calls.values():
            if call.timeout is not None:
                instant = (now if call.started is None else call.started) + call.timeout
                first = instant if first is None or instant < first else first
        return first


def timed_out(call: Call) -> StepTimeout:
    """Return the error of a call that did not return in time."""
    return StepTimeout(f"step {call.id!r} did not return within {call.timeout:g} s (attempt {call.attempt})")
