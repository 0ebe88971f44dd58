"""The engine: what applications call to start, signal, wait for and inspect executions, with a worker inside if wanted."""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import attrs

from replay import requests as r
from replay import urls
from replay.backends.memory import MemoryBus, SystemClock
from replay.codec import TaggedJson
from replay.core.commands import duration, instant
from replay.core.errors import (
    ConfigError,
    ExecutionCancelled,
    ExecutionFailed,
    PayloadTooLarge,
    StoreUnavailable,
    UnknownExecution,
    UnknownWorkflow,
)
from replay.core.ids import check_id, keyed_id
from replay.definition import Event, Signal, Workflow, check_priority, signal_id
from replay.ports import Bus, Clock, Codec, Queue, Store
from replay.records import Detail, Execution, Page, Status, Tree, audit_of, execution_of, steps_of
from replay.runner import Runner
from replay.schedules import CatchUp, Overlap, ScheduleRecord, Schedules, tick
from replay.worker import Options, Worker

if TYPE_CHECKING:
    from replay.describe import Description
    from replay.operator import Operator

log = logging.getLogger("replay.engine")
T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")

WAIT_POLL = 0.5
"""Longest pause between looks of a waiting caller, seconds; a lost wake-up costs no more than this."""


@attrs.frozen
class Waited(Generic[T]):
    """What `start_and_wait` gives: the execution's id, and its result as `data`."""

    execution_id: str
    data: T


@attrs.frozen
class WorkflowInfo:
    """A registered workflow, as `engine.workflows()` lists it."""

    key: str
    version: str
    category: str | None
    signals: tuple[str, ...] | None
    queue: str
    metadata: dict[str, Any]
    doc: str | None


class Handle(Generic[T]):
    """An execution, as whoever started it holds it."""

    def __init__(self, engine: Engine, id: str) -> None:
        self._engine = engine
        self.id = id

    def result(self, timeout: Any = None) -> T:
        """Wait for the result. See `Engine.wait`."""
        return cast("T", self._engine.wait(self.id, timeout))

    def status(self) -> Status:
        """Return the status now."""
        return self._engine.get_execution(self.id).status

    def signal(self, signal: Signal[Any] | str, payload: Any = None, *, dedupe_id: str | None = None) -> None:
        """Send a signal. See `Engine.signal`."""
        self._engine.signal(self.id, signal, payload, dedupe_id=dedupe_id)

    def cancel(self, reason: str | None = None) -> None:
        """Ask it to stop. See `Engine.cancel`."""
        self._engine.cancel(self.id, reason)

    def __repr__(self) -> str:
        return f"<execution {self.id!r}>"


