"""Flights: the steps of one session that run at this moment, by fiber."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from replay.core.commands import Step
from replay.core.effects import Call
from replay.core.errors import StepTimeout
from replay.core.fibers import Fiber
from replay.core.requests import Header
from replay.core.settings import SessionSettings


class RunningSteps:
    """Calls that were launched and have neither returned nor been abandoned."""

    def __init__(self, workflow: str, settings: SessionSettings) -> None:
        self._workflow = workflow
        self._settings = settings
        self._calls: dict[int, Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def calls(self) -> tuple[Call, ...]:
        """Return all of them."""
        return tuple(self._calls.values())

    @property
    def beats(self) -> int:
        """How often the running bodies have said how far they got."""
        return sum(call.beats for call in self._calls.values())

    def details(self) -> dict[int, Any]:
        """Return what running bodies said last, by fiber."""
        return {call.fiber: call.beat for call in self._calls.values() if call.beats}

    def launch(self, header: Header, fiber: Fiber, again: int, details: Any) -> Call:
        """Take off: return the call of *fiber*'s step.

        Args:
            again: How often the step's recorded result was voided.
            details: What its body said in an earlier try.
        """
        step: Step[Any] = fiber.command
        token = f"{header.id}/{header.run}/{fiber.id}" + (f"/{again}" if again else "")
        call = self._calls[fiber.number] = Call(
            header.id,
            self._workflow,
            fiber.number,
            fiber.id,
            step.fn,
            step.args,
            step.kwargs,
            fiber.tries + 1,
            token,
            step.options.timeout,
            self._settings.digest(step.args, step.kwargs),
            details,
            step,
        )
        return call

    def land(self, call: Call) -> bool:
        """Take a call off the list; False if it had been abandoned, so that its result is refused."""
        if self._calls.get(call.fiber) is not call:
            return False
        del self._calls[call.fiber]
        return True

    def abandon(self) -> tuple[Call, ...]:
        """Forget all; return them."""
        calls = self.calls()
        self._calls.clear()
        return calls

    def abandoned(self, fibers: Mapping[int, Fiber]) -> tuple[Call, ...]:
        """Forget those whose fibers no longer wait for them; return them."""
        if not self._calls:
            return ()
        gone = []
        for number, call in list(self._calls.items()):
            fiber = fibers.get(number)
            if fiber is None or fiber.command is not call.command:
                gone.append(self._calls.pop(number))
        return tuple(gone)

    def overdue(self, now: float) -> tuple[Call, ...]:
        """Return those whose timeout has passed."""
        if not self._calls:
            return ()
        return tuple(
            call
            for call in self._calls.values()
            if call.timeout is not None and call.started is not None and call.started + call.timeout <= now
        )

    def next_timeout(self, now: float) -> float | None:
        """Return when the first timeout will have passed; of a call that waits for a thread, were it to begin *now*."""
        first: float | None = None
        for call in self._calls.values():
            if call.timeout is not None:
                instant = (now if call.started is None else call.started) + call.timeout
                first = instant if first is None or instant < first else first
        return first


def timed_out(call: Call) -> StepTimeout:
    """Return the error of a call that did not return in time."""
    return StepTimeout(f"step {call.id!r} did not return within {call.timeout:g} s (attempt {call.attempt})")
