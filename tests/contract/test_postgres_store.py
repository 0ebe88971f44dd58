"""PostgreSQL's own: several processes at once, lost connections, a killed server, migrations, and refusals to open."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from replay.backends.postgres import open_store
from replay.backends.postgres.store import PostgresStore
from replay.core import requests as r
from replay.core.errors import ConfigError, StoreUnavailable
from tests.asking import ask
from tests.servers.ports import free_port
from tests.servers.postgres import PostgresServer
from tests.servers.process import until
from tests.servers.proxy import Proxy

LANES = (("w", ""),)
LEASE = 30.0


@pytest.fixture
def namespace() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def stores(postgres_server: PostgresServer, namespace: str) -> Iterator[list[PostgresStore]]:
    """Give four stores as four processes would have them."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(open_store(postgres_server.url, namespace=namespace)))
            for _ in range(4)
        ]


def at_once(works: list[Callable[[], Any]]) -> list[Any]:
    """Perform *works* at the same time and return their results."""
    barrier = threading.Barrier(len(works))

    def perform(work: Callable[[], Any]) -> Any:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(perform, works))


def claim(store: PostgresStore, nonce: str, limit: int = 10) -> list[str]:
    claims = ask(store, r.Claim(nonce, "worker", ("default",), LANES, limit, LEASE))
    return [each.header.id for each in claims.claimed]


# --- several processes --------------------------------------------------------------------------------


def test_each_execution_is_claimed_once(stores: list[PostgresStore]) -> None:
    stores[0].apply([r.Create(f"x{n}", "w", b"1") for n in range(400)])

    def drain(number: int) -> list[str]:
        found: list[str] = []
        for turn in range(1000):
            taken = claim(stores[number], f"n{number}-{turn}", 7)
            found += taken
            if not taken and ask(stores[number], r.Count()).get("pending", 0) == 0:
                break
        return found

    taken = [id for each in at_once([lambda n=n: drain(n) for n in range(4)]) for id in each]
    assert Counter(taken) == Counter({f"x{n}": 1 for n in range(400)})


def test_a_claim_repeated_while_it_is_performed_takes_one_set_of_leases(stores: list[PostgresStore]) -> None:
    for turn in range(20):
        stores[0].apply([r.Create(f"x{turn}-{n}", "w", b"1") for n in range(20)])
        found = at_once([lambda s=s, turn=turn: claim(s, f"n{turn}", 5) for s in stores])
        assert all(sorted(each) == sorted(found[0]) for each in found), found
        assert len(found[0]) == 5


def test_of_equal_creations_at_once_one_is_fresh(stores: list[PostgresStore]) -> None:
    ids = [f"x{n}" for n in range(50)]
    orders = [ids, ids[::-1], ids[25:] + ids[:25], ids]  # in other orders, so that they wait for each other
    replies = at_once(
        [lambda s=s, o=o: s.apply([r.Create(i, "w", b"1") for i in o]) for s, o in zip(stores, orders, strict=True)]
    )
    fresh = Counter(each.header.id for reply in replies for each in reply if each.fresh)
    assert fresh == Counter(dict.fromkeys(ids, 1))
    assert ask(stores[0], r.Count()) == {"pending": 50}


def test_siblings_that_end_at_once_all_notify_their_parent(stores: list[PostgresStore]) -> None:
    """Parents and children are locked in one order, and no message is lost or doubled."""
    ask(stores[0], r.Create("parent", "w", b"1"))
    assert claim(stores[0], "p") == ["parent"]
    children = tuple(r.Create(f"c{n}", "w", b"1", parent_id="parent") for n in range(80))
    ask(stores[0], r.Commit("parent", "p", 0, "begin", r.Suspend("sleeping", None, LEASE), creates=children))
    assert len(claim(stores[0], "c", 80)) == 80

    def end(number: int) -> None:
        for n in range(number, 80, 4):
            ask(stores[number], r.Commit(f"c{n}", "c", 0, f"end {n}", r.End("completed", b"1"), (b"[1]",)))

    at_once([lambda n=n: end(n) for n in range(4)])
    inbox = ask(stores[0], r.Inbox("parent"))
    assert Counter(m.name for m in inbox) == Counter({f"c{n}": 1 for n in range(80)})
    assert [m.seq for m in inbox] == list(range(1, 81))
    assert claim(stores[0], "again") == ["parent"]


