"""What a session asks of its performer besides the store's requests: the boundary between engine and world.

Every effect (and every request) that a session yields is a point at which a crash can be injected.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeAlias

import attrs

from replay.core.requests import Request


@attrs.define(eq=False)
class Call:
    """One attempt of a step, to be run in the thread pool.

    Attributes:
        token: Stable over attempts and crashes: an idempotency key for the outside world.
        beat: What the body last said of how far it got; `beats` counts how often it did.
        started: Instant (store's clock) at which a thread took it up; set by the executor.
        cancelled: Event that asks the body to stop; made by the performer.
        abandoned: Its outcome will be refused; set by the performer.
        context: Context variables of the workflow. The body sees a copy; None: it sees none.
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
    context: Context | None = attrs.field(default=None, repr=False)


@attrs.frozen(eq=False)
class Returned:
    """What a call came to: `data` (the encoded result) and `value` (decoded from it again), or `error`."""

    call: Call
    value: Any = None
    data: bytes = b""
    error: BaseException | None = None
    seconds: float = 0.0
    final: bool = False  # no retry can help (the result cannot be stored)


@attrs.frozen
class StartSteps:
    """Hand calls to the thread pool."""

    calls: tuple[Call, ...]


@attrs.frozen
class CancelSteps:
    """Let running bodies see `current_step().cancelled`; with `abandon` their outcomes are refused from now on."""

    calls: tuple[Call, ...]
    abandon: bool


@attrs.frozen
class Publish:
    """Publish an emitted event on the bus, best effort."""

    event: str
    payload: bytes


@attrs.frozen
class Warn:
    """Log a warning about this execution."""

    text: str


@attrs.frozen
class Wait:
    """Sleep until `until`, a call's return, or news (from the inbox, of a drain, a lost lease)."""

    until: float | None


@attrs.frozen
class WakeUp:
    """Reply of `Wait`.

    Attributes:
        now: The store's time.
        returned: Calls that came back.
        news: The inbox may hold messages that were not seen.
        drain: The worker is stopping: launch nothing more, give the lease back.
        report: The lease was just renewed: a good moment to say where the execution is.
    """

    now: float
    returned: tuple[Returned, ...] = ()
    news: bool = False
    drain: bool = False
    report: bool = False


Effect: TypeAlias = Request[Any] | StartSteps | CancelSteps | Publish | Warn | Wait
