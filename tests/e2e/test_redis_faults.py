"""Redis fails in every way it can: restarts, lost scripts, cut connections, failovers. Nothing is lost, nothing happens twice."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from redis.connection import Connection

from replay.backends.redis import RedisStore, open_store
from replay.core import requests as r
from replay.core.errors import ExecutionEnded, StoreUnavailable
from tests.asking import ask
from tests.servers.process import PATIENCE, until
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisCluster, RedisSentinel, RedisServer

_fresh = itertools.count()
WF = (("wf", ""),)


@pytest.fixture
def namespace() -> str:
    return f"faults{os.getpid()}-{next(_fresh)}"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of the test's own, which it may kill."""
    with RedisServer(appendfsync="always") as server:
        yield server


def begin(store: RedisStore, id: str) -> None:
    """Make an execution and lease it under the nonce `n-ID`."""
    store.apply([r.Create(id, "wf", b"1"), r.Claim(f"n-{id}", "w", ("default",), WF, 10, 600.0)])


def patiently(store: RedisStore, request: r.Request[Any]) -> Any:
    """Ask a store of little patience until the server, which may be busy, answers in time."""
    replies: list[Any] = []

    def is_answered() -> bool:
        with contextlib.suppress(StoreUnavailable):
            replies.append(ask(store, request))
        return bool(replies)

    until(is_answered, what=f"an answer to {request}")
    return replies[0]


def step(store: RedisStore, id: str, n: int) -> r.Committed:
    """Commit step *n* of an execution."""
    return ask(store, commit_of(id, n))  # type: ignore[no-any-return]


def commit_of(id: str, n: int) -> r.Commit:
    return r.Commit(id, f"n-{id}", n, f"{id}-{n}", r.KeepLease(600.0), (b"step %d" % n,))


# --- scripts ------------------------------------------------------------------------------------------------------


def test_scripts_that_the_server_forgot_are_sent_again_in_their_order(server: RedisServer) -> None:
    with contextlib.closing(open_store(server.url)) as store:
        begin(store, "x")
        for n in range(5):
            server.run("SCRIPT", "FLUSH")
            commit = r.Commit("x", "n-x", n, f"c{n}", r.KeepLease(600.0), (b"e",))
            _, header, log, _ = store.apply([commit, r.Get("x"), r.Load("x"), r.Deliver("x", f"m{n}", "signal", "s")])
            assert header.length == len(log) == n + 1
        assert len(ask(store, r.Inbox("x"))) == 5


# --- outages -------------------------------------------------------------------------------------------------------


def test_a_server_that_was_killed_has_everything_that_was_answered(server: RedisServer) -> None:
    with contextlib.closing(open_store(server.url)) as store:
        begin(store, "x")
        done, stop = 0, threading.Event()

        def work() -> None:
            nonlocal done
            while not stop.is_set():
                step(store, "x", done)
                done += 1

        thread = threading.Thread(target=work)
        thread.start()
        for kill in range(5):
            until(lambda reach=50 * (kill + 1): done >= reach or not thread.is_alive(), what="steps")
            server.restart()
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert ask(store, r.Load("x")) == [b"step %d" % n for n in range(done)]


def test_a_paused_server_makes_the_store_unavailable_and_later_all_is_well(server: RedisServer) -> None:
    with contextlib.closing(open_store(server.url)) as patient:
        begin(patient, "x")
    with contextlib.closing(open_store(server.url, deadline=0.2, socket_timeout=0.2)) as store:
        patiently(store, r.Get("x"))
        server.pause()
        with pytest.raises(StoreUnavailable):
            step(store, "x", 0)
        server.resume()
        patiently(store, commit_of("x", 0))  # perhaps for the second time
        assert ask(store, r.Load("x")) == [b"step 0"]


