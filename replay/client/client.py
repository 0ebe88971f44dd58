"""The client: starts, signals and waits for executions, and inspects them. It never executes workflow code."""

from __future__ import annotations

import functools
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar, cast

from replay.client.handles import Handle, StartResult, WorkflowInfo, id_of
from replay.client.inspection import Inspection
from replay.codec import TaggedJson
from replay.codec.log_rows import decoded
from replay.core import requests as r
from replay.core.entries import Fact
from replay.core.errors import (
    ExecutionCancelled,
    ExecutionFailed,
    PayloadTooLarge,
    StoreUnavailable,
    Undecodable,
    UnknownWorkflow,
)
from replay.core.ids import check_id, check_key, defined_id, keyed_id
from replay.core.settings import PAYLOAD_LIMIT
from replay.core.times import duration, instant
from replay.definition import Event, Signal, Workflow, check_metadata, check_priority, signal_id, top_level_packages
from replay.observability.observers import Observer, notify
from replay.ports import Bus, Codec, Queue, Store
from replay.urls import open_parts

if TYPE_CHECKING:
    from replay.describe import Description

log = logging.getLogger("replay.engine")
T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")

WAIT_POLL = 0.5
"""Longest pause between looks of a waiting caller, seconds; a lost wake-up costs no more than this."""


LOCAL_POLL_INTERVAL = 0.1
"""The same where nobody in this process is told of ends (SQLite with workers in other processes)."""


