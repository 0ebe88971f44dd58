"""Effects: a session's requests to its performer, besides those to the store. The boundary between engine and world.

Every effect (and every request) that a session yields is a point at which a crash can be injected.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeAlias

import attrs
import msgspec

from replay.core.requests import Request


@attrs.define(eq=False)
class Call:
    """One attempt of a step, to be run in the thread pool.

    Attributes:
        token: Stable over attempts and crashes: an idempotency key for the outside world.
        beat: Details of the body's last heartbeat; `beats` counts its heartbeats.
        started: Instant (store's clock) at which a thread began to run it; set by the executor.
        cancelled: Event that asks the body to stop; made by the performer.
        abandoned: Its outcome will be refused; set by the performer.
        token_read: The body has read the token.
        context: Context variables of the workflow. The body sees a copy; None: it sees none.
        wait: The wait of the fiber that the call answers.
    """

    execution_id: str
    workflow: str
    fiber: int
    id: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    attempt: int
    token: str
    timeout: float | None = None
    digest: int | None = None
    details: Any = None
    command: Any = attrs.field(default=None, repr=False)
    wait: Any = attrs.field(default=None, repr=False)
    started: float | None = None
    beat: Any = None
    beats: int = 0
    cancelled: Any = attrs.field(default=None, repr=False)
    abandoned: bool = False
    token_read: bool = False
    context: Context | None = attrs.field(default=None, repr=False)


class Returned(msgspec.Struct, frozen=True, eq=False):
    """The result of a call: `data` (encoded) and `value` (decoded from it again), or `error`."""

    call: Call
    value: Any = None
    data: bytes = b""
    error: BaseException | None = None
    seconds: float = 0.0
    final: bool = False  # no retry can help (the result cannot be stored)


class StartSteps(msgspec.Struct, frozen=True):
    """Hand calls to the thread pool."""

    calls: tuple[Call, ...]


class CancelSteps(msgspec.Struct, frozen=True):
    """Set `current_step().cancelled` for running bodies; with `abandon` their outcomes are refused from now on."""

    calls: tuple[Call, ...]
    abandon: bool


class Publish(msgspec.Struct, frozen=True):
    """Publish an emitted event on the bus, best effort."""

    event: str
    payload: bytes


class Warn(msgspec.Struct, frozen=True):
    """Log a warning about this execution."""

    text: str


class Wait(msgspec.Struct, frozen=True):
    """Sleep until `until`, a call's return, a message, a drain, or the loss of the lease."""

    until: float | None


class WakeUp(msgspec.Struct, frozen=True):
    """Reply of `Wait`.

    Attributes:
        now: The store's time.
        returned: Calls that returned.
        news: The inbox may hold unseen messages.
        drain: The worker is stopping: start no further step, give the lease back.
        report: The lease was just renewed, so a report of the progress costs little.
    """

    now: float
    returned: tuple[Returned, ...] = ()
    news: bool = False
    drain: bool = False
    report: bool = False


Effect: TypeAlias = Request[Any] | StartSteps | CancelSteps | Publish | Warn | Wait