@pytest.mark.parametrize("after", [False, True], ids=["before it was served", "after it was served"])
def test_a_request_whose_connection_is_cut_happens_once(server: RedisServer, after: bool) -> None:
    with (
        Proxy(server.host, server.port) as proxy,
        contextlib.closing(open_store(f"redis://{proxy.host}:{proxy.port}")) as store,
    ):
        begin(store, "x")
        parked = r.Suspend("sleeping", None, 600.0)
        proxy.cut_next(after=after, containing=b"EVALSHA")
        assert ask(store, r.Create("y", "other", b"1")).header.id == "y"
        for n in range(10):
            proxy.cut_next(after=after, containing=b"EVALSHA")
            assert not step(store, "x", n).parked
            proxy.cut_next(after=after, containing=b"EVALSHA")
            ask(store, r.Deliver("x", f"m{n}", "signal", "s", b"[]"))
        proxy.cut_next(after=after, containing=b"EVALSHA")
        messages = ask(store, r.Commit("x", "n-x", 10, "park", parked)).messages
        assert [message.seq for message in messages] == list(range(1, 11))
        proxy.cut_next(after=after, containing=b"EVALSHA")
        ended = r.Commit("x", "n-x", 10, "end", r.End("completed", b"1"), consumed=tuple(range(1, 11)), seen=10)
        assert ask(store, ended).parked
        assert proxy.cuts == 23
        assert ask(store, r.Load("x")) == [b"step %d" % n for n in range(10)]
        assert ask(store, r.Count()) == {"completed": 1, "pending": 1}


def test_a_message_whose_answer_is_lost_was_accepted_though_the_execution_has_ended(server: RedisServer) -> None:
    with (
        Proxy(server.host, server.port) as proxy,
        contextlib.closing(open_store(f"redis://{proxy.host}:{proxy.port}")) as store,
    ):
        store.apply([r.Create("x", "wf", b"1"), r.Create("y", "wf", b"1")])
        proxy.cut_next(after=True, containing=b"EVALSHA")
        assert ask(store, r.Deliver("x", "c", "cancel")).duplicate  # this very cancel ended it
        assert proxy.cuts == 1
        begin(store, "z")
        ask(store, r.Deliver("y", "m", "signal", "s"))
        end = r.Commit("y", "n-z", 0, "end", r.End("completed", b"1"))
        assert ask(store, end).parked
        assert ask(store, r.Deliver("y", "m", "signal", "s")).duplicate
        for late in (r.Deliver("x", "another", "cancel"), r.Deliver("y", "m", "cancel")):
            with pytest.raises(ExecutionEnded):
                ask(store, late)


def test_a_claim_whose_answer_is_lost_is_answered_again(server: RedisServer) -> None:
    with (
        Proxy(server.host, server.port) as proxy,
        contextlib.closing(open_store(f"redis://{proxy.host}:{proxy.port}?shards=4")) as store,
    ):
        store.apply([r.Create(f"x{n}", "wf", b"1") for n in range(20)])
        taken: list[str] = []
        for n in range(4):
            proxy.cut_next(after=True, containing=b"EVALSHA")
            claims = ask(store, r.Claim(f"n{n}", "w", ("default",), WF, 7, 600.0))
            taken += [claimed.header.id for claimed in claims.claimed]
        assert sorted(taken) == sorted(f"x{n}" for n in range(20))


def test_a_slow_reply_is_not_taken_for_the_next_one(server: RedisServer) -> None:
    with (
        Proxy(server.host, server.port) as proxy,
        contextlib.closing(
            open_store(f"redis://{proxy.host}:{proxy.port}", socket_timeout=0.15, deadline=0.1)
        ) as store,
    ):
        for id, input in (("x", b"1"), ("y", b"2")):
            patiently(store, r.Create(id, "wf", input))
        proxy.delay = 0.3
        with pytest.raises(StoreUnavailable):
            ask(store, r.Get("x"))
        proxy.delay = 0.0
        for id, input in (("y", b"2"), ("x", b"1"), ("y", b"2")):
            assert patiently(store, r.Get(id)).input == input


def test_a_server_without_memory_refuses_whole_transitions(server: RedisServer) -> None:
    with contextlib.closing(open_store(server.url, deadline=0.1)) as store:
        begin(store, "x")
        before = ask(store, r.Get("x"))
        server.run("CONFIG", "SET", "maxmemory", "1")
        for request in (
            r.Commit("x", "n-x", 0, "c", r.KeepLease(600.0), (b"e",)),
            r.Commit("x", "n-x", 0, "c", r.End("completed")),
            r.Commit("x", "n-x", 0, "c", r.Suspend("sleeping", 1.0, 600.0), current=b"[1]"),
            r.Deliver("x", "m", "signal"),
            r.Deliver("x", "m", "cancel"),
            r.RenewLeases((r.LeaseRef("x", "n-x", 0),), 9000.0),
            r.Amend("x", "a", ("running",), 0),
            r.Amend("x", "a", ("running",), 0, (b"e",), r.End("failed")),
            r.Create("y", "wf", b"1"),
            r.PutSchedule(r.Schedule("s", "wf", b"{}"), 0, (r.Create("y", "wf", b"1"),), ("x",)),
        ):
            with pytest.raises(StoreUnavailable):
                ask(store, request)
        server.run("CONFIG", "SET", "maxmemory", "0")
        assert store.apply([r.Get("x"), r.Get("y"), r.Inbox("x"), r.Load("x"), r.GetSchedule("s")]) == [
            before,
            None,
            (),
            [],
            None,
        ]
        step(store, "x", 0)


