"""How the store in Redis finds its servers, and what becomes of their refusals."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import Any

import attrs
import pytest

from replay.backends.redis import open_store
from replay.backends.redis.topology import Node, RawConnection, Sentinels, connector, find_topology, options_of
from replay.backends.redis.url import read_url
from replay.core import requests as r
from replay.core.errors import ConfigError, ReplayError, StoreUnavailable
from tests.servers.ports import free_port
from tests.servers.redis import RedisCluster, RedisServer

_fresh = itertools.count()


@pytest.fixture
def namespace() -> str:
    return f"link{os.getpid()}-{next(_fresh)}"


@attrs.define
class Opinion:
    """A Sentinel's connection: it names one server, or cannot be reached."""

    port: int | None

    def connect(self) -> None:
        if self.port is None:
            raise ConnectionRefusedError

    def send_command(self, *args: Any) -> None:
        pass

    def read_response(self) -> Any:
        return [b"127.0.0.1", b"%d" % (self.port or 0)]

    def disconnect(self) -> None:
        pass


def test_a_sentinel_that_is_out_of_date_does_not_keep_us_from_the_primary(redis_server: RedisServer) -> None:
    url = read_url("redis+sentinel://a:1,a:2,a:3,a:4/replay")
    asked: list[int] = []
    opinions: dict[int, int | None] = {}

    def make(host: str, port: int) -> Node:
        return Node(lambda: connector(url)(host=host, port=port, **options_of(url)))

    def sentinel(host: str, port: int) -> RawConnection:
        asked.append(port)
        return Opinion(opinions[port])  # type: ignore[return-value]

    with RedisServer() as demoted:
        demoted.run("REPLICAOF", redis_server.host, redis_server.port)
        opinions |= {1: None, 2: free_port(), 3: demoted.port, 4: redis_server.port}
        topology = Sentinels(url, make, sentinel)
        with contextlib.closing(topology):
            topology.refresh()
            assert topology._address == ("127.0.0.1", redis_server.port)
            assert asked == [1, 2, 3, 4]
            opinions[2] = redis_server.port
            topology.refresh()
            assert asked[4:] == [1, 2]
            opinions |= dict.fromkeys(
                (2, 4), demoted.port
            )  # nobody knows of a primary: the first answer is as good as any
            topology.refresh()
            assert topology._address == ("127.0.0.1", demoted.port)


def test_a_request_that_the_server_refuses_fails_alone(redis_server: RedisServer, namespace: str) -> None:
    with contextlib.closing(open_store(redis_server.url, namespace=namespace)) as store:
        store.apply([r.Create("x", "wf", b"1"), r.Create("y", "wf", b"1")])
        redis_server.run("SET", f"{{{namespace}:0}}:m:x", "not a hash")
        messages = [r.Deliver(id, "m", "signal", "s") for id in ("y", "x")]
        before, refused, after = store.apply([*messages, r.Get("y")])
        assert isinstance(before, r.Delivered)
        assert type(refused) is ReplayError
        assert "deliver" in str(refused)
        assert after.arrivals == 1


def test_a_refusal_by_one_server_leaves_the_connections_to_others_in_order(
    redis_cluster: RedisCluster, namespace: str
) -> None:
    with contextlib.closing(
        open_store(redis_cluster.url, namespace=namespace, socket_timeout=4.0, deadline=0.1)
    ) as store:
        ids = [f"x{n}" for n in range(30)]
        url, connection = store._connection.url, store._connection
        connection.url = attrs.evolve(url, ack_replicas=1)
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            store.apply([r.Create(id, "wf", b"1") for id in ids])
        assert all(node._idle for node in connection.topology.nodes())
        connection.url = url
        assert [header.id for header in store.apply([r.Get(id) for id in ids])] == ids


def test_a_node_of_a_cluster_says_that_it_is_one(redis_cluster: RedisCluster, namespace: str) -> None:
    refused = 0
    for host, port in redis_cluster.nodes:
        try:
            open_store(f"redis://{host}:{port}", namespace=namespace).close()
        except ConfigError as error:
            refused += f"Fix: redis+cluster://{host}:{port}" in str(error)
    topology = find_topology(read_url(redis_cluster.url))
    tags = [f"{{{namespace}{shard}}}:".encode() for shard in ("", ":0")]
    with contextlib.closing(topology):
        serving = {topology.node(tag) for tag in tags}
    assert refused == (2 if len(serving) == 1 else 3), "a node that serves both slots cannot know"
