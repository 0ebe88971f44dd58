"""Fixtures of all tests. Servers start when the first test asks for one, and belong to this (xdist) process alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
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
