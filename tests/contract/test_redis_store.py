"""What is Redis's own about the store in Redis (that it agrees with the memory store is tested beside this)."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from replay.backends.redis import RedisStore, open_store
from replay.core import requests as r
from replay.core.errors import ConfigError, StoreUnavailable, Undecodable
from replay.testing.simulation.clock import VirtualClock
from tests.asking import ask
from tests.servers.ports import free_port
from tests.servers.redis import RedisCluster, RedisServer

_fresh = itertools.count()
LANES = (("wf", ""), ("other", "2"))


@pytest.fixture
def namespace() -> str:
    return f"store{os.getpid()}-{next(_fresh)}"


@pytest.fixture
def store(redis_server: RedisServer, namespace: str) -> Iterator[RedisStore]:
    with contextlib.closing(open_store(redis_server.url, namespace=namespace)) as store:
        yield store


@pytest.fixture
def spread(redis_cluster: RedisCluster, namespace: str) -> Iterator[RedisStore]:
    with contextlib.closing(open_store(redis_cluster.url, namespace=namespace)) as store:
        yield store


def claim(store: Any, nonce: str, limit: int = 100, **options: Any) -> r.Claims:
    return ask(store, r.Claim(nonce, "w", ("default",), LANES, limit, 30.0, **options))  # type: ignore[no-any-return]


def apart(store: RedisStore, prefix: str) -> Iterator[str]:
    """Yield ids that live on different shards."""
    seen = set()
    for n in itertools.count():
        shard = store._handlers.shards.of(f"{prefix}{n}")
        if shard not in seen:
            seen.add(shard)
            yield f"{prefix}{n}"


# --- shards --------------------------------------------------------------------------------------------------------


def test_a_child_on_another_shard_is_made_and_its_end_is_told(spread: RedisStore) -> None:
    parent, child = itertools.islice(apart(spread, "p"), 2)
    ask(spread, r.Create(parent, "wf", b"1"))
    claim(spread, "n1")
    committed = ask(spread, r.Commit(parent, "n1", 0, "c1", r.Suspend("sleeping", None, 30.0), (b"e",), creates=(
        r.Create(child, "wf", b"2", parent_id=parent, queue="emails"),)))  # fmt: skip
    assert committed.woken == ("emails",)
    ask(spread, r.Claim("n2", "w", ("emails",), LANES, 5, 30.0))
    ended = ask(spread, r.Commit(child, "n2", 0, "c2", r.End("completed", b'{"a":[]}')))
    assert ended.woken == ("default",)
    (message,) = ask(spread, r.Inbox(parent))
    assert (message.kind, message.name) == ("ended", child)
    assert message.payload == b'{"status":"completed","result":{"a":[]},"error":null}'
    assert claim(spread, "n3").claimed[0].messages == (message,)


def test_what_a_dead_process_owed_to_other_shards_is_handed_to_a_claimer(
    redis_cluster: RedisCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    with contextlib.closing(open_store(redis_cluster.url, namespace=namespace, clock=clock)) as store:
        parent, child, cancelled = itertools.islice(apart(store, "p"), 3)
        store.apply([r.Create(parent, "wf", b"1"), r.Create(cancelled, "none", b"1", parent_id=parent)])
        claim(store, "n1")
        commit = r.Commit(
            parent,
            "n1",
            0,
            "c1",
            r.KeepLease(60.0),
            (b"e",),
            creates=(r.Create(child, "wf", b"2", parent_id=parent),),
            cancels=(cancelled,),
        )
        abandon(store, commit)
        assert ask(store, r.Get(child)) is None
        assert claim(store, "n2").outbox == ()
        clock.move_to(clock.now() + 6.0)
        owed = claim(store, "n3").outbox
        assert {type(item).__mro__[1] for item in owed} == {r.Create, r.Deliver}
        assert claim(store, "n4").outbox == (), "others do not see it for a while"
        for _ in range(2):
            store.apply(list(owed))
        assert ask(store, r.Get(child)).parent_id == parent
        assert ask(store, r.Get(cancelled)).status == "cancelled"
        store.apply([r.Forget(item) for item in owed])
        clock.move_to(clock.now() + 60.0)
        assert claim(store, "n5").outbox == ()


def abandon(store: RedisStore, request: r.Request[Any]) -> None:
    """Perform *request* and die before what it owes to other shards is delivered."""
    from replay.backends.redis.round_trips import together

    store._run(together([store._handlers.start(request, lambda shard, items: None)]))


def test_a_claim_takes_no_more_than_its_limit_from_all_shards(spread: RedisStore) -> None:
    ids = list(itertools.islice(apart(spread, "x"), 12))
    same = [f"{ids[0]}~{n}" for n in range(12)]
    spread.apply([r.Create(id, "wf", b"1") for id in [*ids, *same]])
    taken = [len(claim(spread, f"n{n}", limit=7).claimed) for n in range(5)]
    assert taken == [7, 7, 7, 3, 0]
    again = {c.header.id for n in range(5) for c in claim(spread, f"n{n}", limit=7).claimed}
    assert again == {*ids, *same}


def test_the_number_of_shards_is_fixed_by_whoever_came_first(redis_server: RedisServer, namespace: str) -> None:
    open_store(f"{redis_server.url}?shards=3", namespace=namespace).close()
    with contextlib.closing(open_store(redis_server.url, namespace=namespace)) as store:
        assert store._handlers.shards.count == 3
    with pytest.raises(ConfigError, match="3 shards"):
        open_store(redis_server.url, namespace=namespace, shards=4)


# --- what is Redis's own ---------------------------------------------------------------------------------------------


def test_a_damaged_entry_is_named(store: RedisStore, redis_server: RedisServer, namespace: str) -> None:
    ask(store, r.Create("x", "wf", b"1", entries=(b"good", b"bad", b"good")))
    with contextlib.closing(redis_server.client()) as client:
        key = f"{{{namespace}:0}}:l:x"
        client.lset(key, 1, client.lindex(key, 1).replace(b"bad", b"BAD"))
    (reply,) = store.apply([r.Load("x")])
    assert isinstance(reply, Undecodable)
    assert "'x', log entry #1" in str(reply)
    assert ask(store, r.Load("x", inspect=True)) == [b"good", r.DAMAGED, b"good"]


def test_a_log_of_many_pages_is_read_whole(store: RedisStore) -> None:
    entries = tuple(b"%d" % n for n in range(12_345))
    ask(store, r.Create("x", "wf", b"1", entries=entries))
    assert ask(store, r.Load("x")) == list(entries)
    assert ask(store, r.Load("x", 5_000)) == list(entries[5_000:])


def test_ten_thousand_executions_may_be_claimed_at_once_and_cancelled_at_once(store: RedisStore) -> None:
    ids = [f"x{n}" for n in range(10_000)]
    parents = [None, *["x0"] * 9_999]
    store.apply(
        [r.Create(id, "wf", b"1", parent_id=p, priority=1, retention=0.0) for id, p in zip(ids, parents, strict=True)]
    )
    claimed = claim(store, "n", 20_000).claimed
    assert [each.header.id for each in claimed] == [each.header.id for each in claim(store, "n", 20_000).claimed]
    ask(store, r.RenewLeases(tuple(r.LeaseRef(id, "n", 0) for id in ids), 30.0))
    store.apply([r.Deliver("x1", f"m{n}", "signal", "s") for n in range(10_000)])
    consumed = tuple(range(1, 10_001))
    end = r.Commit("x0", "n", 0, "c", r.End("completed"), cancels=tuple(ids[1:]))
    store.apply([r.Commit("x1", "n", 0, "c", r.KeepLease(30.0), consumed=consumed, seen=10_000), end])
    assert ask(store, r.Count()) == {"completed": 1, "cancelling": 9_999}
    assert len(ask(store, r.Find(limit=10_000, metadata=())).headers) == 10_000
    store.apply([r.Commit(id, "n", 0, "end", r.End("cancelled"), seen=10_001) for id in ids[1:]])
    assert ask(store, r.Purge(limit=10_000)) == 10_000


def test_ten_thousand_children_may_start_in_one_commit(store: RedisStore) -> None:
    ask(store, r.Create("x", "wf", b"1"))
    claim(store, "n")
    children = tuple(r.Create(f"x~{n}", "other", b"1", "2", parent_id="x") for n in range(10_000))
    ask(store, r.Commit("x", "n", 0, "c", r.KeepLease(30.0), (b"e",) * 10_000, creates=children))
    assert ask(store, r.Count()) == {"running": 1, "pending": 10_000}
    page = ask(store, r.Find(parent_id="x", limit=9_000))
    rest = ask(store, r.Find(parent_id="x", limit=9_000, cursor=page.cursor))
    assert {x.id for x in (*page.headers, *rest.headers)} == {c.id for c in children}


def test_deleting_leaves_no_key_of_the_execution(store: RedisStore, redis_server: RedisServer, namespace: str) -> None:
    create = r.Create("x", "wf", b"1", entries=(b"e",), priority=2, metadata=b'{"team":"red"}')
    store.apply([create, r.Deliver("x", "m", "signal", "s"), r.Deliver("x", "c", "signal")])
    store.apply([r.Create("y", "other", b"1", parent_id="x"), r.Deliver("y", "m", "cancel")])
    claim(store, "n")
    end = r.Commit("x", "n", 1, "c", r.End("completed"))
    tag = f"{{{namespace}:0}}:"
    with contextlib.closing(redis_server.client()) as client:
        assert (client.zcard(f"{tag}t"), client.ttl(f"{tag}a:x")) == (1, -1)
        store.apply([end])
        assert 0 < client.ttl(f"{tag}a:x") <= 3600
        store.apply([r.Amend("x", "again", ("completed",), 1)])
        assert client.ttl(f"{tag}a:x") == -1
        store.apply([r.Amend("x", "over", ("pending",), 1, then=r.End("failed")), r.Delete("x"), r.Delete("y")])
        left = sorted(key.split(b"}:")[1] for key in client.scan_iter(match=f"{{{namespace}:*"))
    assert left in ([b"c:n", b"lanes", b"meta", b"x"], [b"c:n", b"lanes", b"x"]), left


def test_due_schedules_are_found_behind_five_thousand_of_unknown_workflows(store: RedisStore) -> None:
    check_schedules_behind_many(store)


def test_due_schedules_are_found_behind_five_thousand_of_unknown_workflows_in_a_cluster(spread: RedisStore) -> None:
    check_schedules_behind_many(spread)


def check_schedules_behind_many(store: RedisStore) -> None:
    rows = [r.Schedule(f"s{n:04}", "unknown", b"{}", next_at=float(n)) for n in range(5_000)]
    mine = [r.Schedule(f"t{n}", "wf", b"{}", next_at=6_000.0 + n) for n in range(2)]
    store.apply([r.PutSchedule(row, 0) for row in [*rows, *mine]])
    assert [s.id for s in claim(store, "n1").schedules] == ["t0", "t1"]
    later = float(ask(store, r.Ping())) + 1000.0
    ask(store, r.PutSchedule(msgspec.structs.replace(mine[0], next_at=later), 1))
    ask(store, r.PutSchedule(msgspec.structs.replace(mine[1], paused=True), 1))
    reply = claim(store, "n2")
    assert (reply.schedules, reply.next_due) == ((), later)
    ask(store, r.DropSchedule("t0", 2))
    ask(store, r.PutSchedule(msgspec.structs.replace(mine[1], workflow="other"), 2))
    reply = claim(store, "n3")
    assert [(s.id, s.workflow) for s in reply.schedules] == [("t1", "other")]
    assert reply.next_due is None


def test_the_sixteen_earliest_schedules_of_all_known_workflows_are_claimed(store: RedisStore) -> None:
    rows = [r.Schedule(f"s{n:02}", ("wf", "other")[n % 2], b"{}", next_at=100.0 - n) for n in range(40)]
    store.apply([r.PutSchedule(row, 0) for row in rows])
    ask(store, r.PutSchedule(r.Schedule("later", "wf", b"{}", next_at=5e9), 0))
    reply = claim(store, "n")
    assert [s.id for s in reply.schedules] == [f"s{n}" for n in range(39, 23, -1)]
    assert reply.next_due == 5e9, "of the schedules that are not due"


@pytest.mark.parametrize("how", ["opening", "registering"])
def test_schedules_that_an_older_version_wrote_are_found(
    store: RedisStore, redis_server: RedisServer, namespace: str, how: str
) -> None:
    store.apply([r.PutSchedule(r.Schedule(f"s{n}", "wf", b"{}", next_at=float(n)), 0) for n in range(3)])
    tag = f"{{{namespace}:0}}:"
    with contextlib.closing(redis_server.client()) as client:
        client.delete(f"{tag}sw:wf")
        client.zadd(f"{tag}sw:wf", {"s1": 5e9})
    if how == "opening":
        open_store(redis_server.url, namespace=namespace).close()
    else:
        ask(store, r.Register(r.WorkerRow("w"), 10.0))
    assert [s.id for s in claim(store, "n").schedules] == ["s0", "s1", "s2"]


def test_schedules_that_an_older_version_moved_paused_or_dropped_are_not_due(
    store: RedisStore, redis_server: RedisServer, namespace: str
) -> None:
    store.apply([r.PutSchedule(r.Schedule(f"s{n}", "wf", b"{}", next_at=float(n)), 0) for n in range(4)])
    tag = f"{{{namespace}:0}}:"
    with contextlib.closing(redis_server.client()) as client:
        client.zadd(f"{tag}sz", {"s0": 5e9})
        client.zrem(f"{tag}sz", "s1", "s2")
        client.delete(f"{tag}s:s2")
        for n in range(2):
            reply = claim(store, f"n{n}")
            assert [s.id for s in reply.schedules] == ["s3"]
            assert reply.next_due == 5e9
        assert client.zrange(f"{tag}sw:wf", 0, -1) == [b"s3", b"s0"]


def test_a_claim_repeated_late_takes_nothing_else(store: RedisStore) -> None:
    check_late_repetition(store)


def test_a_claim_repeated_late_takes_nothing_else_in_a_cluster(spread: RedisStore) -> None:
    check_late_repetition(spread)


def check_late_repetition(store: RedisStore) -> None:
    store.apply([r.Create(f"a{n}", "wf", b"1") for n in range(3)])
    assert len(claim(store, "n", limit=3).claimed) == 3
    store.apply([r.Commit("a0", "n", 0, "c", r.End("completed")), r.Commit("a1", "n", 0, "c", r.ReleaseLease())])
    store.apply([r.Create(f"b{n}", "wf", b"1") for n in range(30)])
    assert [each.header.id for each in claim(store, "n", limit=3).claimed] == ["a2"]
    ask(store, r.Commit("a2", "n", 0, "c", r.End("completed")))
    for _ in range(2):
        assert claim(store, "n", limit=3).claimed == ()


def test_a_suspended_execution_needs_less_than_three_kilobytes(redis_server: RedisServer, store: RedisStore) -> None:
    def used() -> int:
        return int(redis_server.info("memory")["used_memory_dataset"])

    def suspend(first: int, count: int) -> None:
        ids = [f"execution-{n:020}" for n in range(first, first + count)]
        store.apply([r.Create(id, "orders.approve", b'{"order":"%b","n":[1,2,3,4]}' % (b"x" * 100)) for id in ids])
        store.apply([r.Claim(f"n{first}", "host:1:abc", ("default",), (("orders.approve", ""),), count, 30.0)])
        current = b'[{"kind":"signal","id":"approved","since":1700000000.123456}]'
        park = r.Suspend("sleeping", 2e9, 30.0)
        store.apply(
            [
                r.Commit(id, f"n{first}", 0, f"{n:032x}", park, (b"e" * 200,) * 5, current=current)
                for n, id in enumerate(ids)
            ]
        )

    suspend(0, 100)
    before = used()
    suspend(1000, 2000)
    assert (used() - before) / 2000 < 3000


def test_a_wrong_password_is_told_at_once_and_not_shown() -> None:
    with RedisServer(password="right") as server:
        with pytest.raises(ConfigError, match=r"refuses our login.*Fix:") as caught:
            open_store(server.url_of(0, user="default", password="wr0ng"))
        assert "wr0ng" not in str(caught.value)
        with contextlib.closing(open_store(server.url_of(3))) as store:
            assert "right" not in repr(store)
            ask(store, r.Ping())


def test_an_acl_user_with_the_namespaces_keys_suffices() -> None:
    rule = "worker on >secret resetchannels &app:* ~{app:* ~{app}:* +@all -@dangerous"
    with RedisServer(users=[rule]) as server:
        url = server.url_of(0, user="worker", password="secret")
        with contextlib.closing(open_store(url, namespace="app")) as store:
            ask(store, r.Create("x", "wf", b"1"))
            assert claim(store, "n").claimed
        with pytest.raises(ConfigError, match="does not permit"):
            open_store(url, namespace="other")


def test_an_absent_server_is_unavailable_after_the_deadline() -> None:
    with pytest.raises(StoreUnavailable, match="did not serve a request in time"):
        open_store(f"redis://127.0.0.1:{free_port()}", deadline=0.1)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:port/0",
        "redis://h/x",
        "redis+sentinel://h:1",
        "redis+cluster://h/1",
        "redis://h?sharts=2",
        "redis://u:secret@h:1:2",
    ],
)
def test_malformed_urls_are_refused_with_the_remedy(url: str) -> None:
    with pytest.raises(ConfigError, match="Fix:") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_unsafe_settings_are_warned_of(
    redis_server: RedisServer, store: RedisStore, redis_cluster: RedisCluster
) -> None:
    assert store.warnings() == []
    with RedisServer(config=["--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb"]) as server:
        with contextlib.closing(open_store(server.url)) as unsafe:
            policy, aof = unsafe.warnings()
            assert "allkeys-lru" in policy
            assert "append-only file is off" in aof
    with RedisServer(appendfsync="everysec") as server:
        with contextlib.closing(open_store(server.url)) as relaxed:
            assert "appendfsync is everysec" in relaxed.warnings()[0]


def test_a_forked_process_has_connections_of_its_own(store: RedisStore) -> None:
    ask(store, r.Create("x", "wf", b"1"))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, store.apply([r.Get("x")])[0].input)
        finally:
            os._exit(0)
    assert ask(store, r.Get("x")).input == b"1"
    assert os.read(read, 1) == b"1"
    os.waitpid(child, 0)