class Client(Inspection):
    """What `Engine` can do without a worker.

    Args:
        store: Where executions are.
        bus: Carries wake-ups.
        queue: Carries hints to workers; None: the bus alone does.
        bus_is_shared: Whether the bus reaches other processes.
        workflows: What this process knows, by key and version.
        namespace: Named in errors.
        codec: Values to text and back.
        payload_limit: Bytes an encoded value may take.
        retention: Seconds for which ended executions are kept; None keeps them.
        entropy: Where new ids come from.
        opened: Closes what was opened for this client.
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        queue: Queue | None,
        *,
        bus_is_shared: bool,
        workflows: dict[tuple[str, str], Workflow[Any, Any]],
        namespace: str,
        codec: Codec,
        payload_limit: int,
        retention: float | None,
        entropy: random.Random,
        opened: ExitStack | None = None,
    ) -> None:
        self.store = store
        self.codec = codec
        self.namespace = namespace
        self._bus = bus
        self._queue = queue
        self._bus_is_shared = bus_is_shared
        self._workflows = workflows
        self._payload_limit = payload_limit
        self._retention = retention
        self._entropy = entropy
        self._observers: list[Observer] = []
        self._opened = opened or ExitStack()

    @classmethod
    def open(cls, url: str, *, namespace: str = "default") -> Client:
        """Open a client of the store at *url*, without workflows.

        Raises:
            ConfigError: The URL is wrong.
            StoreUnavailable: Nothing answers there.
        """
        found = open_parts(url, None, None, namespace=check_id(namespace, "namespace"), clock=None)
        return Client(
            found.store,
            found.bus,
            found.queue,
            bus_is_shared=found.bus_is_shared,
            workflows={},
            namespace=namespace,
            codec=TaggedJson(),
            payload_limit=PAYLOAD_LIMIT,
            retention=None,
            entropy=random.SystemRandom(),
            opened=found.stack,
        )

    def close(self, timeout: float | None = None) -> None:
        """Release what was opened."""
        self._opened.close()

    @property
    def retention(self) -> float | None:
        """Seconds for which ended executions are kept; None keeps them."""
        return self._retention

    def definition(self, key: str, version: str) -> Workflow[Any, Any] | None:
        """Return the workflow registered here under *key* and *version*, if any."""
        return self._workflows.get((key, version))

    @property
    def definitions(self) -> tuple[Workflow[Any, Any], ...]:
        """The workflows registered here, in the order of registration."""
        return tuple(self._workflows.values())

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
            self.announce(queue)
        return cast("T", reply)

    def new_id(self) -> str:
        """Return a random id: 24 hexadecimal digits."""
        return f"{self._entropy.getrandbits(96):024x}"

    def announce(self, queue: str) -> None:
        """Wake a worker of *queue* by a hint; without a broker that takes it, all of them."""
        if self._queue is not None:
            self._queue.publish(queue)
            if self._queue.connected:
                return
        self._bus.publish(f"ready:{queue}", b"")

    def announce_end(self, id: str) -> None:
        """Wake the callers that wait for an execution."""
        self._bus.publish(f"ended:{id}", b"")

    def encode(self, value: Any, what: str) -> bytes:
        """Return *value* as stored bytes.

        Raises:
            NotSerializable, PayloadTooLarge: It cannot be stored; the message names *what*.
        """
        return self._limited(self.codec.encode(value), what)

    def _limited(self, data: bytes, what: str) -> bytes:
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
            self.codec.trust(*top_level_packages([workflow]))
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
            metadata: Searchable values, beside the workflow's own; what JSON can hold.
            priority: 0 to 9; default: the workflow's.

        Raises:
            NotSerializable, PayloadTooLarge: The input or the metadata cannot be stored.
            ValueError, TypeError: *idempotency_key* is empty or no text, or another argument is wrong.
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
            self.announce(create.queue)
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
            id = keyed_id(definition.key, check_key(idempotency_key, "idempotency_key"))
        else:
            id = self.new_id()
        metadata = definition.metadata | check_metadata(metadata, "start")
        limit = definition.timeout if timeout is None else duration(timeout, "timeout")
        keep = definition.retention if definition.retention is not None else self._retention
        return r.Create(
            id,
            definition.key,
            self.encode(input, f"the input of {definition.key!r}"),
            definition.version,
            definition.queue,
            at,
            limit,
            metadata=self._limited(json.dumps(metadata).encode(), f"the metadata of {definition.key!r}"),
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
    ) -> StartResult[Out]:
        """Start an execution and wait up to *wait_timeout* for its result; *timeout* and *options* as in `start`.

        Raises:
            TimeoutError: It did not end within *wait_timeout*; it goes on.
            ExecutionFailed, ExecutionCancelled: It ended without a result.
        """
        handle = self.start(workflow, input, timeout=timeout, **options)
        return StartResult(handle.id, handle.result(wait_timeout))

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

    # --- waiting --------------------------------------------------------------------------------------------

    def wait(self, execution: str | Handle[T], timeout: Any = None) -> Any:
        """Wait until an execution ends and return its result; a message wakes the wait, polling is its safety net.

        Raises:
            TimeoutError: It did not end within *timeout* (seconds or `timedelta`); it goes on.
            ExecutionFailed, ExecutionCancelled: It ended without a result.
            UnknownExecution: There is no such execution.
            StoreUnavailable: The store cannot be reached at first, or this engine was closed meanwhile.
            Undecodable: It completed with a value of a class that is not known in this process.
        """
        id = id_of(execution)
        limit = None if timeout is None else duration(timeout, "wait(timeout=)")
        header = self._wait(id, limit)
        if header is None:
            raise TimeoutError(f"execution {id!r} did not end within {limit:g} s; it goes on. Wait again, or cancel it")
        return self._result(header)

    def _wait(self, id: str, limit: float | None) -> r.Header | None:
        deadline = None if limit is None else time.monotonic() + limit
        header = self.header(id)
        if header.ended_at is not None:
            return header
        woken = threading.Event()
        unsubscribe = self._bus.subscribe(f"ended:{id}", lambda _: woken.set())
        try:
            pause, most = (WAIT_POLL, WAIT_POLL) if self._receives_events() else (0.02, LOCAL_POLL_INTERVAL)
            while True:
                try:
                    header = self.header(id)
                except StoreUnavailable:
                    log.debug("waiting for %r: the store cannot be reached, trying again", id)
                if header.ended_at is not None:
                    return header
                self._check_alive()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                woken.wait(pause if left is None else min(pause, left))
                woken.clear()
                pause = min(most, pause * 1.5)
        finally:
            unsubscribe()

    def _receives_events(self) -> bool:
        """Tell whether this process is told of an end at once, so that polling is only the safety net."""
        return self._bus_is_shared

    def _check_alive(self) -> None:
        """Raise if waiting on is pointless, because the worker in this process has failed."""

    def _result(self, header: r.Header) -> Any:
        if header.status == "completed":
            try:
                return self.codec.decode(header.result or b"null")
            except Undecodable as unknown:
                raise Undecodable(
                    f"execution {header.id!r} completed, but its result cannot be rebuilt in this process: {unknown}. "
                    f"To look at it all the same: get_execution({header.id!r}).result"
                ) from unknown
        error = decoded(self.codec, header.error)
        if header.status == "cancelled":
            raise ExecutionCancelled(header.id, None if error is None else str(error))
        cause = error if isinstance(error, BaseException) else None
        raise ExecutionFailed(header.id, cause, status=header.status)

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
            ValueError, TypeError: *dedupe_id* is empty or no text that can be stored.
            SignalRefused: The workflow does not take it, or the payload is of another type.
            UnknownExecution, ExecutionEnded: Nobody can receive it.
        """
        id, name = id_of(execution), signal_id(signal)
        if dedupe_id is not None:
            _check_dedupe_id(dedupe_id)
        if isinstance(signal, Signal):
            signal.check(payload)
        data = self.encode(payload, f"the payload of signal {name!r}")
        if any(w.signals is not None for w in self._workflows.values()):
            header = self.header(id)
            known = self._workflows.get((header.workflow, header.version))
            if known is not None:
                known.check_signal(name, payload)
        self._deliver(r.Deliver(id, dedupe_id or self.new_id(), "signal", name, data))

    def cancel(self, execution: str | Handle[Any], reason: str | None = None) -> None:
        """Ask an execution to stop: `Cancelled` is thrown at its current yield. A second cancel changes nothing.

        Raises:
            UnknownExecution, ExecutionEnded: There is nothing to cancel.
            NotSerializable, PayloadTooLarge: The reason cannot be stored.
        """
        id = id_of(execution)
        self._deliver(r.Deliver(id, self.new_id(), "cancel", "", self.encode(reason, "the reason")))
        self.announce_end(id)

    def _deliver(self, request: r.Deliver) -> None:
        """Deliver a message; if it made nothing due, a worker may hold the execution, and is told to look."""
        if not self.ask(request).woken:
            self._bus.publish("news", request.id.encode())

    def on(self, event: Event[T] | str, handler: Callable[[T], object]) -> Callable[[], None]:
        """Call `handler(payload)` for each *event* that an execution emits; returns the unsubscriber. Best effort."""
        name = check_id(defined_id(event, "Event", "on"), "event")

        def hand(data: bytes) -> None:
            handler(self.codec.decode(data))

        return self._bus.subscribe(f"event:{name}", hand)

    # --- observers -------------------------------------------------------------------------------

    def on_entry(self, handler: Callable[[str, Fact], object]) -> Callable[[], None]:
        """Call `handler(execution_id, entry)` for each entry that this process's worker or operator commits; returns the remover.

        An audit hook: entries come in the log's order, once, and never during replay (entries that other processes commit are
        told there). It is called on the loop's thread (the operator's: on the caller's) and must be quick; if it raises, that
        is logged and changes nothing.
        """

        @functools.wraps(handler)
        def observer(header: r.Header, entry: Fact) -> object:
            return handler(header.id, entry)

        return self.observe(observer)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """As `on_entry`, with the execution's header instead of its id."""
        self._observers.append(observer)

        def remove() -> None:
            if observer in self._observers:
                self._observers.remove(observer)

        return remove

    def notify_observers(self, header: r.Header, entries: Iterable[Fact]) -> None:
        """Tell this process's observers of committed *entries*."""
        notify(self._observers, header, entries)

    # --- what is registered -----------------------------------------------------------------------------------

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


def _check_dedupe_id(id: str) -> None:
    try:
        check_key(id, "dedupe_id").encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"dedupe_id {id!r} cannot be written as UTF-8 ({error.reason}). Fix: pass proper text"
        ) from None
