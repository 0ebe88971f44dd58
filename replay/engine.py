"""The engine: the client of an application, with an embedded worker if wanted."""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs

from replay.client.waiting import LOCAL_POLL_INTERVAL
from replay.clock import SystemClock
from replay.codec import TaggedJson
from replay.core import requests as r
from replay.core.errors import ConfigError, StoreUnavailable
from replay.core.ids import check_id
from replay.core.settings import PAYLOAD_LIMIT
from replay.core.times import duration
from replay.deferred import connect
from replay.definition import Workflow, register
from replay.observability.telemetry import instrument_if_configured
from replay.ports import Bus, Clock, Codec, Queue, Store
from replay.scheduling.client import SchedulingClient
from replay.scheduling.ticks import tick
from replay.urls import open_parts
from replay.version import installed_version
from replay.worker import Worker
from replay.worker.options import WorkerOptions
from replay.worker.runner import Runner

if TYPE_CHECKING:
    from replay.client.operator import Operator


class Engine(SchedulingClient):
    """Starts, signals, waits for and inspects executions; with `worker=True` (or `start_worker()`) also runs them.

    Args:
        store: URL (`sqlite:///orders.db`, `memory://`, `redis://...`) or a `Store`.
        queue: URL or `Queue` that carries hints to workers; None: hints go over the bus.
        bus: URL or `Bus`; None: the store's own bus if it has one, else a bus within this process.
        workflows: The workflows of this process. Needed to run them, to start them by key, and to check signals.
        namespace: Separates applications that share a store.
        codec: Values to text and back; None: tagged JSON that trusts the workflows' own packages.
        worker: Run executions in this process.
        queues: Execution queues of the worker. A mapping gives each its own limit of executions at once (None: only
            `concurrency` limits it).
        name: The worker's name; default: host, process and a random suffix.
        lease: Duration of a lease, seconds (or `timedelta`, like all durations here). A crashed worker's leases expire.
        concurrency: Most executions (and pool threads) at once.
        cache_size: Most sleeping executions whose generators stay in memory.
        payload_limit: Largest encoded value, bytes.
        log_limit: Most entries of a log.
        retention: Seconds (or `timedelta`) for which ended executions are kept; None keeps them.
        retention_count: Most ended executions that workers keep; the oldest are purged first. None keeps them.
        argument_policy: Treatment of a replayed step with other arguments: `"warn"`, `"error"` or `"off"`.
        poll_interval: Longest seconds between claims without a hint.
        shutdown_timeout: Seconds that `close` waits for running steps.
        cancel_grace: Seconds that running steps have to end when their execution is cancelled.
        clock: The clock of this process (memory and SQLite stores use it, too).
        entropy: Random source of new ids (seeded by the simulator).
    """

    def __init__(
        self,
        store: str | Store,
        *,
        queue: str | Queue | None = None,
        bus: str | Bus | None = None,
        workflows: Iterable[Workflow[Any, Any]] = (),
        namespace: str = "default",
        codec: Codec | None = None,
        worker: bool = False,
        queues: str | Iterable[str] | Mapping[str, int | None] = ("default",),
        name: str | None = None,
        lease: Any = 30.0,
        concurrency: int = 16,
        cache_size: int = 1000,
        payload_limit: int = PAYLOAD_LIMIT,
        log_limit: int = 100_000,
        retention: Any = None,
        retention_count: int | None = None,
        argument_policy: str = "warn",
        poll_interval: Any = None,
        shutdown_timeout: Any = 30.0,
        cancel_grace: Any = 5.0,
        clock: Clock | None = None,
        entropy: random.Random | None = None,
    ) -> None:
        options = WorkerOptions(
            name=name or default_name(),
            queues=(queues,) if isinstance(queues, str) else tuple(queues),
            queue_limits=_limits(queues),
            concurrency=concurrency,
            cache_size=cache_size,
            lease=duration(lease, "lease"),
            poll_interval=1.0 if poll_interval is None else duration(poll_interval, "poll_interval"),
            payload_limit=payload_limit,
            log_limit=log_limit,
            argument_policy=argument_policy,
            retention_count=retention_count,
            cancel_grace=duration(cancel_grace, "cancel_grace"),
        )
        shutdown_limit = duration(shutdown_timeout, "shutdown_timeout")
        codec = codec or TaggedJson()
        known = register(workflows, codec)
        opened = open_parts(store, bus, queue, namespace=check_id(namespace, "namespace"), clock=clock)
        super().__init__(
            opened.store,
            opened.bus,
            opened.queue,
            bus_is_shared=opened.bus_is_shared,
            workflows=known,
            namespace=namespace,
            codec=codec,
            payload_limit=payload_limit,
            retention=None if retention is None else duration(retention, "retention"),
            entropy=entropy or random.SystemRandom(),
            opened=opened.stack,
        )
        self._clock = clock or SystemClock()
        self._shutdown_timeout = shutdown_limit
        polls_often = poll_interval is None and not opened.bus_is_shared
        self._options = attrs.evolve(options, poll_interval=LOCAL_POLL_INTERVAL) if polls_often else options
        self._runner: Runner | None = None
        self._unsubscribe: list[Callable[[], None]] = []
        self._closed = False
        if worker:
            self.start_worker()

    # --- the embedded worker ----------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        """Run executions in this process, in threads of its own. Safe to call twice.

        Raises:
            ConfigError: No workflows were given.
            StoreUnavailable: The engine is closed, or the store cannot be reached.
        """
        self._check_open()
        if self._runner is not None:
            return
        if not self._workflows:
            raise ConfigError("a worker needs workflows. Fix: Engine(..., workflows=[...])")
        connect(self.store)
        instrument_if_configured(self)
        runner = self._runner = Runner(self.make_worker(), codec=self.codec, clock=self._clock)
        subscribe = self._bus.subscribe
        self._unsubscribe.append(subscribe("news", lambda message: runner.new_messages(message.decode())))
        for queue in self._options.queues:
            self._unsubscribe.append(subscribe(f"ready:{queue}", lambda _: runner.hint()))
        if self._queue is not None:
            self._queue.consume(self._options.queues, self._on_hint, prefetch=self._options.concurrency)
        runner.start()

    def _on_hint(self, queue: str) -> None:
        """Take a hint from the queue. A full worker forwards it to workers with free slots."""
        if self._runner is not None:
            if self._runner.worker.full:
                self._bus.publish(f"ready:{queue}", b"")
            self._runner.hint()

    def make_worker(
        self,
        *,
        store: Store | None = None,
        clock: Clock | None = None,
        entropy: random.Random | None = None,
        **options: Any,
    ) -> Worker:
        """Return a worker over this engine's store, without threads. The runner or the simulator calls its turns."""
        return Worker(
            store or self.store,
            self._workflows.values(),
            attrs.evolve(self._options, **options),
            codec=self.codec,
            clock=clock or self._clock,
            publish=self._bus.publish,
            announce=self.announce,
            tick=lambda schedule, now: tick(self, schedule, now),
            entropy=entropy,
            info={"pid": os.getpid(), "host": socket.gethostname(), "version": installed_version()},
            observers=self._observers,
        )

    def adjust_worker(
        self, *, shutdown_timeout: float | None = None, retention: float | None = None, **changes: Any
    ) -> None:
        """Change options before the worker is started: those of `WorkerOptions`, and some of the engine's."""
        if "queues" in changes:
            changes |= {"queues": tuple(changes["queues"]), "queue_limits": _limits(changes["queues"])}
        self._options = attrs.evolve(self._options, **changes)
        if shutdown_timeout is not None:
            self._shutdown_timeout = shutdown_timeout
        if retention is not None:
            self._retention = retention

    @property
    def shutdown_timeout(self) -> float:
        """Seconds that `close` waits for running steps."""
        return self._shutdown_timeout

    @property
    def connected(self) -> dict[str, bool]:
        """Whether `queue` and `bus` deliver now, for each that can tell."""
        parts = {"queue": self._queue, "bus": self._bus}
        return {name: part.connected for name, part in parts.items() if hasattr(part, "connected")}  # type: ignore[union-attr]

    @property
    def runner(self) -> Runner | None:
        """The threads of the embedded worker; None if it was not started."""
        return self._runner

    def close(self, timeout: float | None = None) -> None:
        """Drain the worker (up to *timeout* seconds, default `shutdown_timeout`) and release what was opened."""
        if self._closed:
            return
        self._closed = True
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        if self._runner is not None:
            self._runner.stop(self._shutdown_timeout if timeout is None else timeout)
        super().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the rest ------------------------------------------------------------------------------------------

    @property
    def operator(self) -> Operator:
        """Manual actions on executions: retry, skip, edit, fork, ... See `Operator`."""
        from replay.client.operator import Operator

        return Operator(self)

    def _runs_executions(self) -> bool:
        return self._runner is not None

    def _receives_events(self) -> bool:
        return super()._receives_events() or self._runner is not None

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(
                "this engine is closed. Fix: go on with one that is open; what was started is stored"
            )

    def check_alive(self) -> None:
        """Check that waiting makes sense. Raises `StoreUnavailable` if closed, `RuntimeError` if the worker has failed."""
        self._check_open()
        if self._runner is not None and self._runner.failure is not None:
            raise RuntimeError("the embedded worker stopped") from self._runner.failure

    def ping(self) -> float:
        """Return the store's time, seconds since the epoch: it answers.

        Raises:
            StoreUnavailable: It does not. An engine without a worker connects at its first request, such as this one.
        """
        return self.ask(r.Ping())

    def recover(self) -> None:
        """Make the embedded worker claim now. Seldom needed: every claim takes over what crashed workers left."""
        if self._runner is not None:
            self._runner.hint()


def default_name() -> str:
    """Return a worker's default name: unique among processes and engines."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


def _limits(queues: Iterable[str] | Mapping[str, int | None]) -> dict[str, int]:
    if not isinstance(queues, Mapping):
        return {}
    found = {name: limit for name, limit in queues.items() if limit is not None}
    for name, limit in found.items():
        if type(limit) is not int or limit < 1:
            raise ConfigError(f"queues: the limit of {name!r} is a whole number of at least 1, not {limit!r}")
    return found