def test_after_a_failover_the_store_goes_on_with_the_promoted_replica(
    redis_sentinel: RedisSentinel, namespace: str
) -> None:
    url = f"{redis_sentinel.url}?ack_replicas=1&deadline={PATIENCE:g}"
    with contextlib.closing(open_store(url, namespace=namespace)) as store:
        begin(store, "x")
        for n in range(20):
            step(store, "x", n)
        redis_sentinel.failover()
        relaxed = open_store(f"{redis_sentinel.url}?deadline={PATIENCE:g}", namespace=namespace)
        with contextlib.closing(relaxed):
            for n in range(20, 30):
                step(relaxed, "x", n)
        redis_sentinel.settle()
        for n in range(30, 40):
            step(store, "x", n)
        assert ask(store, r.Load("x")) == [b"step %d" % n for n in range(40)]


def test_without_a_replica_to_acknowledge_the_answer_is_refused(server: RedisServer) -> None:
    with contextlib.closing(open_store(server.url)) as plain:
        begin(plain, "x")
    url = f"{server.url}?ack_replicas=1&socket_timeout=4&deadline=0.1"
    with contextlib.closing(open_store(url)) as store:  # it opens for reading
        assert ask(store, r.Get("x")) is not None
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            store.apply([r.Create("y", "wf", b"1")])


def test_a_cluster_that_loses_a_master_for_a_while_loses_nothing(redis_cluster: RedisCluster, namespace: str) -> None:
    ids = [f"x{n}" for n in range(12)]
    with contextlib.closing(open_store(f"{redis_cluster.url}?deadline={PATIENCE:g}", namespace=namespace)) as store:
        store.apply([r.Create(id, "wf", b"1") for id in ids])
        victim = redis_cluster.masters[1]
        victim.pause()
        resumed = threading.Timer(0.3, victim.resume)
        resumed.start()
        claims = ask(store, r.Claim("n", "w", ("default",), WF, 12, 600.0))
        resumed.join()
        assert sorted(c.header.id for c in claims.claimed) == sorted(ids)
        commits = [r.Commit(id, "n", 0, f"c{id}", r.End("completed", b"1"), (b"e",)) for id in ids]
        assert all(isinstance(reply, r.Committed) and reply.parked for reply in store.apply(commits))
        assert ask(store, r.Count()) == {"completed": 12}


# --- round trips ------------------------------------------------------------------------------------------------------


class Counting(Connection):
    """Counts what is sent at once; a batch that waits for no reply in between is one round trip."""

    trips = 0

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        Counting.trips += 1
        super().send_packed_command(command, check_health)


def test_a_batch_is_one_round_trip_however_many_requests_it_holds(redis_server: RedisServer, namespace: str) -> None:
    with contextlib.closing(open_store(redis_server.url, namespace=namespace, connect=Counting)) as store:
        store.apply([r.Ping()])

        def trips(*requests: r.Request[Any]) -> int:
            before = Counting.trips
            store.apply(requests)
            return Counting.trips - before

        assert trips(*(r.Create(f"x{n}", "wf", b"1") for n in range(50))) == 1
        assert trips(r.Claim("n", "w", ("default",), WF, 50, 600.0)) == 1
        assert trips(*(r.Commit(f"x{n}", "n", 0, f"c{n}", r.KeepLease(600.0), (b"e",) * 20) for n in range(50))) == 1
        assert trips(r.Load("x0"), r.Get("x1"), r.Inbox("x2"), r.Count(), r.Find(limit=10)) == 1
        assert trips(r.Commit("x0", "n", 20, "end", r.End("completed"), creates=(r.Create("y", "wf", b""),))) == 1
