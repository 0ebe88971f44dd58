"""The base of the client: requests to the store, values to bytes, wake-ups, definitions."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import Any, TypeVar, cast

from replay.core import requests as r
from replay.core.errors import ConfigError, PayloadTooLarge, UnknownExecution, UnknownWorkflow
from replay.deferred import connect
from replay.definition import Workflow, top_level_packages
from replay.observability.observers import Observer
from replay.ports import Bus, Codec, Queue, Store

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


class ClientBase:
    """The parts that all methods of a client share.

    Args:
        store: The store.
        bus: Carries wake-ups.
        queue: Carries hints to workers; None: the bus carries them.
        bus_is_shared: Whether the bus reaches other processes.
        workflows: The definitions of this process, by key and version.
        namespace: The namespace, for error messages.
        codec: Values to text and back.
        payload_limit: Largest encoded value, bytes.
        retention: Seconds for which ended executions are kept; None keeps them.
        entropy: Random source of new ids.
        opened: Closes the connections that were opened for this client.
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

    def close(self, timeout: float | None = None) -> None:
        """Release what was opened."""
        self._opened.close()

    # --- requests ----------------------------------------------------------------------------------------

    def ask(self, request: r.Request[T]) -> T:
        """Send one request to the store and return its reply; raise its refusal.

        Raises:
            StoreUnavailable: The store cannot be reached.
        """
        (reply,) = self.store.apply([request])
        if isinstance(reply, Exception):
            raise reply
        self.announce_reply(request, reply)
        return cast("T", reply)

    def ask_within(self, connection: Any, request: r.Request[T]) -> T:
        """Send one request on a user's *connection*, in the transaction that it is in; raise its refusal.

        Raises:
            ConfigError: The store cannot do that, or not with this connection.
        """
        apply_within = getattr(connect(self.store), "apply_within", None)
        if apply_within is None:
            raise ConfigError(
                "connection= needs a store in PostgreSQL: only there can an execution commit with rows of yours. "
                "Fix: Engine('postgresql://...'), or keep an outbox (docs/operations.md, Starts in your own transaction)"
            )
        (reply,) = apply_within(connection, [request])
        if isinstance(reply, Exception):
            raise reply
        return cast("T", reply)

    def announce_reply(self, request: r.Request[Any], reply: Any) -> None:
        """Wake the workers and the waiting callers whom a reply of the store concerns. Best effort, never raises."""
        for queue in getattr(reply, "woken", ()):
            self.announce(queue)
        match request:
            case r.Create(queue=queue) if reply.fresh:
                self.announce(queue)
            case r.Deliver(id=id, kind=kind):
                if not reply.woken:  # it may be running
                    self.announce_news(id)
                if kind == "cancel":
                    self.announce_end(id)
            case _:
                pass

    def header(self, id: str) -> r.Header:
        """Return the header of an execution. Raises `UnknownExecution`."""
        header = self.ask(r.Get(id))
        if header is None:
            raise UnknownExecution(
                f"no execution {id!r} in namespace {self.namespace!r}. Fix: check the id, the store and the namespace"
            )
        return header

    def new_id(self) -> str:
        """Return a random id: 24 hexadecimal digits."""
        return f"{self._entropy.getrandbits(96):024x}"

    def announce(self, queue: str) -> None:
        """Wake a worker of *queue* by a hint. Without a connected broker, all of its workers are woken."""
        if self._queue is not None:
            self._queue.publish(queue)
            if self._queue.connected:
                return
        self._bus.publish(f"ready:{queue}", b"")

    def announce_news(self, id: str) -> None:
        """Make the worker that runs an execution look at its inbox."""
        self._bus.publish("news", id.encode())

    def announce_end(self, id: str) -> None:
        """Wake the callers that wait for an execution."""
        self._bus.publish(f"ended:{id}", b"")

    def encode(self, value: Any, what: str) -> bytes:
        """Return *value* as stored bytes.

        Raises:
            NotSerializable, PayloadTooLarge: *value* cannot be stored; the message names *what*.
        """
        return self._limited(self.codec.encode(value), what)

    def _limited(self, data: bytes, what: str) -> bytes:
        if len(data) > self._payload_limit:
            raise PayloadTooLarge(
                f"{what} takes {len(data):,} bytes, over the limit of {self._payload_limit:,}. "
                f"Fix: store it elsewhere and pass a reference, or raise payload_limit"
            )
        return data

    # --- definitions ---------------------------------------------------------------------------------------

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
