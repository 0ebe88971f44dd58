"""What an engine stands on: store, bus and queue, given as such or opened from URLs."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, TypeVar

import attrs

from replay import urls
from replay.core.errors import ConfigError
from replay.ports import Bus, Clock, Queue, Store

T = TypeVar("T")


@attrs.frozen
class Opened:
    """The parts, and in `stack` the closing of those that were opened here (what was given stays open).

    `bus_is_shared`: whether the bus reaches other processes, as far as can be known.
    """

    store: Store
    bus: Bus
    queue: Queue | None
    bus_is_shared: bool
    stack: ExitStack


def open_parts(
    store: str | Store, bus: str | Bus | None, queue: str | Queue | None, *, namespace: str, clock: Clock | None
) -> Opened:
    """Open what is given by URL; if one cannot be opened, close the others again.

    Raises:
        ConfigError: A URL is wrong.
        StoreUnavailable: Nothing answers there.
    """
    with ExitStack() as stack:

        def own(opened: T) -> T:
            stack.callback(opened.close)  # type: ignore[attr-defined]
            return opened

        found = store
        if not isinstance(found, str) and not callable(getattr(found, "apply", None)):
            raise ConfigError(
                f"a store is a URL or a Store, not {found!r}. Fix: 'sqlite:///orders.db', 'memory://', 'redis://HOST'"
            )
        if isinstance(found, str):
            timed: dict[str, Any] = {} if clock is None else {"clock": clock}
            found = own(urls.open_store(found, namespace=namespace, **timed))
        if bus is None and isinstance(store, str) and urls.has_bus(store):
            bus = store
        shared = bus is not None
        if isinstance(bus, str):
            bus = own(urls.open_bus(bus, namespace=namespace))
        if isinstance(queue, str):
            queue = own(urls.open_queue(queue, namespace=namespace))
        return Opened(found, bus or _bus_of(found), queue, shared, stack.pop_all())


def _bus_of(store: Store) -> Bus:
    """Return the bus that the engines of this process which share *store* share; others are found by polling."""
    own: Bus | None = getattr(store, "_replay_bus", None)
    if own is None:
        own = urls.open_bus("memory://")
        try:
            store._replay_bus = own  # type: ignore[attr-defined]
        except AttributeError:
            pass  # it takes no attributes: each engine has a bus of its own
    return own