class Engine:
    """Start, signal, wait for and inspect executions; with `worker=True` (or `start_worker()`) also run them.

    Args:
        store: URL (`sqlite:///orders.db`, `memory://`, `redis://...`) or a `Store`.
        queue: URL or `Queue` that carries hints to workers; None: the store's own means.
        bus: URL or `Bus`; None: the store's own if it has one, else within this process.
        workflows: What this process knows. Needed to run them, to start them by key, and to check signals.
        namespace: Keeps applications apart that share a store.
        codec: Values to text and back; None: tagged JSON that trusts the workflows' own packages.
        worker: Run executions in this process.
        queues: Which execution queues the worker takes.
        name: The worker's name.
        lease: Seconds for which an execution stays with a worker that has fallen silent.
        concurrency: Executions (and pool threads) at once.
        cache_size: Sleeping executions whose live generators are kept in memory.
        payload_limit: Bytes an encoded value may take.
        log_limit: Entries a log may have.
        retention: Seconds (or `timedelta`) for which ended executions are kept; None keeps them.
        argument_policy: What a replayed step's changed arguments are: `"warn"`, `"error"` or `"off"`.
        poll_interval: Longest seconds between looks into the store when no hint comes.
        shutdown_timeout: Seconds that `close` waits for running steps.
        clock: Where this process reads the time (memory and SQLite stores use it too).
        entropy: Where new ids come from (the simulator seeds it).
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
        queues: Iterable[str] = ("default",),
        name: str | None = None,
        lease: float = 30.0,
        concurrency: int = 16,
        cache_size: int = 1000,
        payload_limit: int = 1_048_576,
        log_limit: int = 100_000,
        retention: Any = None,
        argument_policy: str = "warn",
        poll_interval: float | None = None,
        shutdown_timeout: float = 30.0,
        cancel_grace: float = 5.0,
        clock: Clock | None = None,
        entropy: random.Random | None = None,
    ) -> None:
        self._entropy = entropy or random.SystemRandom()
        if argument_policy not in ("warn", "error", "off"):
            raise ConfigError(f"argument_policy is 'warn', 'error' or 'off', not {argument_policy!r}")
        if concurrency < 1 or not lease > 0:
            raise ConfigError(f"concurrency must be at least 1 and lease above 0, not {concurrency!r} and {lease!r}")
        self.namespace = check_id(namespace, "namespace")
        self.codec: Codec = codec or TaggedJson()
        self._clock = clock or SystemClock()
        self._workflows = register(workflows, self.codec)
        self._owned: list[Any] = []
        self.store = self._open_store(store, clock)
        self._bus = self._open_bus(bus, store)
        self._queue = self._open(urls.open_queue, queue)
        self._payload_limit = payload_limit
        self._retention = None if retention is None else duration(retention, "retention")
        self._shutdown_timeout = shutdown_timeout
        self._options = Options(
            name=name or default_name(),
            queues=tuple(queues),
            concurrency=concurrency,
            cache_size=cache_size,
            lease=lease,
            poll_interval=poll_interval or (1.0 if self._bus_is_shared else 0.1),
            payload_limit=payload_limit,
            log_limit=log_limit,
            argument_policy=argument_policy,
            cancel_grace=cancel_grace,
        )
        self._runner: Runner | None = None
        self._unsubscribe: list[Callable[[], None]] = []
        self._closed = False
        if worker:
            self.start_worker()

    # --- opening -----------------------------------------------------------------------------------

    def _open_store(self, store: str | Store, clock: Clock | None) -> Store:
        if not isinstance(store, str):
            return store
        opened = urls.open_store(store, namespace=self.namespace, **({"clock": clock} if clock is not None else {}))
        self._owned.append(opened)
        return opened

    def _open(self, opener: Callable[..., T], given: str | T | None) -> T | None:
        if not isinstance(given, str):
            return given
        opened = opener(given, namespace=self.namespace)
        self._owned.append(opened)
        return opened

    def _open_bus(self, bus: str | Bus | None, store: str | Store) -> Bus:
        self._bus_is_shared = True
        if bus is None and isinstance(store, str) and urls.has_bus(store):
            bus = store
        if bus is not None:
            return cast("Bus", self._open(urls.open_bus, bus))
        # No bus given: engines of this process that share a store share a bus; others are found by polling.
        self._bus_is_shared = False
        own = getattr(self.store, "_replay_bus", None)
        if own is None:
            own = MemoryBus()
            try:
                self.store._replay_bus = own  # type: ignore[attr-defined]
            except AttributeError:
                pass
        return cast("Bus", own)

    # --- life ----------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        """Run executions in this process, in threads of its own. Safe to call twice.

        Raises:
            ConfigError: No workflows were given.
        """
        if self._runner is not None:
            return
        if not self._workflows:
            raise ConfigError("a worker needs workflows. Fix: Engine(..., workflows=[...])")
        runner = self._runner = Runner(self.make_worker(), codec=self.codec, clock=self._clock)
        subscribe = self._bus.subscribe
        self._unsubscribe.append(subscribe("news", lambda message: runner.news(message.decode())))
        for queue in self._options.queues:
            self._unsubscribe.append(subscribe(f"ready:{queue}", lambda _: runner.hint()))
        if self._queue is not None:
            self._queue.consume(self._options.queues, lambda _: runner.hint(), prefetch=self._options.concurrency)
        runner.start()

    def make_worker(
        self,
        *,
        store: Store | None = None,
        clock: Clock | None = None,
        entropy: random.Random | None = None,
        **options: Any,
    ) -> Worker:
        """Return a worker over this engine's store, without threads (the runner and the simulator turn it)."""
        return Worker(
            store or self.store,
            self._workflows.values(),
            attrs.evolve(self._options, **options),
            codec=self.codec,
            clock=clock or self._clock,
            publish=self._bus.publish,
            announce=self._announce,
            tick=lambda schedule, now: tick(self, schedule, now),
            entropy=entropy,
            info={"pid": os.getpid(), "host": socket.gethostname()},
        )

    def limit_executions(self, most: int | None) -> None:
        """Have the worker that is started next take at most *most* executions."""
        self._options = attrs.evolve(self._options, max_executions=most)

    @property
    def shutdown_timeout(self) -> float:
        """Seconds that `close` waits for running steps."""
        return self._shutdown_timeout

    @property
    def runner(self) -> Runner | None:
        """The embedded worker's threads, if it runs."""
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
        for owned in reversed(self._owned):
            owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- asking the store --------------------------------------------------------------------------------

    def ask(self, request: r.Request[T]) -> T:
        """Put one request to the store and return its reply, raising its refusal.

        Raises:
            StoreUnavailable: The store cannot be reached.
        """
        (reply,) = self.store.apply([request])
        if isinstance(reply, Exception):
            raise reply
        for queue in getattr(reply, "woken", ()):
            self._announce(queue)
        return cast("T", reply)

    def _new_id(self) -> str:
        return f"{self._entropy.getrandbits(96):024x}"

    def _announce(self, queue: str) -> None:
        if self._queue is not None:
            self._queue.publish(queue)
        self._bus.publish(f"ready:{queue}", b"")

    def _encode(self, value: Any, what: str) -> bytes:
        data = self.codec.encode(value)
        if len(data) > self._payload_limit:
            raise PayloadTooLarge(
                f"{what} takes {len(data):,} bytes, over the limit of {self._payload_limit:,}. "
                f"Fix: store it elsewhere and pass a reference, or raise payload_limit"
            )
        return data

    # --- starting -----------------------------------------------------------------------------------------

    def workflow(self, workflow: Workflow[In, Out] | str) -> Workflow[In, Out]:
        """Return a workflow given as such or by its key.

        Raises:
            UnknownWorkflow: The key is not registered here.
        """
        if isinstance(workflow, Workflow):
            self.codec.trust(*packages([workflow]))
            return workflow
        if not isinstance(workflow, str):
            raise TypeError(f"pass a workflow (decorated with @workflow) or its key, not {workflow!r}")
        versions = [w for (key, _), w in self._workflows.items() if key == workflow]
        if not versions:
            known = ", ".join(sorted({key for key, _ in self._workflows})) or "none"
            raise UnknownWorkflow(
                f"no workflow {workflow!r} is registered here (known: {known}). Fix: Engine(workflows=[...])"
            )
        return versions[-1]

    def start(
        self,
        workflow: Workflow[In, Out] | str,
        input: In | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: Any = None,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int | None = None,
    ) -> Handle[Out]:
        """Start an execution; durable when this returns.

        Args:
            workflow: The workflow or its key.
            input: Its input.
            idempotency_key: Starting again with the same key gives the same execution.
            timeout: Seconds (or `timedelta`) within which it must end; default: the workflow's.
            id: The execution's id (default: random); starting again with the same id gives the same execution.
            metadata: Searchable values.
            priority: 0 to 9; default: the workflow's.

        Raises:
            NotSerializable, PayloadTooLarge: The input cannot be stored.
            UnknownWorkflow: The key is not registered here.
            StoreUnavailable: The store cannot be reached; with a key or id it is safe to start again.
        """
        create = self.make_create(
            workflow,
            input,
            idempotency_key=idempotency_key,
            timeout=timeout,
            id=id,
            metadata=metadata,
            priority=priority,
        )
        return self._start(create)

    def _start(self, create: r.Create) -> Handle[Any]:
        created = self.ask(create)
        if created.fresh:
            self._announce(create.queue)
        elif created.header.workflow != create.workflow:
            raise ValueError(
                f"execution id {create.id!r} belongs to workflow {created.header.workflow!r}, not {create.workflow!r}"
            )
        elif created.header.input != create.input:
            log.warning(
                "execution %r was started before with another input; it keeps that one",
                create.id,
                extra={"execution_id": create.id},
            )
        return Handle(self, create.id)

    def make_create(
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any = None,
        *,
        idempotency_key: str | None = None,
        timeout: Any = None,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int | None = None,
        at: float | None = None,
    ) -> r.Create:
        """Return the request that `start` sends."""
        definition: Workflow[Any, Any] = self.workflow(workflow)
        if id is not None and idempotency_key is not None:
            raise ValueError("pass id or idempotency_key, not both: the key becomes part of the id")
        if not definition.takes_input and input is not None:
            raise TypeError(f"workflow {definition.key!r} takes no input, but got {str(input)[:80]!r}")
        if id is not None:
            id = check_id(id, "execution id")
        elif idempotency_key is not None:
            id = keyed_id(definition.key, idempotency_key)
        else:
            id = self._new_id()
        limit = definition.timeout if timeout is None else duration(timeout, "timeout")
        keep = definition.retention if definition.retention is not None else self._retention
        return r.Create(
            id,
            definition.key,
            self._encode(input, f"the input of {definition.key!r}"),
            definition.version,
            definition.queue,
            at,
            limit,
            metadata=json.dumps({**definition.metadata, **(metadata or {})}).encode(),
            priority=definition.priority if priority is None else check_priority(priority),
            retention=keep,
        )

    def start_and_wait(
        self,
        workflow: Workflow[In, Out] | str,
        input: In | None = None,
        *,
        timeout: Any = None,
        wait_timeout: Any = None,
        **options: Any,
    ) -> Waited[Out]:
        """Start an execution and wait up to *wait_timeout* for its result; *timeout* and *options* as in `start`.

        Raises:
            TimeoutError: It did not end within *wait_timeout*; it goes on.
            ExecutionFailed, ExecutionCancelled: It ended without a result.
        """
        handle = self.start(workflow, input, timeout=timeout, **options)
        return Waited(handle.id, handle.result(wait_timeout))

    def schedule(
        self,
        workflow: Workflow[In, Out] | str,
        input: In | None = None,
        *,
        at: Any = None,
        delay: Any = None,
        **options: Any,
    ) -> Handle[Out]:
        """Start an execution at an instant (*at*) or after a duration (*delay*); the handle's id is the execution's.

        Raises:
            ValueError: Not exactly one of *at* and *delay* was given.
        """
        if (at is None) == (delay is None):
            raise ValueError(
                "pass exactly one of at= (aware datetime or epoch seconds) and delay= (seconds or timedelta)"
            )
        now = self.ask(r.Ping())
        when = instant(at, "schedule(at=)") if at is not None else now + duration(delay, "schedule(delay=)")
        return self._start(self.make_create(workflow, input, at=when, **options))

    # --- schedules ----------------------------------------------------------------------------------------

    def ensure_schedule(
        self,
        workflow: Workflow[In, Any] | str,
        input: In | None = None,
        *,
        id: str,
        cron: str | None = None,
        interval: Any = None,
        timezone: str = "UTC",
        overlap: Overlap = "allow",
        catch_up: CatchUp = "one",
        catch_up_window: Any = None,
        jitter: Any = None,
        until: Any = None,
        timeout: Any = None,
    ) -> ScheduleRecord:
        """Have a workflow started again and again. Safe on every boot: with unchanged arguments nothing changes.

        Args:
            id: The schedule's id; a tick's execution has this id, `~` and the planned instant as its id.
            cron: Five or six fields (seconds last), names, or a macro such as `@daily`.
            interval: Seconds (or `timedelta`); ticks stay on the grid that the first call began.
            timezone: IANA name; what the cron expression is read in.
            overlap: What a tick does while the last execution still runs.
            catch_up: Which ticks are made up for after a time without workers: none, the newest, or all.
            catch_up_window: Older ticks than this are given up; default: a day.
            jitter: Each tick is late by up to this, the same on every worker.
            until: No tick after this instant.
            timeout: Within which each execution must end.

        Raises:
            ScheduleError: An argument is invalid, or the id belongs to another workflow.
        """
        options = {
            "cron": cron, "interval": interval, "timezone": timezone, "overlap": overlap, "catch_up": catch_up,
            "catch_up_window": catch_up_window, "jitter": jitter, "until": until, "timeout": timeout,
        }  # fmt: skip
        return Schedules(self).ensure(workflow, input, id, **options)

    def get_schedule(self, id: str) -> ScheduleRecord:
        """Return a schedule. Raises `UnknownSchedule`, like the following."""
        return Schedules(self).get(id)

    def list_schedules(self) -> tuple[ScheduleRecord, ...]:
        """Return all schedules, in order of id."""
        return Schedules(self).list()

    def pause_schedule(self, id: str) -> ScheduleRecord:
        """Start nothing until `resume_schedule`."""
        return Schedules(self).pause(id, paused=True)

    def resume_schedule(self, id: str) -> ScheduleRecord:
        """Go on from now; ticks that fell into the pause are not made up for."""
        return Schedules(self).pause(id, paused=False)

    def update_schedule(self, id: str, **options: Any) -> ScheduleRecord:
        """Change some of the options of `ensure_schedule` (or the `input`)."""
        return Schedules(self).update(id, **options)

    def remove_schedule(self, id: str) -> None:
        """Remove a schedule; executions that it started go on."""
        Schedules(self).remove(id)

    def trigger_schedule(self, id: str) -> Handle[Any]:
        """Start an execution now, beside the regular ticks."""
        return Schedules(self).trigger(id)

    # --- waiting --------------------------------------------------------------------------------------------

    def wait(self, execution: str | Handle[T], timeout: Any = None) -> Any:
        """Wait until an execution ends and return its result; a message wakes the wait, polling is its safety net.

        Raises:
            TimeoutError: It did not end within *timeout* (seconds or `timedelta`); it goes on.
            ExecutionFailed, ExecutionCancelled: It ended without a result.
            UnknownExecution: There is no such execution.
        """
        id = id_of(execution)
        limit = None if timeout is None else duration(timeout, "wait(timeout=)")
        header = self._wait(id, limit)
        if header is None:
            raise TimeoutError(f"execution {id!r} did not end within {limit:g} s; it goes on. Wait again, or cancel it")
        return self._result(header)

    def _wait(self, id: str, limit: float | None) -> r.Header | None:
        deadline = None if limit is None else time.monotonic() + limit
        header = self._header(id)
        if header.ended_at is not None:
            return header
        woken = threading.Event()
        unsubscribe = self._bus.subscribe(f"ended:{id}", lambda _: woken.set())
        try:
            pause = WAIT_POLL if self._bus_is_shared or self._runner is not None else 0.02
            while True:
                try:
                    header = self._header(id)
                except StoreUnavailable:
                    log.debug("waiting for %r: the store cannot be reached, trying again", id)
                if header.ended_at is not None:
                    return header
                if self._runner is not None and self._runner.failure is not None:
                    raise RuntimeError("the embedded worker stopped") from self._runner.failure
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                woken.wait(pause if left is None else min(pause, left))
                woken.clear()
                pause = min(WAIT_POLL, pause * 1.5)
        finally:
            unsubscribe()

    def _result(self, header: r.Header) -> Any:
        if header.status == "completed":
            return self.codec.decode(header.result or b"null")
        error = self.codec.decode(header.error or b"null")
        if header.status == "cancelled":
            raise ExecutionCancelled(header.id, None if error is None else str(error))
        cause = error if isinstance(error, BaseException) else None
        raise ExecutionFailed(header.id, cause, status=header.status)

    def _header(self, id: str) -> r.Header:
        header = self.ask(r.Get(id))
        if header is None:
            raise UnknownExecution(
                f"no execution {id!r} in namespace {self.namespace!r}. Fix: check the id, the store and the namespace"
            )
        return header

    # --- talking to executions ---------------------------------------------------------------------------------

    def signal(
        self,
        execution: str | Handle[Any],
        signal: Signal[T] | str,
        payload: T | None = None,
        *,
        dedupe_id: str | None = None,
    ) -> None:
        """Send a signal; when this returns it is stored, and will be received exactly once, in order.

        Args:
            dedupe_id: Sending again with the same one changes nothing (webhook retries).

        Raises:
            SignalRefused: The workflow does not take it, or the payload is of another type.
            UnknownExecution, ExecutionEnded: Nobody can receive it.
        """
        id, name = id_of(execution), signal_id(signal)
        if isinstance(signal, Signal):
            signal.check(payload)
        data = self._encode(payload, f"the payload of signal {name!r}")
        if any(w.signals is not None for w in self._workflows.values()):
            header = self._header(id)
            known = self._workflows.get((header.workflow, header.version))
            if known is not None:
                known.check_signal(name, payload)
        self.ask(r.Deliver(id, dedupe_id or self._new_id(), "signal", name, data))
        self._bus.publish("news", id.encode())

    def cancel(self, execution: str | Handle[Any], reason: str | None = None) -> None:
        """Ask an execution to stop: `Cancelled` is thrown at its current yield. A second cancel changes nothing.

        Raises:
            UnknownExecution, ExecutionEnded: There is nothing to cancel.
        """
        id = id_of(execution)
        self.ask(r.Deliver(id, "cancel", "cancel", "", self.codec.encode(reason)))
        self._bus.publish("news", id.encode())
        self._bus.publish(f"ended:{id}", b"")

    def on(self, event: Event[T] | str, handler: Callable[[T], None]) -> Callable[[], None]:
        """Call `handler(payload)` for each *event* that an execution emits; returns the unsubscriber. Best effort."""
        name = check_id(event if isinstance(event, str) else event.id, "event")
        return self._bus.subscribe(f"event:{name}", lambda data: handler(self.codec.decode(data)))

    # --- looking -------------------------------------------------------------------------------------------------

    def get_execution(self, execution: str | Handle[Any]) -> Execution:
        """Return an execution as it stands now.

        Raises:
            UnknownExecution: There is no such execution.
        """
        return execution_of(self._header(id_of(execution)), self.codec)

    def find_executions(
        self,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        status: str | Iterable[str] | None = None,
        created_after: Any = None,
        created_before: Any = None,
        updated_after: Any = None,
        updated_before: Any = None,
        parent: str | Handle[Any] | None = None,
        id_prefix: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Execution]:
        """Return a page of executions, newest first, for which all given filters hold; instants are datetimes or seconds."""
        if not 1 <= limit <= 10_000:
            raise ValueError(f"limit is 1 to 10,000, not {limit!r}")
        statuses = () if status is None else (status,) if isinstance(status, str) else tuple(status)
        for each in statuses:
            Status(each)

        def moment(value: Any) -> float | None:
            return None if value is None else instant(value, "find_executions")

        query = r.Find(
            statuses=tuple(str(each) for each in statuses),
            workflow=workflow.key if isinstance(workflow, Workflow) else workflow,
            parent_id=None if parent is None else id_of(parent),
            id_prefix=id_prefix,
            created_after=moment(created_after),
            created_before=moment(created_before),
            updated_after=moment(updated_after),
            updated_before=moment(updated_before),
            metadata=tuple((key, json.dumps(value).encode()) for key, value in (metadata or {}).items()),
            limit=limit,
            cursor=cursor,
        )
        found = self.ask(query)
        return Page(tuple(execution_of(header, self.codec) for header in found.headers), found.cursor)

    def count_executions(self, *, workflow: Workflow[Any, Any] | str | None = None) -> dict[Status, int]:
        """Return how many executions there are in each status."""
        key = workflow.key if isinstance(workflow, Workflow) else workflow
        return {Status(status): count for status, count in sorted(self.ask(r.Count(key)).items())}

    def detail(self, execution: str | Handle[Any]) -> Detail:
        """Return an execution with its steps and its audit trail."""
        header = self._header(id_of(execution))
        audit = audit_of(self.ask(r.Load(header.id)), self.codec)
        return Detail(execution_of(header, self.codec), steps_of(audit), audit)

    def execution_tree(self, execution: str | Handle[Any]) -> Tree:
        """Return an execution with its children, their children, and so on."""
        found = self.get_execution(execution)
        children: list[Execution] = []
        cursor = None
        while True:
            page = self.find_executions(parent=found.id, limit=1000, cursor=cursor)
            children.extend(page.items)
            cursor = page.cursor
            if cursor is None:
                break
        return Tree(found, tuple(self.execution_tree(child.id) for child in reversed(children)))

    def workflows(self) -> tuple[WorkflowInfo, ...]:
        """Return what is registered here, by key."""
        return tuple(
            WorkflowInfo(
                w.key,
                w.version,
                w.category,
                None if w.signals is None else tuple(signal.id for signal in w.signals),
                w.queue,
                dict(w.metadata),
                w.fn.__doc__,
            )
            for _, w in sorted(self._workflows.items())
        )

    def describe(self, workflow: Workflow[Any, Any] | str, input: Any = None) -> Description:
        """Return a workflow's shape (`.nodes`, `.edges`, `.mermaid()`, `.unexplored`); nothing is executed."""
        from replay.describe import describe

        return describe(self.workflow(workflow), input)

    @property
    def operator(self) -> Operator:
        """What a person does to executions: retry, skip, edit, fork, ... See `Operator`."""
        from replay.operator import Operator

        return Operator(self)

    def recover(self) -> None:
        """Have the embedded worker look for work now. Not needed: every claim recovers what crashed workers left."""
        if self._runner is not None:
            self._runner.hint()


