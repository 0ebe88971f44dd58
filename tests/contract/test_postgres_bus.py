"""The contracts of bus and queue on a real PostgreSQL, and what is its own: parts, merging, outages."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable

import pytest

from replay.backends.postgres import open_bus, open_queue
from replay.core.errors import ConfigError
from replay.ports import Bus, Queue
from replay.testing.contracts import BusContract, QueueContract
from replay.testing.contracts.bus import Inbox
from replay.urls import has_bus
from tests.servers.ports import free_port
from tests.servers.postgres import PostgresServer
from tests.servers.process import until


@pytest.fixture
def namespace() -> str:
    return uuid.uuid4().hex


class TestPostgresBus(BusContract):
    @pytest.fixture
    def make_bus(self, postgres_server: PostgresServer, namespace: str) -> Callable[[], Bus]:
        return lambda: open_bus(postgres_server.url, namespace=namespace)

    @pytest.fixture
    def make_absent_bus(self, namespace: str) -> Callable[[], Bus]:
        return lambda: open_bus(f"postgresql://127.0.0.1:{free_port()}/none", namespace=namespace)


class TestPostgresQueue(QueueContract):
    @pytest.fixture
    def make_queue(self, postgres_server: PostgresServer, namespace: str) -> Callable[[], Queue]:
        return lambda: open_queue(postgres_server.url, namespace=namespace)

    @pytest.fixture
    def make_absent_queue(self, namespace: str) -> Callable[[], Queue]:
        return lambda: open_queue(f"postgresql://127.0.0.1:{free_port()}/none", namespace=namespace)


def test_equal_messages_with_content_all_arrive_and_wake_ups_are_merged(
    postgres_server: PostgresServer, namespace: str
) -> None:
    with (
        contextlib.closing(open_bus(postgres_server.url, namespace=namespace)) as bus,
        contextlib.closing(open_bus(postgres_server.url, namespace=namespace)) as other,
    ):
        inbox, wakes = Inbox(), Inbox()
        other.subscribe("c", inbox)
        other.subscribe("ready", wakes)
        for _ in range(2_000):
            bus.publish("ready")
        for _ in range(100):
            bus.publish("c", b"same")
        bus.publish("c", b"last")
        assert [inbox.next() for _ in range(101)] == [b"same"] * 100 + [b"last"]
        count = 0
        while not wakes.empty:
            count += wakes.next() == b""
        assert 1 <= count < 2_000


def test_it_hears_again_after_the_server_was_killed(namespace: str) -> None:
    with (
        PostgresServer() as server,
        contextlib.closing(open_bus(server.url, namespace=namespace)) as bus,
        contextlib.closing(open_bus(server.url, namespace=namespace)) as other,
    ):
        inbox = Inbox()
        other.subscribe("c", inbox)
        bus.publish("c", b"before")
        assert inbox.next() == b"before"
        with server.down():
            bus.publish("c", b"lost")
            until(lambda: not other.connected, what="the outage to be noticed")
        until(lambda: bus.publish("c", b"after") or not inbox.empty, what="the bus", every=0.01)
        assert inbox.next() in (b"lost", b"after")


def test_a_session_that_listens_is_in_no_transaction(postgres_server: PostgresServer, namespace: str) -> None:
    with contextlib.closing(open_bus(postgres_server.url, namespace=namespace)) as bus:
        bus.subscribe("c", Inbox())
        listening = "SELECT state, backend_xmin FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        assert ("idle", None) in postgres_server.run(listening)


def test_behind_a_pooler_there_is_no_bus() -> None:
    assert has_bus("postgresql://h/d")
    assert not has_bus("postgresql://h/d?pooler=transaction")
    with pytest.raises(ConfigError, match=r"Fix: name the server itself"):
        open_bus("postgresql://h/d?pooler=transaction")
