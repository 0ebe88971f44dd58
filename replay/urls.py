"""URLs of stores, queues and buses, resolved by entry points, so that third parties can add backends."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import attrs

from replay.core.errors import ConfigError
from replay.deferred import DeferredStore
from replay.ports import Bus, Clock, Queue, Store
from replay.redaction import masked

T = TypeVar("T")

# The built-in backends, so that a plain checkout works before it is installed. The same as in setup.cfg.
_MEMORY = "replay.backends.memory"
_SQLITE = "replay.backends.sqlite"
_POSTGRES = "replay.backends.postgres"
_REDIS = "replay.backends.redis"
_RABBITMQ = "replay.backends.rabbitmq"
_REDISES = dict.fromkeys(("redis", "rediss", "redis+sentinel", "redis+cluster"), _REDIS)
_POSTGRESES = dict.fromkeys(("postgresql", "postgres"), _POSTGRES)
_BUILT_IN = {
    "stores": {"memory": _MEMORY, "sqlite": _SQLITE, **_POSTGRESES, **_REDISES},
    "queues": {"memory": _MEMORY, **_POSTGRESES, "amqp": _RABBITMQ, "amqps": _RABBITMQ},
    "buses": {"memory": _MEMORY, **_POSTGRESES, **_REDISES},
}


def open_store(url: str, *, namespace: str = "default", **options: Any) -> Store:
    """Open the store that *url* names.

    Raises:
        ConfigError: The scheme is unknown, or the rest of the URL is wrong.
    """
    return cast("Store", _opener("stores", url)(url, namespace=namespace, **options))


def _deferred(url: str, *, namespace: str, **options: Any) -> Store:
    """Return the store of *url*. A server's is connected at its first request, if its backend has `prepare_store`."""
    module = _BUILT_IN["stores"].get(_scheme(url))
    prepare = None if module is None else getattr(import_module(module), "prepare_store", None)
    if prepare is None:
        return open_store(url, namespace=namespace, **options)
    return DeferredStore(prepare(url, namespace=namespace, **options))


def open_queue(url: str, *, namespace: str = "default") -> Queue:
    """Open the queue that *url* names. Raises `ConfigError` like `open_store`."""
    return cast("Queue", _opener("queues", url)(url, namespace=namespace))


def open_bus(url: str, *, namespace: str = "default") -> Bus:
    """Open the bus that *url* names. Raises `ConfigError` like `open_store`."""
    return cast("Bus", _opener("buses", url)(url, namespace=namespace))


def has_bus(url: str) -> bool:
    """Tell whether the store's URL also names a bus."""
    module = _BUILT_IN["buses"].get(_scheme(url))
    may = None if module is None else getattr(import_module(module), "has_bus", None)
    if may is not None and not may(url):
        return False
    return _scheme(url) in _BUILT_IN["buses"] or bool(entry_points(group="replay.buses", name=_scheme(url)))


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _opener(group: str, url: str) -> Any:
    scheme = _scheme(url)
    if "://" not in url:
        raise ConfigError(
            f"{masked(url)!r} is not a URL. Fix: write one such as sqlite:///orders.db or redis://localhost:6379/0"
        )
    module = _BUILT_IN[group].get(scheme)
    if module is not None:
        return getattr(
            import_module(module), {"stores": "open_store", "queues": "open_queue", "buses": "open_bus"}[group]
        )
    found = tuple(entry_points(group=f"replay.{group}", name=scheme))
    if found:
        return found[0].load()
    known = ", ".join(f"{each}://" for each in _BUILT_IN[group])
    raise ConfigError(
        f"no backend in {group} for {masked(url)!r}. Fix: use one of {known}, or install the backend's package"
    )


@attrs.frozen
class Connections:
    """Store, bus and queue of an engine.

    Attributes:
        bus_is_shared: Whether the bus reaches other processes, as far as known.
        stack: Closes the parts that were opened by URL. Instances that were passed stay open.
    """

    store: Store
    bus: Bus
    queue: Queue | None
    bus_is_shared: bool
    stack: ExitStack


def open_parts(
    store: str | Store, bus: str | Bus | None, queue: str | Queue | None, *, namespace: str, clock: Clock | None
) -> Connections:
    """Open the parts that are given by URL. If one cannot be opened, the others are closed again.

    Servers are connected at their first use.

    Raises:
        ConfigError: A URL is wrong.
        StoreUnavailable: A file cannot be opened.
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
            found = own(_deferred(found, namespace=namespace, **timed))
        if bus is None and isinstance(store, str) and has_bus(store):
            bus = store
        shared = bus is not None
        if isinstance(bus, str):
            bus = own(open_bus(bus, namespace=namespace))
        if isinstance(queue, str):
            queue = own(open_queue(queue, namespace=namespace))
        return Connections(found, bus or _bus_of(found), queue, shared, stack.pop_all())


_buses: WeakKeyDictionary[Store, Bus] = WeakKeyDictionary()
"""Buses of stores without their own, shared by all engines of this process on the same store."""


def _bus_of(store: Store) -> Bus:
    """Return the bus of this process for *store*. Polling replaces it between processes."""
    try:
        return _buses.setdefault(store, open_bus("memory://"))
    except TypeError:  # a store that takes no weak references, or has no hash: each engine has a bus of its own
        return open_bus("memory://")
