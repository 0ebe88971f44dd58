"""Openers of `memory://` (a new part) and `memory://name` (one per name, namespace and process)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar, cast

from replay.backends.memory.queue_and_bus import MemoryBus, MemoryQueue
from replay.backends.memory.store import MemoryStore
from replay.core.errors import ConfigError
from replay.ports import Clock
from replay.redaction import masked

T = TypeVar("T", MemoryStore, MemoryQueue, MemoryBus)

_shared: dict[tuple[str, str, str], object] = {}
_shared_lock = threading.Lock()


def open_store(url: str, *, namespace: str = "default", clock: Clock | None = None) -> MemoryStore:
    """Open `memory://` (a new store) or `memory://name` (shared in this process under that name)."""
    return _open("store", url, namespace, lambda: MemoryStore(clock))


def open_queue(url: str, *, namespace: str = "default") -> MemoryQueue:
    """Open a queue within this process."""
    return _open("queue", url, namespace, MemoryQueue)


def open_bus(url: str, *, namespace: str = "default") -> MemoryBus:
    """Open a bus within this process."""
    return _open("bus", url, namespace, MemoryBus)


def _open(kind: str, url: str, namespace: str, make: Callable[[], T]) -> T:
    name = url.partition("://")[2].removesuffix("/")
    if not set(name).isdisjoint("/?#@"):
        raise ConfigError(
            f"{masked(url)!r} is not a usable URL of memory: a name is expected, which has no path and no options. "
            "Fix: memory:// or memory://name"
        )
    if not name:
        return make()
    with _shared_lock:
        return cast("T", _shared.setdefault((kind, name, namespace), make()))
