"""PostgreSQL as store, bus and queue: `postgresql://HOST/DATABASE`. psycopg (extra `postgres`) is imported when something is opened."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from replay.backends.postgres.url import PostgresUrl, read_url
from replay.core.errors import ConfigError
from replay.ports import Clock

if TYPE_CHECKING:
    from replay.backends.postgres.bus import PostgresBus
    from replay.backends.postgres.queue import PostgresQueue
    from replay.backends.postgres.store import PostgresStore

__all__ = ["has_bus", "open_bus", "open_queue", "open_store", "prepare_store"]


def open_store(url: str, *, namespace: str = "default", clock: Clock | None = None) -> PostgresStore:
    """Open `postgresql://user@host:5432/database`; `?schema=` names another schema than `replay`.

    Raises:
        ConfigError: The URL is malformed, psycopg is missing, the server refuses us, or the tables may not be made.
        StoreUnavailable: Nothing answers there.
    """
    return prepare_store(url, namespace=namespace, clock=clock)()


def prepare_store(url: str, *, namespace: str = "default", clock: Clock | None = None) -> Callable[[], PostgresStore]:
    """Check the URL without connecting; return the function that opens the store. Raises `ConfigError`."""
    found = read_url(url)
    _need_driver()
    return partial(_open, found, namespace=namespace, clock=clock)


def _open(url: PostgresUrl, **options: Any) -> PostgresStore:
    from replay.backends.postgres.store import PostgresStore

    return PostgresStore(url, **options)


def has_bus(url: str) -> bool:
    """Tell whether the URL of a store also names a bus: behind a pooler nobody can listen."""
    return read_url(url).pooler is None


def open_bus(url: str, *, namespace: str = "default") -> PostgresBus:
    """Open the bus in a PostgreSQL (URLs as for `open_store`). It connects as soon as the server is reachable.

    Raises:
        ConfigError: The URL is malformed or that of a pooler, or psycopg is missing.
    """
    found = _listenable(url)
    from replay.backends.postgres.bus import PostgresBus

    return PostgresBus(found, namespace=namespace)


def open_queue(url: str, *, namespace: str = "default") -> PostgresQueue:
    """Open hints in a PostgreSQL. Raises `ConfigError` like `open_bus`."""
    found = _listenable(url)
    from replay.backends.postgres.queue import PostgresQueue

    return PostgresQueue(found, namespace=namespace)


def _listenable(url: str) -> PostgresUrl:
    found = read_url(url)
    if found.pooler is not None:
        raise ConfigError(f"{found.shown}: nobody can listen behind a pooler. Fix: name the server itself as the bus")
    _need_driver()
    return found


def _need_driver() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"PostgreSQL needs psycopg ({error}). Fix: pip install 'replay-engine[postgres]'") from error
