"""A worker's turn: the messages that it reads, and the calls that it leaves to run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import attrs

from replay.core.copies import own_arguments
from replay.core.effects import Call, Returned
from replay.worker.steps import CancelFlag


@attrs.frozen
class NewMessages:
    """Message: execution `id` may have unseen signals, cancels or ends of children."""

    id: str


@attrs.frozen
class LeaseLost:
    """Message: the lease on execution `id` under `token` is lost."""

    id: str
    token: str


Message: TypeAlias = Returned | NewMessages | LeaseLost
"""The kinds of messages in a worker's inbox."""


@attrs.frozen
class TurnResult:
    """The outcome of one turn.

    Attributes:
        calls: Step bodies to run.
        abandoned: Calls whose outcomes are refused from now on. Their threads may never return.
        wake_at: Latest instant of the next turn, by the worker's clock.
        again: The next turn is due at once.
    """

    calls: list[Call]
    abandoned: list[Call]
    wake_at: float
    again: bool = False


class TurnCalls:
    """The calls that one turn starts and abandons."""

    def __init__(self) -> None:
        self.started: list[Call] = []
        self.abandoned: list[Call] = []

    def start(self, calls: Iterable[Call]) -> None:
        """Add calls to run."""
        for call in calls:
            call.cancelled = CancelFlag()
            call.args, call.kwargs = own_arguments(call.args, call.kwargs)
            self.started.append(call)

    def cancel(self, calls: Iterable[Call], *, abandon: bool) -> None:
        """Set the cancel flags of *calls*; with *abandon* their outcomes are refused, too."""
        for call in calls:
            call.abandoned = call.abandoned or abandon
            if call.cancelled is not None:
                call.cancelled.set()
            if abandon and call in self.started:
                self.started.remove(call)
            elif abandon:
                self.abandoned.append(call)
