"""Handles of executions, and the values that `start_and_wait` and `workflows` return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import attrs

from replay.client.records import Status
from replay.core.ids import check_id

if TYPE_CHECKING:
    from replay.client.port import ClientPort
    from replay.definition import Signal

T = TypeVar("T")
S = TypeVar("S")


@attrs.frozen
class StartResult(Generic[T]):
    """The return value of `start_and_wait`: the execution's id, and its result as `data`."""

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
    """A reference to an execution, returned by `start`."""

    def __init__(self, engine: ClientPort, id: str) -> None:
        self._engine = engine
        self.id = id

    def result(self, timeout: Any = None) -> T:
        """Wait for the result and return it. See `Engine.wait`."""
        return cast("T", self._engine.wait(self.id, timeout))

    def status(self) -> Status:
        """Return the current status."""
        return self._engine.get_execution(self.id).status

    def signal(self, signal: Signal[S] | str, payload: S | None = None, *, dedupe_id: str | None = None) -> None:
        """Send a signal. See `Engine.signal`."""
        self._engine.signal(self.id, signal, payload, dedupe_id=dedupe_id)

    def cancel(self, reason: str | None = None) -> None:
        """Ask the execution to stop. See `Engine.cancel`."""
        self._engine.cancel(self.id, reason)

    def __repr__(self) -> str:
        return f"<execution {self.id!r}>"


def id_of(execution: str | Handle[Any]) -> str:
    """Return the id of an execution given by its handle or id."""
    return execution.id if isinstance(execution, Handle) else check_id(execution, "execution id")
