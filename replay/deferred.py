"""A store that connects at its first request, so that an engine can be made while the server is away."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from replay.core.errors import StoreUnavailable
from replay.core.requests import Request
from replay.ports import Store


class DeferredStore:
    """See `replay.ports.Store`.

    Args:
        connect: Connects, and returns the store.

    A first request that fails raises what *connect* raises; the next one tries again.
    """

    def __init__(self, connect: Callable[[], Store]) -> None:
        self._connect = connect
        self._store: Store | None = None
        self._closed = False
        self._lock, self._pid = threading.Lock(), os.getpid()

    def connect(self) -> Store:
        """Return the store, connected.

        Raises:
            StoreUnavailable: Nothing answers there, or this store is closed.
            ConfigError: The server refuses the URL.
        """
        if self._pid != os.getpid():  # forked, perhaps while another thread connected: the lock is that thread's
            self._lock, self._pid = threading.Lock(), os.getpid()
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            if self._store is None:
                self._store = self._connect()
            return self._store

    def apply(self, requests: Sequence[Request[Any]]) -> list[Any]:
        """See `replay.ports.Store.apply`."""
        return (self._store or self.connect()).apply(requests)

    def close(self) -> None:
        """See `replay.ports.Store.close`."""
        self._closed = True
        if self._store is not None:
            self._store.close()

    def __getattr__(self, name: str) -> Any:  # what a store offers beyond the port: `warnings`, ...
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.connect(), name)

    def __repr__(self) -> str:
        return repr(self._store) if self._store is not None else "<a store that was not used yet>"


def connect(store: Store) -> Store:
    """Connect *store* now if it waits for its first request; return what it is connected to.

    Raises:
        StoreUnavailable: Nothing answers there.
    """
    return store.connect() if isinstance(store, DeferredStore) else store
