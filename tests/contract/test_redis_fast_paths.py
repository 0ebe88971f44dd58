"""Every fast path of the Redis store leaves the same keys and gives the same replies as the full path; and this test can fail."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.backends.redis import RedisStore, open_store
from replay.backends.redis.connection import Connection
from replay.backends.redis.handlers import Handlers
from replay.backends.redis.round_trips import together
from replay.backends.redis.scripts import Script, _pack_plainly, load_scripts, pack
from replay.backends.redis.shards import Shards
from replay.backends.redis.url import read_url
from replay.core import requests as r
from replay.testing.simulation.clock import VirtualClock
from tests.servers.redis import RedisServer

_fresh = itertools.count()
LEASE = 10.0
EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

Step = tuple[str, Any]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), st.lists(st.sampled_from([b"[1]", b"", b"\x00\xff"]), max_size=3).map(tuple)),
        st.tuples(st.just("keep"), st.just((b"e",) * 2_500)),
        st.tuples(
            st.sampled_from(["repeat", "fenced", "longer", "gone", "lose", "deliver", "beat", "suspend"]), st.none()
        ),
        st.tuples(st.just("seen"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.1, 2.5, 7.4, 7.5, 7.6, 11.0])),
    ),
    max_size=12,
)
"""Requests around the commits of one execution, and waits in seconds."""


class Side:
    """A namespace of its own on the server, with its own clock, that runs commits by one of the paths."""

    def __init__(self, url: str, scripts: dict[str, Script], *, fast: bool) -> None:
        self.namespace = f"fast{os.getpid()}-{next(_fresh)}"
        self.clock = VirtualClock()
        self.connection = Connection(read_url(url), list(scripts.values()))
        self.handlers = Handlers(Shards(self.namespace, 1, scripts), self.clock, fast=fast)

    def ask(self, request: r.Request[Any]) -> Any:
        batch = together([self.handlers.start(request, lambda shard, items: None)])
        calls = next(batch)
        while True:
            try:
                calls = batch.send(self.connection.perform(calls))
            except StopIteration as end:
                return end.value[0]

    def keys(self, client: Any) -> dict[str, Any]:
        """Return all keys with their whole values."""
        tag = f"{{{self.namespace}:0}}:"
        read = {
            b"hash": client.hgetall,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        }
        found = sorted(client.scan_iter(match=f"{tag}*", count=1000))
        return {key.decode().removeprefix(tag): read[client.type(key)](key) for key in found}


def play(server: RedisServer, scripts: Mapping[str, Script], steps: list[Step], priority: int) -> None:
    """Put the same requests to both paths. Compare the replies after each step, and all keys at the end."""
    sides = [Side(server.url, load_scripts(), fast=False), Side(server.url, dict(scripts), fast=True)]
    with contextlib.closing(server.client()) as client:
        try:
            Driver(sides, priority).play(steps)
            full, fast = (side.keys(client) for side in sides)
            assert fast == full
        finally:
            for side in sides:
                side.connection.close()
                client.delete(*client.scan_iter(match=f"{{{side.namespace}:0}}:*", count=1000) or ["none"])


class Driver:
    """Turns steps into requests, the same for both sides."""

    def __init__(self, sides: list[Side], priority: int) -> None:
        self.sides = sides
        self.length = self.number = self.seen = 0
        self.token = "n0"
        self.last: r.Commit | None = None
        self.ask(r.Create("a", "wf", b"1", priority=priority))
        self.claim()

    def ask(self, request: r.Request[Any]) -> Any:
        full, fast = (side.ask(request) for side in self.sides)
        assert (type(fast), str(fast)) == (type(full), str(full)), request
        return full

    def claim(self) -> None:
        self.number += 1
        nonce = f"n{self.number}"
        for claimed in self.ask(r.Claim(nonce, "w", ("default",), (("wf", ""),), 5, LEASE)).claimed:
            self.token, self.length = nonce, claimed.header.length

    def keep(self, entries: tuple[bytes, ...], **changes: Any) -> None:
        self.number += 1
        commit = r.Commit("a", self.token, self.length, f"c{self.number}", r.KeepLease(LEASE), entries, seen=self.seen)
        self.last = msgspec.structs.replace(commit, **changes)
        if isinstance(self.ask(self.last), r.Committed):
            self.length += len(entries)

    def play(self, steps: list[Step]) -> None:
        for kind, value in steps:
            self.step(kind, value)

    def step(self, kind: str, value: Any) -> None:
        match kind:
            case "keep":
                self.keep(value)
            case "repeat" if self.last is not None:
                self.ask(self.last)
            case "fenced":
                self.keep((b"x",), token="other")
            case "longer":
                self.keep((b"x",), expected=self.length + 1)
            case "gone":
                self.keep((b"x",), id="b")
            case "lose":
                self.wait(LEASE + 1)
                self.claim()
            case "deliver":
                self.number += 1
                self.ask(r.Deliver("a", f"m{self.number}", "signal", "go", b"[]"))
            case "beat":
                self.ask(r.RenewLeases((r.LeaseRef("a", self.token, self.seen),), LEASE))
            case "suspend":
                self.number += 1
                then = r.Suspend("sleeping", None, LEASE)
                self.ask(r.Commit("a", self.token, self.length, f"c{self.number}", then, seen=self.seen))
                self.ask(r.Deliver("a", f"m{self.number}", "signal", "go", b"[]"))
                self.claim()
            case "seen":
                self.seen = value
            case "wait":
                self.wait(value)

    def wait(self, seconds: float) -> None:
        for side in self.sides:
            side.clock.move_to(side.clock.now() + seconds)


@EXAMPLES
@given(steps=STEPS, priority=st.sampled_from([0, 0, 2]))
def test_a_kept_lease_leaves_what_the_full_commit_leaves(
    redis_server: RedisServer, steps: list[Step], priority: int
) -> None:
    play(redis_server, load_scripts(), steps, priority)


MUTANTS = {
    "lost is not reset": (b"if h[6] then call('HDEL', e, 'lost') end", b"", [("lose", None), ("keep", (b"e",))]),
    "the lease is not renewed": (b"call('HSET', e, 'due', score)", b"", [("wait", 7.6), ("keep", (b"e",))]),
    "the lane is not moved": (
        b"call('ZADD', T .. 'd:'",
        b"call('ZCOUNT', T .. 'd:'",
        [("wait", 7.6), ("keep", (b"e",))],
    ),
    "the lease is renewed too late": (b"lease * LEASE_LEFT", b"lease * 0.25", [("wait", 7.4), ("keep", (b"e",))]),
    "the timer is not moved": (b"call('ZADD', T .. 't', score, id)", b"", [("wait", 7.6), ("keep", (b"e",))]),
    "the last change is not indexed": (b"call('ZADD', T .. 'u', NOW, id)", b"", [("wait", 1.0), ("keep", (b"e",))]),
    "the length is off": (b"length + n - entries + 1", b"length + n - entries", [("keep", (b"e",))]),
    "entries of a long batch are lost": (b"from + 999", b"from + 998", [("keep", (b"e",) * 2_500)]),
    "messages are not returned": (b"arrivals <= seen", b"true", [("deliver", None), ("keep", (b"e",))]),
    "anybody may commit": (b"if h[1]~=token then\nreturn { 'F'", b"if false then\nreturn { 'F'", [("fenced", None)]),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_fast_path_with_a_bug_is_found(redis_server: RedisServer, name: str) -> None:
    old, new, steps = MUTANTS[name]
    scripts = load_scripts()
    play(redis_server, scripts, steps, 2)
    text = scripts["keep"].text.replace(old, new)
    assert text != scripts["keep"].text
    with pytest.raises(AssertionError):
        play(redis_server, scripts | {"keep": mutant(scripts["keep"], text)}, steps, 2)


def mutant(script: Script, text: bytes) -> Script:
    import hashlib

    sha = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    return attrs.evolve(script, text=text, sha=sha)


# --- replies that are not read back from the server ------------------------------------------------------------------


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    with contextlib.closing(open_store(redis_server.url, namespace=f"fast{os.getpid()}-{next(_fresh)}")) as store:
        yield store


def test_the_header_of_a_new_execution_is_the_stored_one(store: RedisStore) -> None:
    now = store.apply([r.Ping()])[0]
    creates = [
        r.Create("a", "wf", b"1"),
        r.Create("b", "wf", b"[]", "2", "mail", at=now + 60.1, timeout=3.3, priority=3, retention=1.5),
        r.Create("c", "wf", b"1", at=now - 60.1, timeout=0.1, parent_id="a", metadata=b'{"k":1}', amendments=2),
        r.Create("d", "wf", b"1", priority=2, entries=(b"1", b"2")),
    ]
    for create in creates:
        created, stored = store.apply([create, r.Get(create.id)])
        assert created.fresh
        assert created.header == stored


def test_the_row_of_a_written_schedule_is_the_stored_one(store: RedisStore) -> None:
    rows = [r.Schedule("s", "wf", b"{}", b'{"n":1}', 1.1), r.Schedule("s", "wf", b"[]", paused=True, version=9)]
    for expected, row in enumerate(rows):
        written, stored = store.apply([r.PutSchedule(row, expected), r.GetSchedule("s")])
        assert written.applied
        assert written.row == stored


def test_one_request_alone_is_answered_as_in_a_batch(store: RedisStore) -> None:
    questions = [r.Get("a"), r.Load("a"), r.Inbox("none"), r.Deliver("none", "m", "signal"), r.Count()]
    store.apply([r.Create("a", "wf", b"1", entries=(b"1",))])
    alone = [store.apply([question])[0] for question in questions]
    assert [str(reply) for reply in alone] == [str(reply) for reply in store.apply(questions)]


@settings(max_examples=200, deadline=None)
@given(
    command=st.lists(st.one_of(st.binary(), st.text().filter(str.isprintable), st.integers()), min_size=1).map(tuple)
)
def test_commands_are_packed_as_hiredis_packs_them(command: tuple[bytes | str | int, ...]) -> None:
    assert pack(command) == _pack_plainly(command)
