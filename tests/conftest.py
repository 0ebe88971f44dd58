"""Fixtures of all tests. Servers start when the first test asks for one, and belong to this (xdist) process alone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.budgets import load_profile

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer
    from tests.servers.rabbitmq import RabbitServer
    from tests.servers.redis import RedisCluster, RedisSentinel, RedisServer


def serving(make: Callable[[], Any]) -> Iterator[Any]:
    """Start a server for the length of a fixture. A missing program fails the test: skipping would hide it."""
    from tests.servers.process import MissingServer

    try:
        server = make()
    except MissingServer as error:
        pytest.fail(str(error), pytrace=False)
    with server:
        yield server


pytest_plugins = ["pytester"]

load_profile()

for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    # A shell starts what runs in its background, or under nohup, with these ignored, and all processes of the tests would inherit it.
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

SERVERS = {"postgres_server", "redis_server", "redis_cluster", "redis_sentinel", "rabbitmq_server"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server, so that `-m "not server"` leaves them out."""
    for item in items:
        parameters = getattr(item, "callspec", None)
        named = {value for value in parameters.params.values() if isinstance(value, str)} if parameters else set()
        if SERVERS & {*getattr(item, "fixturenames", ())} or any(
            name.startswith(("redis", "postgres")) for name in named
        ):
            item.add_marker("server")


def pytest_report_header() -> str:
    return f"budgets: profile {settings.get_current_profile_name()!r}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL whose commits survive a `kill`; a test of durability starts its own."""
    from tests.servers.postgres import PostgresServer

    yield from serving(PostgresServer)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis with an append-only file synced at each write (the documented production profile)."""
    from tests.servers.redis import RedisServer

    yield from serving(lambda: RedisServer(appendfsync="always"))


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of three masters."""
    from tests.servers.redis import RedisCluster

    yield from serving(RedisCluster)


@pytest.fixture(scope="session")
def redis_sentinel() -> Iterator[RedisSentinel]:
    """A Redis primary with a replica behind a Sentinel; after a `failover()` call `settle()`."""
    from tests.servers.redis import RedisSentinel

    yield from serving(RedisSentinel)


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitServer]:
    """A RabbitMQ node; a test that kills it starts it again (`with rabbitmq_server.down(): ...`)."""
    from tests.servers.rabbitmq import RabbitServer

    yield from serving(RabbitServer)
