"""Damaged data in Redis stops no worker and hides nothing: every stored field with another type, garbage and nothing."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import pytest

from replay.backends.redis import RedisStore, open_store
from replay.core import requests as r
from tests.asking import ask
from tests.servers.redis import RedisServer

_fresh = itertools.count()
LANES = (("wf", ""),)
FIELDS = ("st", "wf", "q", "v", "ca", "ua", "pri", "due", "len", "arr", "at", "run", "am", "lost", "dl", "ret", "cn")
GARBAGE = (b"", b"\xff{", b"nan", b"inf", b"1e999", b"x", None)
KINDS = ("e", "p", "l", "m", "n", "a", "w")


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    name = f"damaged{os.getpid()}-{next(_fresh)}"
    with contextlib.closing(open_store(redis_server.url, namespace=name)) as store:
        yield store


def check(store: RedisStore, nonce: str) -> None:
    """Check that another execution is claimed and completed beside `victim`, that lists answer, and that it can be removed."""
    ask(store, r.Create(f"other-{nonce}", "wf", b"1"))
    assert {"victim", f"other-{nonce}"} >= {each.id for each in ask(store, r.Find(updated_after=0.0)).headers}
    claims = ask(store, r.Claim(nonce, "w", ("default",), LANES, 10, 30.0, revive=True))
    held = {each.header.id for each in claims.claimed}
    assert f"other-{nonce}" in held
    assert not any(isinstance(each, Exception) for each in store.apply([r.Inbox("victim")]))
    for request in (r.Find(), r.Find(statuses=("stuck",)), r.Count(), r.Get("victim"), r.Purge(), r.Workers()):
        ask(store, request)
    assert "victim" in {each.id for each in ask(store, r.Find()).headers}
    if "victim" not in held:
        assert [id for id, _ in claims.damaged] == ["victim"]
        (stuck,) = ask(store, r.Find(statuses=("stuck",))).headers
        assert stuck.id == "victim"
        assert stuck.current.startswith(b'[{"kind":"damaged"')
        again = ask(store, r.Claim(nonce + "again", "w", ("default",), LANES, 10, 30.0, revive=True))
        assert (again.claimed, again.damaged) == ((), ())
        assert ask(store, r.Delete("victim")) is True
        assert ask(store, r.Get("victim")) is None
        assert [each.id for each in ask(store, r.Find()).headers] == [f"other-{nonce}"]
    ask(store, r.Commit(f"other-{nonce}", nonce, 0, "c", r.End("completed", b"1")))
    ask(store, r.Delete(f"other-{nonce}"))


def victim(store: RedisStore, redis_server: RedisServer) -> tuple[Any, str]:
    ask(store, r.Create("victim", "wf", b"1", entries=(b"[1]",), metadata=b'{"a":1}', priority=1))
    ask(store, r.Deliver("victim", "m", "signal", "go"))
    return redis_server.client(), f"{{{store.namespace}:0}}:"


@pytest.mark.parametrize("field", FIELDS)
def test_a_damaged_field_stops_no_claim_and_hides_no_other(
    store: RedisStore, redis_server: RedisServer, field: str
) -> None:
    for number, garbage in enumerate(GARBAGE):
        client, prefix = victim(store, redis_server)
        with contextlib.closing(client):
            if garbage is None:
                client.hdel(f"{prefix}e:victim", field)
            else:
                client.hset(f"{prefix}e:victim", field, garbage)
            check(store, f"n{number}")
            client.flushdb()
            store.apply([r.Ping()])


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_another_type_or_none_stops_no_claim_and_hides_no_other(
    store: RedisStore, redis_server: RedisServer, kind: str
) -> None:
    for number, gone in enumerate((False, True)):
        client, prefix = victim(store, redis_server)
        with contextlib.closing(client):
            client.delete(f"{prefix}{kind}:victim")
            if not gone:
                client.set(f"{prefix}{kind}:victim", "x") if kind != "l" else client.hset(f"{prefix}l:victim", "x", "y")
            check(store, f"n{number}")
            client.flushdb()


def test_damaged_messages_schedules_workers_and_outboxes_hide_nothing(
    store: RedisStore, redis_server: RedisServer
) -> None:
    client, prefix = victim(store, redis_server)
    ask(store, r.PutSchedule(r.Schedule("bad", "wf", b"{}", b"{}", 1.0), 0))
    ask(store, r.PutSchedule(r.Schedule("good", "wf", b"{}", b"{}", 1.0), 0))
    ask(store, r.Register(r.WorkerRow("bad"), 60.0))
    ask(store, r.Register(r.WorkerRow("good"), 60.0))
    with contextlib.closing(client):
        for garbage in (b"", b"\xff{", b"signal\x1fx\x1fy\x1fz"):
            client.hset(f"{prefix}m:victim", "1", garbage)
            client.hset(f"{prefix}wh", "bad", garbage)
            client.hset(f"{prefix}o", "item", garbage)
            client.zadd(f"{prefix}oz", {"item": 0})
            for field in ("next", "ver", "wf", "spec", "state", "paused"):
                client.hset(f"{prefix}s:bad", field, garbage)
            (message,) = ask(store, r.Inbox("victim"))
            assert message.kind == "unreadable"
            assert {each.name for each in ask(store, r.Workers())} == {"bad", "good"}
            assert {each.id for each in ask(store, r.ListSchedules())} == {"bad", "good"}
            claims = ask(store, r.Claim("n" + garbage.hex(), "w", ("default",), LANES, 10, 30.0))
            assert claims.outbox == ()
            assert "good" in {each.id for each in claims.schedules}
        client.delete(f"{prefix}s:bad")
        client.set(f"{prefix}s:bad", "x")
        assert {each.id for each in ask(store, r.ListSchedules())} == {"bad", "good"}
        assert ask(store, r.DropSchedule("bad", 0)).applied
        assert {each.id for each in ask(store, r.ListSchedules())} == {"good"}
