"""Progress of an execution: its current commands, due times and source lines, and the times at which they are stored."""

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
"""Commands that are reported: a fan-out of thousands must not fill the record."""

AFTER, JOIN, SETTLING, STUCK_AT = "after", "join", "settling", "parked"
"""Keys for resuming sessions: length of the log, kind of the member's `all` or `race`, a member that lost, the place before `stuck`."""

INTERNAL = frozenset((AFTER, JOIN, SETTLING, STUCK_AT))
"""Keys that are not shown to users."""

REPORT_AFTER = 1.0
"""Seconds that a step may run before it is reported: an operator's view is not much older."""


NO_DETAILS: Mapping[int, Any] = {}


class ProgressReporter:
    """Reports progress to the store: early enough for people, seldom enough to cost nothing.

    Suspending always reports. A running step is reported after `REPORT_AFTER` seconds. A stale report is renewed before a step
    starts. Heartbeats of bodies are reported when leases are renewed.
    """

    def __init__(self, codec: Coding, limit: int) -> None:
        self._codec = codec
        self._limit = limit  # bytes: heartbeats must not fill the record
        self._reported_at = 0.0
        self._started_at: float | None = None
        self._heartbeats = 0
        self._details: dict[tuple[str, int], Any] = {}

    def begin(self, header: Header, now: float) -> None:
        """Begin a session."""
        self._started_at = None
        if header.current == b"[]":
            self._reported_at = now  # nothing was reported, so nothing is stale
        elif b'"details"' in header.current:
            self._details = self._remembered(header.current)

    def _remembered(self, report: bytes) -> dict[tuple[str, int], Any]:
        try:
            return {(w["id"], w["attempt"]): w["details"] for w in self._codec.decode(report) if "details" in w}
        except (Undecodable, TypeError, KeyError):
            return {}  # of a newer version or an unknown class: the step begins without details

    def details(self, id: str, wait: StepWait) -> Any:
        """Return the last heartbeat of a step: of its previous attempt, or of this one before its process died."""
        return self._details.pop((id, wait.failures + 1), wait.details)

    def started(self, now: float) -> None:
        """Note that steps were started."""
        self._started_at = now if self._started_at is None else self._started_at

    def due(self) -> float | None:
        """Return the instant of the next report, None if none is due."""
        return None if self._started_at is None else self._started_at + REPORT_AFTER

    def is_stale(self, now: float) -> bool:
        """Tell whether the last report is too old to start a step without another."""
        return now - self._reported_at >= REPORT_AFTER

    def should_report(self, now: float, running: RunningSteps, *, renewed: bool) -> bool:
        """Tell whether to report now; *renewed*: leases were just renewed, so heartbeats are reported, too."""
        due = self.due()
        return bool(running) and (
            (due is not None and due <= now) or (renewed and running.heartbeats != self._heartbeats)
        )

    def report(self, interpreter: Interpreter, running: RunningSteps, now: float, length: int) -> bytes:
        """Return the report for the store, encoded; *length*: number of entries in the log that it is stored with."""
        self._reported_at, self._started_at, self._heartbeats = now, None, running.heartbeats
        if running.heartbeats:
            try:
                report = self._codec.encode(current(interpreter, length, running.details()))
                if len(report) <= self._limit:
                    return report
            except NotSerializable:
                pass  # the heartbeats stay in this process, for the next attempt
        return self._codec.encode(current(interpreter, length))


def current(interpreter: Interpreter, length: int, details: Mapping[int, Any] | None = None) -> list[dict[str, Any]]:
    """Return the commands on which the fibers are blocked, as plain data.

    Args:
        interpreter: The interpreter, after *length* entries.
        length: Number of entries in the log.
        details: Last heartbeats by fiber.
    """
    return [{**describe(fiber, details or {}), AFTER: length} for fiber in interpreter.waits()[:MOST]]


def describe(fiber: Fiber, details: Mapping[int, Any] = NO_DETAILS) -> dict[str, Any]:
    """Return the command on which *fiber* is blocked, as plain data."""
    wait = fiber.wait
    found: dict[str, Any] = {
        "kind": type(fiber.command).__name__,
        "id": fiber.id,
        "fiber": fiber.number,
        "at": fiber.where(),
    }
    if fiber.parent_join is not None:
        found[JOIN] = type(fiber.parent_join.command).__name__
    match wait:
        case StepWait():
            found |= {"kind": "step", "attempt": wait.failures + 1}
            if wait.settling:
                found[SETTLING] = True
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
