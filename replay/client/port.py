"""`ClientPort`: the interface of the client to operator, schedules, handles and histories."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from replay.client.records import Detail, Execution, Page
from replay.core import requests as r
from replay.core.entries import Fact
from replay.core.errors import ReplayError
from replay.definition import Signal, Workflow
from replay.ports import Codec, Store

T = TypeVar("T")


class ClientPort(Protocol):
    """Requests to the store, values to bytes, and wake-ups; implemented by `Client` and `Engine`.

    All methods may be called from any thread. Methods that send requests raise `StoreUnavailable` if the store cannot be
    reached.
    """

    store: Store
    codec: Codec
    namespace: str

    @property
    def retention(self) -> float | None:
        """Seconds for which ended executions are kept; None keeps them."""
        ...

    # --- requests ----------------------------------------------------------------------------------------

    def ask(self, request: r.Request[T]) -> T:
        """Send one request to the store and return its reply; raise its refusal."""
        ...

    def header(self, id: str) -> r.Header:
        """Return the header of an execution. Raises `UnknownExecution`."""
        ...

    def encode(self, value: Any, what: str) -> bytes:
        """Return *value* as stored bytes. Raises `NotSerializable` or `PayloadTooLarge`, naming *what*."""
        ...

    def new_id(self) -> str:
        """Return a random id: 24 hexadecimal digits."""
        ...

    # --- wake-ups: best effort, never raising ----------------------------------------------------------------

    def announce(self, queue: str) -> None:
        """Wake a worker of *queue*."""
        ...

    def announce_end(self, id: str) -> None:
        """Wake the callers that wait for an execution."""
        ...

    def notify_observers(self, header: r.Header, entries: Iterable[Fact]) -> None:
        """Call this process's observers with committed *entries*."""
        ...

    # --- definitions ---------------------------------------------------------------------------------------

    def workflow(self, workflow: Workflow[Any, Any] | str) -> Workflow[Any, Any]:
        """Return a workflow given as such or by its key. Raises `UnknownWorkflow`."""
        ...

    def definition(self, key: str, version: str) -> Workflow[Any, Any] | None:
        """Return the workflow registered here under *key* and *version*, if any."""
        ...

    # --- executions ------------------------------------------------------------------------------------------

    def get_execution(self, execution: str) -> Execution:
        """See `Engine.get_execution`."""
        ...

    @property
    def find_executions(self) -> Callable[..., Page[Execution]]:
        """See `Engine.find_executions`."""
        ...

    def detail(self, execution: str) -> Detail:
        """See `Engine.detail`."""
        ...

    def wait(self, execution: str, timeout: Any = None) -> Any:
        """See `Engine.wait`."""
        ...

    def signal(
        self, execution: str, signal: Signal[Any] | str, payload: Any = None, *, dedupe_id: str | None = None
    ) -> None:
        """See `Engine.signal`."""
        ...

    def cancel(self, execution: str, reason: str | None = None) -> None:
        """See `Engine.cancel`."""
        ...

    def cancel_many(self, executions: Iterable[str], reason: str | None = None) -> dict[str, ReplayError]:
        """See `Engine.cancel_many`."""
        ...
