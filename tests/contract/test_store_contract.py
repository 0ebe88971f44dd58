"""The store contract on every store that ships."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replay.backends.memory import MemoryStore
from replay.backends.redis import open_store
from replay.backends.sqlite import SqliteStore
from replay.testing import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def make_store(self) -> Callable[[Any], MemoryStore]:
        return MemoryStore


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[Any], SqliteStore]:
        return lambda clock: SqliteStore(tmp_path / "store.db", clock=clock)


class TestRedisStore(StoreContract):
    @pytest.fixture
    def make_store(self, redis_server: Any) -> Callable[[Any], Any]:
        return lambda clock: open_store(redis_server.url, namespace=uuid.uuid4().hex, clock=clock)


class TestRedisClusterStore(StoreContract):
    ordered = False

    @pytest.fixture
    def make_store(self, redis_cluster: Any) -> Callable[[Any], Any]:
        return lambda clock: open_store(redis_cluster.url, namespace=uuid.uuid4().hex, clock=clock)
