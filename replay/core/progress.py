"""Where an execution is: what it runs or waits for, since when, until when, at which line; and when the store is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from replay.core import commands as c
from replay.core.errors import NotSerializable, Undecodable
from replay.core.fibers import Fiber
from replay.core.interpreter import Interpreter
from replay.core.requests import Header
from replay.core.running_steps import RunningSteps
from replay.core.settings import Coding

MOST = 20
"""Waits that are told: a fan-out of thousands must not fill the record."""

REPORT_AFTER = 1.0
"""Seconds that a step may run before the store is told that it does: what operators see is not much older."""


class ProgressReporter:
    """What the store is told, and when: early enough for people, seldom enough to cost nothing.

    Parking always tells. While steps run, the store is told when one has run for `REPORT_AFTER` seconds, before a step is
    launched if what was told last is older than that, and when leases are renewed if a body has said how far it got.
    """

    def __init__(self, codec: Coding, limit: int) -> None:
        self._codec = codec
        self._limit = limit  # bytes: what bodies say must not fill the record
        self._told_at = 0.0
        self._launched_at: float | None = None
        self._beats = 0
        self._details: dict[tuple[str, int], Any] = {}

    def begin(self, header: Header, now: float) -> None:
        """A visit begins."""
        self._launched_at = None
        if header.current == b"[]":
            self._told_at = now  # nothing was told, so nothing is out of date
        elif b'"details"' in header.current:
            self._details = self._remembered(header.current)

    def _remembered(self, told: bytes) -> dict[tuple[str, int], Any]:
        try:
            return {(w["id"], w["attempt"]): w["details"] for w in self._codec.decode(told) if "details" in w}
        except (Undecodable, TypeError, KeyError):
            return {}  # a newer version's, or of a class that is gone: the step begins without

    def details(self, fiber: Fiber) -> Any:
        """Return what a step's body last said: in its previous attempt, or in this one before its process died."""
        return self._details.pop((fiber.id, fiber.tries + 1), fiber.details)

    def launched(self, now: float) -> None:
        """Steps were launched."""
        self._launched_at = now if self._launched_at is None else self._launched_at

    def due(self) -> float | None:
        """Return when the store must be told next."""
        return None if self._launched_at is None else self._launched_at + REPORT_AFTER

    def outdated(self, now: float) -> bool:
        """Tell whether what the store was told last is too old to launch a step without a word."""
        return now - self._told_at >= REPORT_AFTER

    def wanting(self, now: float, flights: RunningSteps, *, renewed: bool) -> bool:
        """Tell whether the store is to be told now; *renewed*: leases just were, a good moment for a body's words."""
        due = self.due()
        return bool(flights) and ((due is not None and due <= now) or (renewed and flights.beats != self._beats))

    def tell(self, interpreter: Interpreter, flights: RunningSteps, now: float) -> bytes:
        """Return what the store is told now, encoded."""
        self._told_at, self._launched_at, self._beats = now, None, flights.beats
        if flights.beats:
            try:
                told = self._codec.encode(current(interpreter, flights.details()))
                if len(told) <= self._limit:
                    return told
            except NotSerializable:
                pass  # they stay in this process, for the next attempt
        return self._codec.encode(current(interpreter))


def current(interpreter: Interpreter, details: Mapping[int, Any] | None = None) -> list[dict[str, Any]]:
    """Describe what the execution's fibers are blocked on, as plain data; *details*: what bodies said, by fiber."""
    return [_describe(fiber, details or {}) for fiber in interpreter.waits()[:MOST]]


def _describe(fiber: Fiber, details: Mapping[int, Any]) -> dict[str, Any]:
    command = fiber.command
    found: dict[str, Any] = {"kind": type(command).__name__, "id": fiber.id, "fiber": fiber.number, "at": fiber.where()}
    match command:
        case c.Step():
            found |= {"kind": "step", "attempt": fiber.tries + 1}
            if fiber.retry_at is not None:
                found["due"] = fiber.retry_at
            if fiber.number in details:
                found["details"] = details[fiber.number]
        case c.Sleep():
            found |= {"kind": "sleep", "due": fiber.due}
        case c.WaitForSignal():
            found |= {"kind": "signal", "signal": command.signal, "due": fiber.due}
        case c.WaitForExecution():
            found |= {"kind": "execution", "execution_id": command.execution_id, "due": fiber.due}
        case c.Start():
            found |= {"kind": "execution", "execution_id": fiber.child}
        case _:
            pass
    return found
