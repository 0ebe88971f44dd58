"""The bus contract on a real Redis, a cluster and behind a Sentinel, and what is Redis's own: outages."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import socket
import time
from collections.abc import Callable

import pytest

from replay.backends.redis import open_bus
from replay.core.errors import ConfigError
from replay.ports import Bus
from replay.testing.contracts import BusContract
from replay.testing.contracts.bus import PATIENCE, Inbox
from tests.servers.ports import free_port
from tests.servers.process import until
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisCluster, RedisServer

_fresh = itertools.count()


@pytest.fixture
def namespace() -> str:
    return f"bus{os.getpid()}-{next(_fresh)}"


class TestRedisBus(BusContract):
    @pytest.fixture
    def make_bus(self, redis_server: RedisServer, namespace: str) -> Callable[[], Bus]:
        return lambda: open_bus(redis_server.url, namespace=namespace)

    @pytest.fixture
    def make_absent_bus(self, namespace: str) -> Callable[[], Bus]:
        return lambda: open_bus(f"redis://127.0.0.1:{free_port()}", namespace=namespace)


class TestRedisBusOnACluster(BusContract):
    @pytest.fixture
    def make_bus(self, redis_cluster: RedisCluster, namespace: str) -> Callable[[], Bus]:
        return lambda: open_bus(redis_cluster.url, namespace=namespace)

    @pytest.fixture
    def make_absent_bus(self, namespace: str) -> Callable[[], Bus]:
        return lambda: open_bus(f"redis+cluster://127.0.0.1:{free_port()}", namespace=namespace)


def hear_from(speaker: Bus, inbox: Inbox, message: bytes) -> None:
    """Say *message* until it is heard: after an outage, neither side knows when the other is back."""
    deadline = time.monotonic() + PATIENCE
    while inbox.empty:
        assert time.monotonic() < deadline, "not heard"
        speaker.publish("c", message)
        time.sleep(0.01)
    assert inbox.next() == message


def test_namespaces_do_not_hear_each_other(redis_server: RedisServer, namespace: str) -> None:
    with (
        contextlib.closing(open_bus(redis_server.url, namespace=namespace)) as here,
        contextlib.closing(open_bus(redis_server.url, namespace=f"{namespace}x")) as there,
    ):
        ours, theirs = Inbox(), Inbox()
        here.subscribe("c", ours)
        there.subscribe("c", theirs)
        here.publish("c", b"ours")
        assert ours.next() == b"ours"
        assert theirs.empty


@pytest.mark.parametrize("outage", ["cut", "refused"])
def test_subscriptions_are_in_force_again_after_an_outage(
    redis_server: RedisServer, namespace: str, outage: str
) -> None:
    with Proxy(redis_server.host, redis_server.port) as proxy:
        url = f"redis://{proxy.host}:{proxy.port}"
        with (
            contextlib.closing(open_bus(url, namespace=namespace)) as bus,
            contextlib.closing(open_bus(url, namespace=namespace)) as other,
        ):
            inbox = Inbox()
            other.subscribe("c", inbox)
            bus.publish("c", b"before")
            assert inbox.next() == b"before"
            if outage == "cut":
                proxy.cut()
            else:
                proxy.refuse()
                bus.publish("c", b"into the void")
                proxy.accept()
            hear_from(bus, inbox, b"after")


def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(
    redis_server: RedisServer, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "replay.redis"]

    with Proxy(redis_server.host, redis_server.port) as proxy:
        url = f"redis://{proxy.host}:{proxy.port}"
        with contextlib.closing(open_bus(url, namespace=namespace)) as bus:
            inbox = Inbox()
            bus.subscribe("c", inbox)
            hear_from(bus, inbox, b"before")
            assert bus.connected
            proxy.refuse()
            until(lambda: bus.publish("c", b"into the void") is None and bus._publisher._pause > 0)
            until(lambda: bus._listener._failures >= 3)
            assert not bus.connected
            proxy.accept()
            hear_from(bus, inbox, b"after")
            until(lambda: bus.connected)
    assert ["cannot be reached" in line for line in said()] == [True, False]
    assert "can be reached again" in said()[1]


def test_a_subscription_made_while_the_server_is_away_comes_into_force(namespace: str) -> None:
    with RedisServer() as server:
        with server.down(), contextlib.closing(open_bus(server.url, namespace=namespace)) as early:
            inbox = Inbox()
            early.subscribe("c", inbox)
            server.start()
            hear_from(early, inbox, b"hello")
            server.kill()


def test_a_malformed_url_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigError, match="Fix:") as caught:
        open_bus("redis://user:secret@host:port/x")
    assert "secret" not in str(caught.value)


def test_a_process_with_more_than_1024_files_publishes_over_one_connection() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard > 0 else 4096, hard))
    with contextlib.ExitStack() as files, RedisServer() as server:
        files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            files.enter_context(socket.socket())
        bus = files.enter_context(contextlib.closing(open_bus(server.url)))
        inbox = Inbox()
        bus.subscribe("c", inbox)
        before = int(server.info("stats")["total_connections_received"])
        for _ in range(50):
            bus.publish("c", b"x")
        assert [inbox.next() for _ in range(50)] == [b"x"] * 50
        after = int(server.info("stats")["total_connections_received"])
    assert after - before < 10
