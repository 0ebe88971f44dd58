"""What is Redis's own about the store in Redis, and that it agrees with the memory store request by request."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from replay import requests as r
from replay.backends.memory import MemoryStore
from replay.backends.redis import RedisStore, open_store
from replay.core.errors import ConfigError, StoreUnavailable, Undecodable
from tests.servers.ports import free_port
from tests.servers.redis import RedisCluster, RedisServer

_fresh = itertools.count()
LANES = (("wf", ""), ("other", "2"))


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def now(self) -> float:
        return self.at


@pytest.fixture
def namespace() -> str:
    return f"store{os.getpid()}-{next(_fresh)}"


@pytest.fixture(params=["one shard", "four shards", "cluster"])
def open_one(request: pytest.FixtureRequest, namespace: str) -> Callable[..., RedisStore]:
    """Give the function that opens a store, on each shape of Redis in turn."""
    if request.param == "cluster":
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        return lambda **options: open_store(cluster.url, namespace=namespace, **options)
    server: RedisServer = request.getfixturevalue("redis_server")
    shards = 1 if request.param == "one shard" else 4
    return lambda **options: open_store(server.url, namespace=namespace, shards=shards, **options)


@pytest.fixture
def store(redis_server: RedisServer, namespace: str) -> Iterator[RedisStore]:
    with contextlib.closing(open_store(redis_server.url, namespace=namespace)) as store:
        yield store


@pytest.fixture
def spread(redis_cluster: RedisCluster, namespace: str) -> Iterator[RedisStore]:
    with contextlib.closing(open_store(redis_cluster.url, namespace=namespace)) as store:
        yield store


def ask(store: Any, request: r.Request[Any]) -> Any:
    (reply,) = store.apply([request])
    if isinstance(reply, Exception):
        raise reply
    return reply


def claim(store: Any, nonce: str, limit: int = 100, **options: Any) -> r.Claims:
    return ask(store, r.Claim(nonce, "w", ("default",), LANES, limit, 30.0, **options))  # type: ignore[no-any-return]


def apart(store: RedisStore, prefix: str) -> Iterator[str]:
    """Yield ids that live on different shards."""
    seen = set()
    for n in itertools.count():
        shard = store._shards.of(f"{prefix}{n}")
        if shard not in seen:
            seen.add(shard)
            yield f"{prefix}{n}"


# --- agreement ----------------------------------------------------------------------------------------------------


class Script:
    """Draws requests of all kinds that concern few ids, so that they meet."""

    def __init__(self, seed: int, *, limits: bool) -> None:
        self.random = random.Random(seed)
        self.limits = limits
        self.ids = [f"x{i}" for i in range(5)] + ["x0~a", "x1~b"]
        self.nonces: list[str] = []
        self.leases: dict[str, r.Claimed] = {}
        self.lengths: dict[str, int] = {}
        self.last: list[r.Request[Any]] = []
        self.serial = itertools.count()

    def learn(self, request: r.Request[Any], reply: Any) -> None:
        if isinstance(request, r.Claim) and not reply.claimed:
            self.last = [each for each in self.last if each is not request]  # repeating a claim that took nothing may take something
        if isinstance(reply, r.Claims):
            for claimed in reply.claimed:
                self.leases[claimed.header.id] = claimed
                self.lengths[claimed.header.id] = claimed.header.length
        if isinstance(request, r.Commit) and isinstance(reply, r.Committed):
            restart = isinstance(request.then, r.Restart)
            self.lengths[request.id] = 0 if restart else request.expected + len(request.entries)

    def next(self) -> r.Request[Any]:
        draw = self.random
        if self.last and draw.random() < 0.1:
            return draw.choice(self.last)
        kinds: list[Callable[[], r.Request[Any]]] = [
            self.create, self.claim, self.commit, self.commit, self.commit, self.deliver, self.deliver, self.watch, self.beat,
            self.amend, self.find, self.find, self.put, self.small,
        ]  # fmt: skip
        request = draw.choice(kinds)()
        # A claim is remembered while its leases last, so only the latest request may be a claim that is repeated.
        self.last = [*(each for each in self.last[-5:] if not isinstance(each, r.Claim)), request]
        return request

    def create(self, *, child_of: str | None = None) -> r.Create:
        draw, workflow = self.random, self.random.choice(LANES)
        return r.Create(
            draw.choice(self.ids), workflow[0], b'{"n":1}', workflow[1],
            at=draw.choice([None, None, 1_700_000_000.0 + draw.randrange(400)]), timeout=draw.choice([None, 60.5]),
            parent_id=child_of or draw.choice([None, None, *self.ids]), metadata=draw.choice([b"{}", b'{"k":"v"}']),
            priority=draw.choice([0, 0, 1]), retention=draw.choice([None, 5.0]),
            entries=draw.choice([(), (), (b"forked",)]), amendments=draw.choice([0, 2]),
        )  # fmt: skip

    def claim(self) -> r.Claim:
        draw = self.random
        # Which of several that are due at the same instant comes first is the store's choice: with limits, none are.
        revive = not self.limits and draw.random() < 0.2
        limit = 1 if self.limits else 100
        nonce = f"n{next(self.serial)}"
        workflows = draw.choice([LANES, LANES, LANES[:1]])
        return r.Claim(nonce, "w", ("default",), workflows, limit, draw.choice([10.0, 30.0]), revive)

    def commit(self) -> r.Request[Any]:
        draw = self.random
        if not self.leases:
            return self.claim()
        id = draw.choice(sorted(self.leases))
        held = self.leases[id]
        then: Any = draw.choice(
            [r.Keep(30.0), r.Keep(30.0), r.Park("sleeping", None, 30.0), r.Park("retrying", 1_700_000_100.5, 30.0),
             r.Park("stuck", 1_700_000_900.0, 30.0), r.Yield(), r.End("completed", b"[1.0]"), r.End("failed", None, b'"no"'), r.Restart(b"2")]
        )  # fmt: skip
        seen = draw.choice([0, held.header.arrivals, held.header.arrivals])
        consumed = tuple(m.seq for m in held.messages[: draw.randrange(3)])
        creates = draw.choice([(), (), (self.create(child_of=id),)])
        return r.Commit(
            id, held.header.token or "", self.lengths[id] + draw.choice([0] * 9 + [1]), f"c{next(self.serial)}", then,
            draw.choice([(), (b"e1",), (b"e2", b"\x00\xff" * 40)]), consumed, seen, creates,
            draw.choice([(), (), (draw.choice(self.ids),)]), draw.choice([None, b'[{"kind":"sleep","id":"a longer text than most"}]']),
            draw.choice([None, 2]), draw.choice([0, 1]),
        )  # fmt: skip

    def deliver(self) -> r.Deliver:
        draw = self.random
        kind = draw.choice(["signal", "signal", "cancel"])
        return r.Deliver(draw.choice(self.ids), f"m{draw.randrange(9)}", kind, "approved", draw.choice([b"[]", b"{}", b"\x1f1\x1f"]))

    def watch(self) -> r.Watch:
        return r.Watch(*self.random.sample(self.ids, 2))

    def beat(self) -> r.Request[Any]:
        if self.limits:
            return self.claim()
        tokens = [(id, held.header.token or "") for id, held in sorted(self.leases.items())]
        return r.Beat(tuple(r.Held(id, token, self.random.randrange(3)) for id, token in tokens), 30.0)

    def amend(self) -> r.Amend:
        draw, id = self.random, self.random.choice(self.ids)
        statuses = draw.choice([("failed", "cancelled"), ("stuck", "completed", "running"), ("pending",)])
        then = draw.choice([None, None, r.End("failed", None, b'"by hand"')])
        expected = self.lengths.get(id, 0)
        return r.Amend(id, f"a{next(self.serial)}", statuses, expected, draw.choice([(), (b"note",)]), then, draw.choice([None, 3]), 1)

    def find(self) -> r.Find:
        draw = self.random
        edge = 1_700_000_000.0 + draw.randrange(300)
        return r.Find(
            statuses=draw.choice([(), (), ("pending", "sleeping"), ("completed",)]), workflow=draw.choice([None, None, "wf"]),
            parent_id=draw.choice([None, None, None, "x0"]), id_prefix=draw.choice([None, None, "x1"]),
            created_after=draw.choice([None, None, edge]), created_before=draw.choice([None, None, edge]),
            updated_after=draw.choice([None, None, edge]), updated_before=draw.choice([None, None, edge]),
            due_before=draw.choice([None, None, edge]), metadata=draw.choice([(), (), (("k", b'"v"'),)]), limit=draw.choice([2, 100]),
        )  # fmt: skip

    def put(self) -> r.Request[Any]:
        draw, id = self.random, self.random.choice(["daily", "hourly"])
        if draw.random() < 0.2:
            return r.DropSchedule(id, draw.randrange(4))
        next_at = draw.choice([None, 1_700_000_000.0 + draw.randrange(300)])
        row = r.Schedule(id, draw.choice(["wf", "other"]), b"spec", b'{"n":[]}', next_at, draw.random() < 0.2)
        return r.PutSchedule(row, draw.randrange(4), draw.choice([(), (self.create(),)]), draw.choice([(), (draw.choice(self.ids),)]))

    def small(self) -> r.Request[Any]:
        draw, id = self.random, self.random.choice(self.ids)
        return draw.choice(
            [r.Get(id), r.Load(id), r.Load(id, 1), r.Inbox(id), r.Count(), r.Count("wf"), r.Delete(id), r.Purge(100), r.Ping(),
             r.GetSchedule("daily"), r.ListSchedules(), r.ListSchedules("daily", 1), r.Register(r.WorkerRow("w1", b"{}"), 20.0), r.Workers()]
        )  # fmt: skip


def comparable(request: r.Request[Any], reply: Any) -> Any:
    """Return *reply* without what stores may choose: the wording of refusals, the order of sets."""
    if isinstance(reply, Exception):
        return type(reply)
    if isinstance(reply, r.Claims):
        # A claim of part of what is due, from several shards, may end at another instant that is known to be due.
        return attrs.evolve(reply, claimed=tuple(sorted(reply.claimed, key=lambda c: c.header.id)), outbox=())
    if isinstance(reply, r.Beats):
        return attrs.evolve(reply, lost=tuple(sorted(reply.lost)), news=tuple(sorted(reply.news)))
    if hasattr(reply, "woken"):
        return attrs.evolve(reply, woken=tuple(sorted(reply.woken)))
    return reply


@pytest.mark.parametrize("seed", range(12))
def test_it_answers_like_the_memory_store(open_one: Callable[..., RedisStore], seed: int) -> None:
    clock = Clock()
    model = MemoryStore(clock)
    with contextlib.closing(open_one(clock=clock)) as store:
        script = Script(seed, limits=store._shards.count == 1 and seed % 2 == 0)
        done: list[Any] = []
        for _ in range(250):
            clock.at += script.random.choice([0.25, 0.25, 1.0, 7.5])
            request = script.next()
            expected, found = ask_both(model, store, request)
            done.append((request, expected))
            assert found == expected, "\n".join(map(str, done[-12:]))
            script.learn(request, expected)
            # And with nothing else hidden:
            for id in script.ids if script.random.random() < 0.1 else ():
                assert store.apply([r.Get(id)]) == model.apply([r.Get(id)]), "\n".join(map(str, done[-12:]))


def ask_both(model: MemoryStore, store: RedisStore, request: r.Request[Any]) -> tuple[Any, Any]:
    expected, found = model.apply([request])[0], store.apply([request])[0]
    if isinstance(expected, r.Found) and expected.cursor and expected != found:
        return expected, found
    while isinstance(expected, r.Found) and isinstance(request, r.Find) and expected.cursor and expected == found:
        request = attrs.evolve(request, cursor=expected.cursor)
        expected, found = model.apply([request])[0], store.apply([request])[0]
    return comparable(request, expected), comparable(request, found)
