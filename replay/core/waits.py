"""Waits: the state of the command on which a fiber is blocked, one class for each way to be answered.

A fiber gets a fresh wait with each command, so nothing of an earlier command is left over.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal, TypeAlias, assert_never

from replay.core.commands import (
    All,
    AnyCommand,
    Emit,
    Note,
    Race,
    Rollback,
    Sleep,
    Start,
    Step,
    Switch,
    WaitForExecution,
    WaitForSignal,
)
from replay.core.errors import Cancelled


class FiberWait:
    """Base of all waits: the command that is waited for."""

    __slots__ = ("command",)

    def __init__(self, command: Any) -> None:
        self.command = command


class StepWait(FiberWait):
    """A step that runs, is to run, or waits for its next attempt.

    Attributes:
        failures: Attempts that failed.
        retry_at: Instant of the next attempt, None before the first failure.
        first_at: Instant at which the first attempt began, None before the first failure.
        details: Last heartbeat of the attempt that failed.
        begun: State of an at-most-once step: `""`, `"recorded"` by an earlier session, or `"live"`.
        settling: The fiber is cancelled as soon as the step has settled.
        in_flight: The step was handed to the session for running.
        rows: Log indexes of the entries between the step's beginning and its outcome.
    """

    __slots__ = ("begun", "details", "failures", "first_at", "in_flight", "retry_at", "rows", "settling")

    command: Step[Any]

    def __init__(self, command: Step[Any]) -> None:
        self.command = command
        self.failures = 0
        self.retry_at: float | None = None
        self.first_at: float | None = None
        self.details: Any = None
        self.begun: Literal["", "recorded", "live"] = ""
        self.settling = False
        self.in_flight = False
        self.rows: tuple[int, ...] = ()


class TimerWait(FiberWait):
    """A sleep. `due` is its end, None until that is recorded."""

    __slots__ = ("due",)

    command: Sleep

    def __init__(self, command: Sleep) -> None:
        self.command = command
        self.due: float | None = None


class SignalWait(FiberWait):
    """A wait for a signal. `due` is the instant of its timeout, None without one or until that is recorded."""

    __slots__ = ("due",)

    command: WaitForSignal[Any]

    def __init__(self, command: WaitForSignal[Any]) -> None:
        self.command = command
        self.due: float | None = None


class ChildWait(FiberWait):
    """A wait for the end of an execution.

    Attributes:
        execution_id: The execution, None until its start is recorded.
        due: Instant of the wait's timeout, None without one or until that is recorded.
        watching: The store was asked to notify us of the end.
        rows: Log indexes of the entries between the wait's beginning and its outcome.
    """

    __slots__ = ("due", "execution_id", "rows", "watching")

    command: Start[Any] | WaitForExecution[Any]

    def __init__(self, command: Start[Any] | WaitForExecution[Any]) -> None:
        self.command = command
        self.execution_id = command.execution_id if isinstance(command, WaitForExecution) else None
        self.due: float | None = None
        self.watching = False
        self.rows: tuple[int, ...] = ()

    @property
    def is_start(self) -> bool:
        """The command is the start of the child, not only a wait for it."""
        return isinstance(self.command, Start)


class JoinWait(FiberWait):
    """An `all`, a `race` or a switch's branch under way.

    Attributes:
        number: Number of the fiber that waits.
        next: Index of the next member to begin.
        live: Numbers of the members' fibers, by the member's index.
        results: Results by the member's index.
        failure: First failure of an `all`, or the failure of a race's winner.
        winner: Index of the member that won the race.
        cancelled: Raised in the waiting fiber as soon as no member is live.
    """

    __slots__ = ("cancelled", "failure", "live", "next", "number", "results", "winner")

    command: All[Any] | Race[Any]

    def __init__(self, command: All[Any] | Race[Any], number: int) -> None:
        self.command = command
        self.number = number
        self.next = 0
        self.live: dict[int, int] = {}
        self.results: list[Any] = [None] * len(command.members)
        self.failure: BaseException | None = None
        self.winner: int | None = None
        self.cancelled: Cancelled | None = None

    @property
    def closing(self) -> bool:
        """No further member begins."""
        return self.failure is not None or self.winner is not None or self.cancelled is not None

    def close_unbegun(self) -> None:
        """Close the generators of members that will not begin."""
        for member in self.command.members[self.next :]:
            if isinstance(member, Generator):
                member.close()
        self.next = len(self.command.members)

    def shaped(self) -> Any:
        """Return the results of an `all` in the shape of its members."""
        match self.command:
            case All(shape="list"):
                return self.results
            case All(shape="dict", keys=keys):
                return dict(zip(keys, self.results, strict=True))
            case All(shape="switch"):
                return self.results[0]
            case _:
                return tuple(self.results)


class AnswerWait(FiberWait):
    """A command that is answered by the next entry: a switch, an event or a note."""

    __slots__ = ()

    command: Switch[Any] | Emit | Note


class RollbackWait(FiberWait):
    """A rollback before its first compensation, or between two."""

    __slots__ = ()

    command: Rollback


TimedWait: TypeAlias = StepWait | TimerWait | SignalWait | ChildWait
"""The waits that a timer can end."""

AnyWait: TypeAlias = TimedWait | JoinWait | AnswerWait | RollbackWait
"""The closed union of waits: every `match` over it ends in `assert_never`."""


def wait_for(command: AnyCommand, number: int) -> AnyWait:
    """Return the wait of fiber *number* for *command*."""
    match command:
        case Step():
            return StepWait(command)
        case Note() | Emit() | Switch():
            return AnswerWait(command)
        case Sleep():
            return TimerWait(command)
        case WaitForSignal():
            return SignalWait(command)
        case Start() | WaitForExecution():
            return ChildWait(command)
        case All() | Race():
            return JoinWait(command, number)
        case Rollback():
            return RollbackWait(command)
        case _:
            assert_never(command)
