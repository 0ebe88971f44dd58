"""From URLs to stores, queues and buses, by entry points: third parties add backends of their own."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import attrs

from replay.core.errors import ConfigError
from replay.ports import Bus, Clock, Queue, Store
from replay.redaction import masked

T = TypeVar("T")

# The built-in backends, so that a plain checkout works before it is installed. The same as in setup.cfg.
_MEMORY = "replay.backends.memory"
_SQLITE = "replay.backends.sqlite"
_REDIS = "replay.backends.redis"
_RABBITMQ = "replay.backends.rabbitmq"
_REDISES = dict.fromkeys(("redis", "rediss", "redis+sentinel", "redis+cluster"), _REDIS)
_BUILT_IN = {
    "stores": {"memory": _MEMORY, "sqlite": _SQLITE, **_REDISES},
    "queues": {"memory": _MEMORY, "amqp": _RABBITMQ, "amqps": _RABBITMQ},
    "buses": {"memory": _MEMORY, **_REDISES},
}


def open_store(url: str, *, namespace: str = "default", **options: Any) -> Store:
    """Open the store that *url* names.

    Raises:
        ConfigError: Its scheme is not known, or the rest of it is wrong.
    """
    return cast("Store", _opener("stores", url)(url, namespace=namespace, **options))


def open_queue(url: str, *, namespace: str = "default") -> Queue:
    """Open the queue that *url* names. Raises `ConfigError` like `open_store`."""
    return cast("Queue", _opener("queues", url)(url, namespace=namespace))


def open_bus(url: str, *, namespace: str = "default") -> Bus:
    """Open the bus that *url* names. Raises `ConfigError` like `open_store`."""
    return cast("Bus", _opener("buses", url)(url, namespace=namespace))


def has_bus(url: str) -> bool:
    """Tell whether the store's URL also names a bus."""
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
) -> Connections:
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
            found = own(open_store(found, namespace=namespace, **timed))
        if bus is None and isinstance(store, str) and has_bus(store):
            bus = store
        shared = bus is not None
        if isinstance(bus, str):
            bus = own(open_bus(bus, namespace=namespace))
        if isinstance(queue, str):
            queue = own(open_queue(queue, namespace=namespace))
        return Connections(found, bus or _bus_of(found), queue, shared, stack.pop_all())


_buses: WeakKeyDictionary[Store, Bus] = WeakKeyDictionary()
"""The bus of each store that has none of its own, for all engines of this process that share the store."""


def _bus_of(store: Store) -> Bus:
    """Return the bus that the engines of this process which share *store* share; others are found by polling."""
    try:
        return _buses.setdefault(store, open_bus("memory://"))
    except TypeError:  # a store that takes no weak references, or has no hash: each engine has a bus of its own
        return open_bus("memory://")
