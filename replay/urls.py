"""From URLs to stores, queues and buses, by entry points: third parties add backends of their own."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from replay.core.errors import ConfigError
from replay.ports import Bus, Queue, Store
from replay.redaction import masked

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
