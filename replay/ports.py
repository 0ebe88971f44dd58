"""Ports of the engine to the world: protocols whose docstrings are contracts, tested by `replay.testing.contracts`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from replay.core.effects import Call
from replay.core.requests import Request

R = TypeVar("R")


@runtime_checkable
class Store(Protocol):
    """The truth: executions, logs, inboxes, leases, timers and schedules.

    A store answers *requests* (`replay.core.requests`), each of which is one atomic transition or one consistent read.
    All methods may be called from any thread.
    """

    def apply(self, requests: Sequence[Request[Any]]) -> list[Any]:
        """Perform *requests* in order and return one answer each; everything is durable when this returns.

        Each request is atomic by itself; the batch is not (group commit makes it *durable* as one). An answer is the
        request's reply, or the exception that refused it (an instance, not raised: `Fenced`, `UnknownExecution`,
        `ExecutionEnded`, `ScheduleError`, `OperatorRefused`, ...); a refused request changed nothing. Every request
        is idempotent: repeating it with the same ids gives the same answer and changes nothing more.

        Raises:
            StoreUnavailable: The store cannot be reached; any part of the batch may have been applied. Ask again.
        """
        ...

    def close(self) -> None:
        """Release connections and files; whatever is asked afterwards is `StoreUnavailable`. Safe to call twice."""
        ...


@runtime_checkable
class Queue(Protocol):
    """Hints that work is ready. Losing, doubling or reordering hints costs latency, never correctness."""

    def publish(self, queue: str, hints: int = 1) -> None:
        """Say that *hints* executions of *queue* became ready. Best effort: never blocks on I/O, never raises.

        Hints in quick succession may be folded into fewer, as long as one is sent after the last was said.
        """
        ...

    def consume(self, queues: Sequence[str], on_hint: Callable[[str], None], *, prefetch: int = 16) -> None:
        """Call `on_hint(queue)` for each hint, from a thread of the queue's own, until `close`.

        *on_hint* must return at once; the hint counts as taken when it returns. At most one consumer per object.
        """
        ...

    @property
    def connected(self) -> bool:
        """Whether hints are delivered just now, as far as is known; if not, engines wake workers over the bus, too."""
        ...

    def close(self) -> None:
        """Stop consuming, flush what was published (bounded, one second), release connections. Safe to call twice."""
        ...


@runtime_checkable
class Bus(Protocol):
    """Best-effort broadcast between processes: wake-ups and `emit`ted events. Losing all of it costs only latency."""

    def publish(self, channel: str, message: bytes = b"") -> None:
        """Send *message* to the current subscribers of *channel*. Never blocks on I/O for long, never raises."""
        ...

    def subscribe(self, channel: str, handler: Callable[[bytes], None]) -> Callable[[], None]:
        """Call *handler* with each message on *channel*, from a thread of the bus; returns the unsubscriber.

        *handler* must return at once. A handler that raises is logged and stays subscribed.
        The subscription is in force when this returns, if the bus is reachable; otherwise as soon as it is.
        """
        ...

    def close(self) -> None:
        """Drop all subscriptions and connections. Safe to call twice."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Executor of step bodies. Workers use `replay.worker.pool.Pool`.

    It is made with three functions: `run(call)` performs a call and returns what it came to; `done(returned)` hands that to
    the worker, on the thread that ran the call, and may return another call for this thread to go on with; `failed(error)` is
    told of what one of them raised, which neither should: the worker is at its end.
    An executor records nothing: a call that it loses is launched again by whichever worker holds the execution next.
    """

    def submit(self, call: Call) -> None:
        """Run *call* once as soon as there is room, roughly in order of submission, and call `done` once.

        Returns at once, whatever bodies do. May be called from any thread, `done` included.

        Raises:
            RuntimeError: The system gives no thread at all. The call has been taken, but nothing runs it.
        """
        ...

    def abandon(self, call: Call) -> None:
        """Make room in place of *call*, which may never return, until it does: its outcome is refused, its body runs on.

        Within bounds: beyond as many as run at once, nothing more is made up for (a warning says so). A call that has come
        back meanwhile changes nothing. Stopping the body is not asked for here: that is `call.cancelled`.
        """
        ...

    def close(self) -> None:
        """Drop the calls that wait; those that run go on as daemons, and end with the process. Safe to call twice."""
        ...


class Clock(Protocol):
    """Source of the time of a process."""

    def now(self) -> float:
        """Return the current instant: seconds since the epoch, UTC."""
        ...


class Codec(Protocol):
    """Values to JSON text and back, exactly: `decode(encode(v))` equals *v* in value and type, or `encode` refuses."""

    def encode(self, value: Any) -> bytes:
        """Return *value* as one line of JSON text (UTF-8), so that it can be embedded in a log entry.

        Raises:
            NotSerializable: *value* cannot be restored exactly; names the path inside it.
        """
        ...

    def decode(self, data: bytes) -> Any:
        """Return the value that *data* (from `encode`) stands for. Never imports, never runs user code.

        Raises:
            Undecodable: *data* is not what `encode` writes, or names a class that is not registered here.
        """
        ...

    def decode_rows(self, rows: Sequence[bytes]) -> list[Any]:
        """Return `[decode(row) for row in rows]`, decoding them in one go (the replay's hot path)."""
        ...

    def digest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """Return a stable fingerprint (below 2**32) of a call's arguments, None without arguments or if unencodable.

        The same in every process and with either JSON engine.
        """
        ...

    def trust(self, *modules: str) -> None:
        """Allow the classes of *modules* (as loaded; nothing is imported) to be rebuilt from stored text."""
        ...
