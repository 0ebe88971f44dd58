"""Protocols of what a `Context` is given: definitions of signals, events and workflows, and its deterministic sources."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from replay.core.commands import Command

if TYPE_CHECKING:
    import logging
    import random
    import uuid

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
In = TypeVar("In")


class SignalOf(Protocol[T_co]):
    """A signal's definition, `Signal(id, payload type)`."""

    @property
    def id(self) -> str:
        """The signal's id."""
        ...

    @property
    def payload_type(self) -> type[T_co] | None:
        """The payload's type, None: any."""
        ...


class EventOf(Protocol[T]):
    """An event's definition, `Event(id, payload type)`."""

    @property
    def id(self) -> str:
        """The event's id."""
        ...

    @property
    def payload_type(self) -> type[T] | None:
        """The payload's type, None: any."""
        ...

    def check(self, payload: T) -> None:
        """Refuse a payload of another type. Its argument ties the types of event and payload for type checkers."""
        ...


class WorkflowOf(Protocol[In, T]):  # type: ignore[misc]  # invariance keeps the protocol simple to implement
    """A workflow's definition."""

    @property
    def key(self) -> str:
        """The workflow's stable key."""
        ...

    def __call__(self, ctx: Any, input: In, /) -> Generator[Command[Any], Any, T]:
        """Make the workflow's generator."""
        ...


class Sources(Protocol):
    """Deterministic sources for one execution, made outside the core."""

    def random(self, stream: str) -> random.Random:
        """Return the generator of *stream*, seeded by the execution and the stream's name."""
        ...

    def uuid(self) -> uuid.UUID:
        """Return the execution's next UUID."""
        ...

    def log(self, quiet: Callable[[], bool]) -> logging.Logger | logging.LoggerAdapter[Any]:
        """Return the execution's logger, which says nothing while *quiet* is true."""
        ...
