"""Ports of the engine: protocols whose docstrings are contracts (suites in `replay.testing.contracts`)."""

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
        """Release connections and files. Later requests raise `StoreUnavailable`. Safe to call twice.

        A store that has nothing to release may go on answering reads.
        """
        ...


@runtime_checkable
class Queue(Protocol):
    """Hints that work is ready. Losing, doubling or reordering hints costs latency, never correctness."""

    def publish(self, queue: str, hints: int = 1) -> None:
        """Hint that *hints* executions of *queue* became ready. Best effort: never blocks on I/O, never raises.

        Hints in quick succession may be merged, as long as one is sent after the last call.
        """
        ...

    def consume(self, queues: Sequence[str], on_hint: Callable[[str], None], *, prefetch: int = 16) -> None:
        """Call `on_hint(queue)` for each hint, from a thread of the queue's own, until `close`.

        *on_hint* must return at once. The hint is consumed when it returns. At most one consumer per object.
        """
        ...

    @property
    def connected(self) -> bool:
        """Whether hints are delivered now, as far as known. If not, engines wake workers over the bus, too."""
        ...

    def close(self) -> None:
        """Stop consuming, flush published hints (one second at most), release connections. Safe to call twice."""
        ...


@runtime_checkable
class Bus(Protocol):
    """Best-effort broadcast between processes: wake-ups and `emit`ted events. Losing all of it costs only latency."""

    def publish(self, channel: str, message: bytes = b"") -> None:
        """Send *message* to the current subscribers of *channel*. Never blocks on I/O for long, never raises."""
        ...

    def subscribe(self, channel: str, handler: Callable[[bytes], None]) -> Callable[[], None]:
        """Call *handler* with each message on *channel*, from a thread of the bus. Return a function that unsubscribes.

        *handler* must return at once. A handler that raises is logged and stays subscribed.
        The subscription holds when this returns if the bus is reachable, otherwise as soon as it is.
        """
        ...

    def close(self) -> None:
        """Drop all subscriptions and connections. Safe to call twice."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Runs step bodies; workers use `replay.worker.pool.Pool`.

    It is made with three functions. `run(call)` performs a call and returns its outcome. `done(returned)` passes the outcome to
    the worker, on the same thread, and may return another call for this thread. `failed(error)` takes an exception of one of
    them, which ends the worker.
    An executor records nothing: the next worker of the execution starts a lost call again.
    """

    def submit(self, call: Call) -> None:
        """Queue *call*, to run once, roughly in order of submission. `done` is called once with its outcome.

        Never waits for bodies. May be called from any thread, `done` included.

        Raises:
            RuntimeError: The system starts no thread at all. The call is queued, but nothing runs it.
        """
        ...

    def abandon(self, call: Call) -> None:
        """Run one more call in place of *call*, which may never return, until it does. Its outcome is refused.

        At most as many calls are replaced as run at once; beyond, a warning is logged. A call that has returned changes
        nothing. The body runs on; `call.cancelled` asks it to stop.
        """
        ...

    def close(self) -> None:
        """Drop queued calls. Running calls are daemons, and end with the process. Safe to call twice."""
        ...


class Clock(Protocol):
    """The clock of a process."""

    def now(self) -> float:
        """Return the current instant: seconds since the epoch, UTC."""
        ...


class Codec(Protocol):
    """Values to JSON text and back, exactly: `decode(encode(v))` equals *v* in value and type, or `encode` refuses."""

    def encode(self, value: Any) -> bytes:
        """Return *value* as one line of JSON text (UTF-8), so that it can be embedded in a log entry.

        Raises:
            NotSerializable: *value* cannot be restored exactly; the message names the path inside it.
        """
        ...

    def decode(self, data: bytes) -> Any:
        """Return the value of *data* (from `encode`). Never imports, never runs user code.

        Raises:
            Undecodable: *data* is no output of `encode`, or names a class that is not registered here.
        """
        ...

    def decode_rows(self, rows: Sequence[bytes]) -> list[Any]:
        """Return `[decode(row) for row in rows]`, decoded together (the hot path of replay)."""
        ...

    def digest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """Return a stable fingerprint (below 2**32) of a call's arguments, None without arguments or if unencodable.

        The same in every process and with either JSON backend.
        """
        ...

    def trust(self, *modules: str) -> None:
        """Allow the classes of *modules* (as loaded; nothing is imported) to be rebuilt from stored text."""
        ...
