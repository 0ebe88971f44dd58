"""Where an execution is: what it runs or waits for, since when, until when, at which line; and when the store is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from replay.core.errors import NotSerializable, Undecodable
from replay.core.fibers import Fiber
from replay.core.interpreter import Interpreter
from replay.core.requests import Header
from replay.core.running_steps import RunningSteps
from replay.core.settings import Coding
from replay.core.waits import AnswerWait, ChildWait, JoinWait, RollbackWait, SignalWait, StepWait, TimerWait

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
        self._reported_at = 0.0
        self._started_at: float | None = None
        self._heartbeats = 0
        self._details: dict[tuple[str, int], Any] = {}

    def begin(self, header: Header, now: float) -> None:
        """A visit begins."""
        self._started_at = None
        if header.current == b"[]":
            self._reported_at = now  # nothing was told, so nothing is out of date
        elif b'"details"' in header.current:
            self._details = self._remembered(header.current)

    def _remembered(self, told: bytes) -> dict[tuple[str, int], Any]:
        try:
            return {(w["id"], w["attempt"]): w["details"] for w in self._codec.decode(told) if "details" in w}
        except (Undecodable, TypeError, KeyError):
            return {}  # a newer version's, or of a class that is gone: the step begins without

    def details(self, id: str, wait: StepWait) -> Any:
        """Return what a step's body last said: in its previous attempt, or in this one before its process died."""
        return self._details.pop((id, wait.failures + 1), wait.details)

    def started(self, now: float) -> None:
        """Steps were launched."""
        self._started_at = now if self._started_at is None else self._started_at

    def due(self) -> float | None:
        """Return when the store must be told next."""
        return None if self._started_at is None else self._started_at + REPORT_AFTER

    def is_stale(self, now: float) -> bool:
        """Tell whether what the store was told last is too old to launch a step without a word."""
        return now - self._reported_at >= REPORT_AFTER

    def should_report(self, now: float, running: RunningSteps, *, renewed: bool) -> bool:
        """Tell whether the store is to be told now; *renewed*: leases just were, a good moment for a body's words."""
        due = self.due()
        return bool(running) and (
            (due is not None and due <= now) or (renewed and running.heartbeats != self._heartbeats)
        )

    def report(self, interpreter: Interpreter, running: RunningSteps, now: float) -> bytes:
        """Return what the store is told now, encoded."""
        self._reported_at, self._started_at, self._heartbeats = now, None, running.heartbeats
        if running.heartbeats:
            try:
                told = self._codec.encode(current(interpreter, running.details()))
                if len(told) <= self._limit:
                    return told
            except NotSerializable:
                pass  # they stay in this process, for the next attempt
        return self._codec.encode(current(interpreter))


def current(interpreter: Interpreter, details: Mapping[int, Any] | None = None) -> list[dict[str, Any]]:
    """Describe what the execution's fibers are blocked on, as plain data; *details*: what bodies said, by fiber."""
    return [_describe(fiber, details or {}) for fiber in interpreter.waits()[:MOST]]


def _describe(fiber: Fiber, details: Mapping[int, Any]) -> dict[str, Any]:
    wait = fiber.wait
    found: dict[str, Any] = {
        "kind": type(fiber.command).__name__,
        "id": fiber.id,
        "fiber": fiber.number,
        "at": fiber.where(),
    }
    match wait:
        case StepWait():
            found |= {"kind": "step", "attempt": wait.failures + 1}
            if wait.retry_at is not None:
                found["due"] = wait.retry_at
            if fiber.number in details:
                found["details"] = details[fiber.number]
        case TimerWait():
            found |= {"kind": "sleep", "due": wait.due}
        case SignalWait():
            found |= {"kind": "signal", "signal": wait.command.signal, "due": wait.due}
        case ChildWait():
            found |= {"kind": "execution", "execution_id": wait.execution_id}
            if not wait.is_start:
                found["due"] = wait.due
        case AnswerWait() | JoinWait() | RollbackWait() | None:
            pass
        case _:
            assert_never(wait)
    return found
