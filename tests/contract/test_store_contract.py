"""The store contract on every store that ships, and on the example of the documentation."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replay.backends.memory import MemoryStore
from replay.backends.postgres import open_store as open_postgres
from replay.backends.redis import open_store
from replay.backends.sqlite import SqliteStore
from replay.backends.sqlite import find as sqlite_find
from replay.core import requests as r
from replay.testing import StoreContract
from replay.testing.simulation.clock import VirtualClock
from tests.contract.example_store import RequestLogStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def make_store(self) -> Callable[[Any], MemoryStore]:
        return MemoryStore


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[Any], SqliteStore]:
        return lambda clock: SqliteStore(tmp_path / "store.db", clock=clock)


class TestSqliteStoreOfMany(StoreContract):
    """No status has so few executions that lists need no other index."""

    @pytest.fixture
    def make_store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], SqliteStore]:
        monkeypatch.setattr(sqlite_find, "_is_few", lambda query, _: query.parent_id is not None)
        return lambda clock: SqliteStore(tmp_path / "store.db", clock=clock)


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def make_store(self, postgres_server: Any) -> Callable[[Any], Any]:
        return lambda clock: open_postgres(postgres_server.url, namespace=uuid.uuid4().hex, clock=clock)


class TestPostgresStoreOfMany(StoreContract):
    """No status has so few executions that lists need no other index."""

    @pytest.fixture
    def make_store(self, postgres_server: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
        monkeypatch.setattr("replay.backends.postgres.find._is_few", lambda query, _: query.parent_id is not None)
        return lambda clock: open_postgres(postgres_server.url, namespace=uuid.uuid4().hex, clock=clock)


class TestRedisStore(StoreContract):
    @pytest.fixture
    def make_store(self, redis_server: Any) -> Callable[[Any], Any]:
        return lambda clock: open_store(redis_server.url, namespace=uuid.uuid4().hex, clock=clock)


class TestRedisClusterStore(StoreContract):
    ordered = False

    @pytest.fixture
    def make_store(self, redis_cluster: Any) -> Callable[[Any], Any]:
        return lambda clock: open_store(redis_cluster.url, namespace=uuid.uuid4().hex, clock=clock)


class TestExampleStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[Any], RequestLogStore]:
        return lambda clock: RequestLogStore(tmp_path / "example.db", clock)


def test_two_processes_of_the_example_see_one_state(tmp_path: Path) -> None:
    clock = VirtualClock()
    one, two = (RequestLogStore(tmp_path / "example.db", clock) for _ in range(2))
    one.apply([r.Create("a", "w", b"null")])
    (claims,) = two.apply([r.Claim("n", "worker", ("default",), (("w", ""),), 5, 30.0)])
    assert [claimed.header.id for claimed in claims.claimed] == ["a"]
    assert one.apply([r.Get("a")]) == two.apply([r.Get("a")])
    one.close()
    two.close()
