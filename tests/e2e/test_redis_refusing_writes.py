"""A Redis that refuses writes can be looked at; one without memory can be given room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from replay import Context, Engine, Flow, workflow
from tests.e2e.commands import replay
from tests.servers.process import PATIENCE
from tests.servers.redis import RedisServer

SIZE = 20_000


@workflow
def echoes(ctx: Context, text: str) -> Flow[str]:
    yield from ctx.sleep(0)
    return text


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server with ten completed executions and ten pending ones."""
    with RedisServer() as server:
        with Engine(server.url, workflows=[echoes], worker=True) as engine:
            for handle in [engine.start(echoes, "x" * SIZE, id=f"done-{i}") for i in range(10)]:
                handle.result(PATIENCE)
        with Engine(server.url, workflows=[echoes]) as engine:
            for i in range(10):
                engine.start(echoes, "y" * SIZE, id=f"pending-{i}")
        yield server


def refuse(server: RedisServer, reason: str) -> None:
    match reason:
        case "maxmemory":
            server.run("CONFIG", "SET", "maxmemory", int(server.info("memory")["used_memory"]) - SIZE)
        case "replica":
            server.run("REPLICAOF", "127.0.0.1", "1")
        case _:
            server.run("CONFIG", "SET", "min-replicas-to-write", "1")


@pytest.mark.parametrize("reason", ["maxmemory", "replica", "min-replicas"])
def test_a_server_that_refuses_writes_can_be_looked_at(server: RedisServer, reason: str) -> None:
    refuse(server, reason)
    url = server.url + "?deadline=2"
    assert "done-0" in replay("list", "--store", url)
    assert "completed" in replay("show", "done-0", "--store", url)
    assert "10 completed" in replay("doctor", "--store", url, code=4)  # the server has no append-only file
    replay("workers", "--store", url)
    assert "done-1" in replay("export", "--id-prefix", "done-1", "--store", url)


def test_executions_are_deleted_and_purged_without_memory(server: RedisServer) -> None:
    refuse(server, "maxmemory")
    url = server.url + "?deadline=2"
    replay("delete", "done-0", "--store", url)
    replay("purge", "--older-than", "0s", "--status", "completed", "--yes", "--store", url)
    listed = replay("list", "--store", url)
    assert "done-" not in listed
    assert "pending-0" in listed