def id_of(execution: str | Handle[Any]) -> str:
    """Return the id of an execution given by its handle or id."""
    return execution.id if isinstance(execution, Handle) else check_id(execution, "execution id")


def packages(workflows: Iterable[Workflow[Any, Any]]) -> list[str]:
    """Return the modules whose classes may appear in the values of *workflows*: their top packages."""
    found = {w.fn.__module__ for w in workflows}
    return sorted({name if name == "__main__" else name.partition(".")[0] for name in found})


def register(workflows: Iterable[Workflow[Any, Any]], codec: Codec) -> dict[tuple[str, str], Workflow[Any, Any]]:
    """Return *workflows* by key and version, and have the codec trust their packages.

    Raises:
        TypeError: One is not a workflow.
        ValueError: Two different ones share key and version.
    """
    found: dict[tuple[str, str], Workflow[Any, Any]] = {}
    for each in workflows:
        if not isinstance(each, Workflow):
            raise TypeError(f"workflows=[...] takes functions decorated with @workflow, not {each!r}")
        other = found.setdefault((each.key, each.version), each)
        if other is not each:
            raise ValueError(
                f"two workflows have the key {each.key!r} and version {each.version!r}. Fix: give one another key= or version="
            )
    codec.trust(*packages(found.values()))
    return found


def default_name() -> str:
    """Return a worker's default name: unique among processes and engines."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