def test_a_parent_that_cancels_children_while_they_end_neither_hangs_nor_loses_an_end(
    stores: list[PostgresStore],
) -> None:
    for turn in range(10):
        parent = f"p{turn}"
        ask(stores[0], r.Create(parent, "w", b"1"))
        assert claim(stores[0], parent) == [parent]
        ids = [f"{parent}~{n}" for n in range(8)]
        creates = tuple(r.Create(id, "w", b"1", parent_id=parent) for id in ids)
        ask(stores[0], r.Commit(parent, parent, 0, f"{parent} begin", r.KeepLease(LEASE), creates=creates))
        assert len(claim(stores[0], f"{parent} children", 8)) == 8

        def end(store: PostgresStore, some: list[str], token: str) -> None:
            for id in some:
                ask(store, r.Commit(id, token, 0, f"{id} end", r.End("completed", b"1"), seen=9))

        def cancel(store: PostgresStore, parent: str, ids: list[str]) -> None:
            ask(store, r.Commit(parent, parent, 0, f"{parent} cancel", r.KeepLease(LEASE), cancels=tuple(ids[::-1])))

        token = f"{parent} children"
        at_once(
            [
                lambda ids=ids, token=token: end(stores[0], ids[:4], token),
                lambda ids=ids, token=token: end(stores[1], ids[4:], token),
                lambda parent=parent, ids=ids: cancel(stores[2], parent, ids),
            ]
        )
        assert {m.name for m in ask(stores[0], r.Inbox(parent))} == set(ids)
        ask(stores[0], r.Commit(parent, parent, 0, f"{parent} over", r.End("completed", b"1"), seen=99))


def test_no_wake_up_is_lost_between_a_signal_and_a_suspension(stores: list[PostgresStore]) -> None:
    for n in range(60):
        id = f"x{n}"
        ask(stores[0], r.Create(id, "w", b"1"))
        assert claim(stores[0], id) == [id]
        committed, _, _ = at_once(
            [
                lambda id=id: ask(stores[0], r.Commit(id, id, 0, f"{id} park", r.Suspend("sleeping", None, LEASE))),
                lambda id=id: ask(stores[1], r.Deliver(id, "m1", "signal", "go")),
                lambda id=id: ask(stores[2], r.Deliver(id, "m2", "signal", "go")),
            ]
        )
        assert [m.seq for m in ask(stores[0], r.Inbox(id))] == [1, 2]
        if committed.parked:
            assert claim(stores[3], f"{id} again") == [id]
        else:
            assert committed.messages
        ask(stores[0], r.Commit(id, id if not committed.parked else f"{id} again", 0, "end", r.End("failed"), seen=2))


def test_a_message_repeated_at_once_arrives_once(stores: list[PostgresStore]) -> None:
    ask(stores[0], r.Create("x", "w", b"1"))
    for n in range(20):
        replies = at_once([lambda s=s, n=n: ask(s, r.Deliver("x", f"m{n}", "signal", "go")) for s in stores])
        assert sorted(each.duplicate for each in replies) == [False, True, True, True]
    assert len(ask(stores[0], r.Inbox("x"))) == 20


def test_of_ticks_of_one_schedule_at_once_one_is_applied(stores: list[PostgresStore]) -> None:
    for version in range(20):
        row = r.Schedule("s", "w", b"{}", next_at=1.0)
        puts = [r.PutSchedule(row, version, (r.Create(f"t{version}-{n}", "w", b"1"),)) for n in range(4)]
        replies = at_once([lambda s=s, put=put: ask(s, put) for s, put in zip(stores, puts, strict=True)])
        assert Counter(each.applied for each in replies) == Counter({False: 3, True: 1})
        assert all(each.row.version == version + 1 for each in replies)
    assert ask(stores[0], r.Count()) == {"pending": 20}


def test_workers_that_purge_at_once_remove_no_more_than_one_would(stores: list[PostgresStore]) -> None:
    stores[0].apply([r.Create(f"x{n}", "w", b"1") for n in range(60)])
    assert len(claim(stores[0], "n", 60)) == 60
    stores[0].apply([r.Commit(f"x{n}", "n", 0, "end", r.End("completed", b"1")) for n in range(60)])
    removed = at_once([lambda s=s: ask(s, r.Purge(100, keep=25)) for s in stores])
    assert sum(removed) == 35
    assert ask(stores[0], r.Count()) == {"completed": 25}
    assert len(ask(stores[0], r.Find(limit=100)).headers) == 25


