"""Handles of executions whose methods are coroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from replay.client.handles import Handle, id_of
from replay.client.records import Execution, Status

if TYPE_CHECKING:
    from replay.definition import Signal

T = TypeVar("T")
S = TypeVar("S")


class AsyncClientPort(Protocol):
    """The part of `AsyncEngine` that handles need."""

    async def wait(self, execution: str, timeout: Any = None) -> Any:
        """See `AsyncEngine.wait`."""
        ...

    async def get_execution(self, execution: str) -> Execution:
        """See `AsyncEngine.get_execution`."""
        ...

    async def signal(
        self, execution: str, signal: Signal[Any] | str, payload: Any = None, *, dedupe_id: str | None = None
    ) -> None:
        """See `AsyncEngine.signal`."""
        ...

    async def cancel(self, execution: str, reason: str | None = None) -> None:
        """See `AsyncEngine.cancel`."""
        ...


class AsyncHandle(Generic[T]):
    """A reference to an execution, returned by `AsyncEngine.start`."""

    def __init__(self, engine: AsyncClientPort, id: str) -> None:
        self._engine = engine
        self.id = id

    async def result(self, timeout: Any = None) -> T:
        """Wait for the result and return it. See `AsyncEngine.wait`."""
        return cast("T", await self._engine.wait(self.id, timeout))

    async def status(self) -> Status:
        """Return the current status."""
        return (await self._engine.get_execution(self.id)).status

    async def signal(self, signal: Signal[S] | str, payload: S | None = None, *, dedupe_id: str | None = None) -> None:
        """Send a signal. See `AsyncEngine.signal`."""
        await self._engine.signal(self.id, signal, payload, dedupe_id=dedupe_id)

    async def cancel(self, reason: str | None = None) -> None:
        """Ask the execution to stop. See `AsyncEngine.cancel`."""
        await self._engine.cancel(self.id, reason)

    def __repr__(self) -> str:
        return f"<execution {self.id!r}>"


ExecutionRef = str | AsyncHandle[Any] | Handle[Any]
"""An execution given by its id or by a handle."""


def async_id_of(execution: ExecutionRef) -> str:
    """Return the id of an execution given by its handle or id."""
    return execution.id if isinstance(execution, AsyncHandle) else id_of(execution)