def test_counts_stay_right_while_they_are_added_up(
    stores: list[PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replay.backends.postgres.rows.FOLD_AFTER", 3)
    wrong: list[dict[str, int]] = []

    def create(number: int) -> None:
        for n in range(40):
            ask(stores[number], r.Create(f"x{number}-{n}", "w", b"1"))

    def watch() -> None:
        before = 0
        while before < 120:
            count = ask(stores[3], r.Count()).get("pending", 0)
            if count < before:
                wrong.append({"before": before, "after": count})
            before = count

    at_once([*(lambda n=n: create(n) for n in range(3)), watch])
    assert wrong == []


# --- losses ----------------------------------------------------------------------------------------------


def scenario() -> list[r.Request[Any]]:
    """Return requests that use every statement that writes."""
    return [
        r.Create("p", "w", b"1", metadata=b'{"a":1}', entries=(b"[0]",)),
        r.Claim("n1", "worker", ("default",), LANES, 5, LEASE),
        r.Commit("p", "n1", 1, "c1", r.KeepLease(LEASE), (b"[1]",), creates=(r.Create("c", "w", b"2", parent_id="p"),)),
        r.Deliver("p", "m1", "signal", "go", b"1"),
        r.Commit("p", "n1", 2, "c2", r.Suspend("sleeping", None, LEASE), (b"[2]",), consumed=(1,), seen=1),
        r.Claim("n2", "worker", ("default",), LANES, 5, LEASE),
        r.RenewLeases((r.LeaseRef("c", "n2", 0),), LEASE),
        r.Create("late", "w", b"3"),
        r.Watch("c", "late"),
        r.Commit("c", "n2", 0, "c3", r.End("completed", b"7"), (b"[3]",)),
        r.Deliver("late", "x", "cancel"),
        r.Amend("c", "o1", ("completed",), 1, (b"[4]",)),
        r.PutSchedule(r.Schedule("s", "w", b"{}", next_at=1.0), 0, (r.Create("tick", "w", b"4"),)),
        r.Register(r.WorkerRow("worker"), 60.0),
    ]


def picture(store: PostgresStore) -> Any:
    """Return what is stored, without instants."""
    found = []
    for h in sorted(ask(store, r.Find(limit=100)).headers, key=lambda h: h.id):
        inbox = [(m.seq, m.kind, m.name, m.payload) for m in ask(store, r.Inbox(h.id))]
        parts = (h.id, h.status, h.length, h.arrivals, h.last_commit, h.token, h.result, h.lost_leases)
        found.append((*parts, inbox, ask(store, r.Load(h.id))))
    schedules = [(s.id, s.version) for s in ask(store, r.ListSchedules())]
    return found, schedules, ask(store, r.Count()), [w.name for w in ask(store, r.Workers())]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_connection_lost_at_any_moment_loses_and_doubles_nothing(
    postgres_server: PostgresServer, after: bool
) -> None:
    with contextlib.closing(open_store(postgres_server.url, namespace=uuid.uuid4().hex)) as store:
        for request in scenario():
            ask(store, request)
        undisturbed = picture(store)
    steps = len(scenario())
    for step in range(steps):
        for chunk in range(20):
            with (
                Proxy(postgres_server.host, postgres_server.port) as proxy,
                contextlib.closing(
                    open_store(postgres_server.url_of(port=proxy.port), namespace=uuid.uuid4().hex)
                ) as store,
            ):
                for request in scenario()[:step]:
                    ask(store, request)
                seen = 0

                def rule(_: bytes, cut_at: int = chunk) -> Any:
                    nonlocal seen
                    seen += 1
                    return "pass" if seen != cut_at + 1 else ("cut after" if after else "cut before")

                proxy.rule = rule
                ask(store, scenario()[step])
                cut = proxy.cuts
                proxy.rule = lambda _: "pass"
                for request in scenario()[step + 1 :]:
                    ask(store, request)
                assert picture(store) == undisturbed, (step, chunk)
            if not cut:
                break


def test_what_was_answered_is_there_after_the_server_was_killed() -> None:
    with PostgresServer(durable=True) as server, contextlib.closing(open_store(server.url + "?deadline=60")) as store:
        answered: list[int] = []
        stop = threading.Event()

        def write() -> None:
            ask(store, r.Create("x", "w", b"1"))
            claim(store, "n")
            while not stop.is_set():
                n = len(answered)
                ask(store, r.Commit("x", "n", n, f"c{n}", r.KeepLease(LEASE), (b"[%d]" % n,)))
                answered.append(n)

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            for _ in range(3):
                before = len(answered)
                until(lambda before=before: len(answered) > before + 20 or writing.done(), what="commits")
                server.restart()
            before = len(answered)
            until(lambda before=before: len(answered) > before + 20 or writing.done(), what="commits")
            stop.set()
            writing.result()
        assert ask(store, r.Load("x")) == [b"[%d]" % n for n in answered]


def test_sessions_that_an_operator_ends_are_opened_again(
    stores: list[PostgresStore], postgres_server: PostgresServer
) -> None:
    ask(stores[0], r.Create("x", "w", b"1"))
    for _ in range(3):
        postgres_server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'replay'")
        assert ask(stores[0], r.Get("x")).id == "x"
        postgres_server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'replay'")
        assert not ask(stores[0], r.Create("x", "w", b"1")).fresh


# --- opening -----------------------------------------------------------------------------------------------


def test_processes_that_open_a_new_database_at_once_make_its_tables_once(postgres_server: PostgresServer) -> None:
    url = postgres_server.url_of(schema=f"s{uuid.uuid4().hex[:20]}")
    opened = at_once([lambda: open_store(url) for _ in range(4)])
    for number, store in enumerate(opened):
        ask(store, r.Create(f"x{number}", "w", b"1"))
    assert ask(opened[0], r.Count()) == {"pending": 4}
    for store in opened:
        store.close()


def test_schemas_and_namespaces_are_apart(postgres_server: PostgresServer, stores: list[PostgresStore]) -> None:
    ask(stores[0], r.Create("x", "w", b"1"))
    url = postgres_server.url_of(schema=f"s{uuid.uuid4().hex[:20]}")
    for other in (open_store(url, namespace=stores[0]._ns), open_store(postgres_server.url, namespace="other")):
        assert ask(other, r.Get("x")) is None
        other.close()


def test_without_the_right_to_make_tables_it_says_what_to_run(postgres_server: PostgresServer) -> None:
    schema = f"s{uuid.uuid4().hex[:20]}"
    with pytest.raises(ConfigError, match=r"are missing.*migrate=0.*Fix: .*replay db migrate"):
        open_store(postgres_server.url_of(schema=schema, migrate=0))
    open_store(postgres_server.url_of(schema=schema)).close()
    open_store(postgres_server.url_of(schema=schema, migrate=0)).close()


def test_tables_of_a_much_newer_release_are_refused_and_of_the_next_one_are_not(
    postgres_server: PostgresServer,
) -> None:
    schema = f"s{uuid.uuid4().hex[:20]}"
    url = postgres_server.url_of(schema=schema)
    open_store(url).close()
    (newest,) = map(int, postgres_server.run(f"SELECT value FROM {schema}.meta WHERE key = 'version'")[0])
    postgres_server.run(f"UPDATE {schema}.meta SET value = '{newest + 1}'")
    open_store(url).close()
    postgres_server.run(f"UPDATE {schema}.meta SET value = '{newest + 2}'")
    with pytest.raises(ConfigError, match=r"newer replay.*Fix: upgrade"):
        open_store(url)


def test_a_server_that_is_away_is_unavailable_and_a_wrong_login_is_a_mistake() -> None:
    with pytest.raises(StoreUnavailable):
        open_store(f"postgresql://u:s3cr3t@127.0.0.1:{free_port()}/d?deadline=0")
    with PostgresServer(password="c0rrect") as server:
        open_store(server.url).close()
        for url in (server.url.replace("c0rrect", "s3cr3t"), f"{server.url}x"):
            with pytest.raises(ConfigError) as refused:
                open_store(url)
            assert "s3cr3t" not in str(refused.value)
            assert "c0rrect" not in str(refused.value)


def test_a_database_in_another_encoding_is_refused(postgres_server: PostgresServer) -> None:
    postgres_server.run("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with pytest.raises(ConfigError, match="LATIN1"):
        open_store(postgres_server.url.replace("/replay", "/latin").replace("//latin", "//replay"))


def test_a_closed_store_is_unavailable(postgres_server: PostgresServer) -> None:
    store = open_store(postgres_server.url)
    store.close()
    store.close()
    for request in (r.Ping(), r.Create("x", "w", b"1")):
        with pytest.raises(StoreUnavailable, match="closed"):
            store.apply([request])


def test_a_forked_process_has_connections_of_its_own(postgres_server: PostgresServer, namespace: str) -> None:
    store = open_store(postgres_server.url, namespace=namespace)
    ask(store, r.Create("parent", "w", b"1"))
    child = os.fork()
    if child == 0:
        try:
            ask(store, r.Create("child", "w", b"1"))
            store.close()
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert ask(store, r.Count()) == {"pending": 2}
    store.close()
