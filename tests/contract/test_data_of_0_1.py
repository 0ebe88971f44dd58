"""Data that release 0.1.0 stored opens with today's code, is told as then, and its executions go on (`tests/data`)."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from replay import Operator
from replay.backends.redis import open_store as open_redis
from replay.backends.sqlite import SqliteStore
from replay.cli.root import cli
from replay.core.entries import KINDS
from replay.core.requests import Inbox, Load
from replay.ports import Clock, Store
from replay.testing import Simulation, assert_replays
from tests.data import workflows_0_1 as w
from tests.data.make_0_1 import said
from tests.servers.redis import RedisServer

DATA = Path(__file__).parents[1] / "data" / "0.1"
EXPECTED: dict[str, Any] = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
EXECUTIONS: dict[str, dict[str, Any]] = EXPECTED["executions"]
STATUSES = "pending running sleeping retrying cancelling completed failed cancelled compensation_failed stuck"
AT = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)

MakeStore = Callable[[Clock], Store]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(DATA / "store.sqlite", tmp_path))


def restore(url: str) -> None:
    """Write the keys of the dump into an empty Redis."""
    client = redis.Redis.from_url(url, protocol=3)
    for line in (DATA / "redis.jsonl").read_text(encoding="utf-8").splitlines():
        key, kind, value, ttl = raw(json.loads(line))
        match kind:
            case b"string":
                client.set(key, value)
            case b"hash":
                client.hset(key, mapping=value)
            case b"set":
                client.sadd(key, *value)
            case b"list":
                client.rpush(key, *value)
            case b"zset":
                client.zadd(key, dict(value))
            case other:
                raise AssertionError(f"a key of type {other!r} is not restored. Fix: do so here")
        if ttl is not None:
            client.pexpire(key, ttl)
    client.close()


def raw(value: Any) -> Any:
    """Return Latin-1 text, at any depth, as bytes."""
    match value:
        case str():
            return value.encode("latin-1")
        case dict():
            return {raw(k): raw(v) for k, v in value.items()}
        case list():
            return [raw(v) for v in value]
        case _:
            return value


@pytest.fixture(params=["sqlite", "redis"])
def make_store(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    stores: list[Store] = []

    def keep(store: Store) -> Store:
        stores.append(store)
        return store

    if request.param == "sqlite":
        file = request.getfixturevalue("file")
        yield lambda clock: keep(SqliteStore(file, clock=clock))
        for store in stores:
            store.close()
    else:
        with RedisServer() as server:
            restore(server.url)
            yield lambda clock: keep(open_redis(server.url, clock=clock))
            for store in stores:
                store.close()


def opened(make_store: MakeStore, *, later: dt.timedelta = dt.timedelta(0), **options: Any) -> Simulation:
    """Open the data in a cluster of today whose clock stands *later* than when the data was written."""
    start = dt.datetime.fromtimestamp(EXPECTED["now"], dt.UTC) + later
    return Simulation(w.ALL, store=make_store, start=start, **options)


def test_the_data_holds_every_status_and_every_kind_of_entry() -> None:
    assert {e["status"] for e in EXECUTIONS.values()} == set(STATUSES.split())
    assert set(EXPECTED["kinds"]) <= set(KINDS)
    assert len(EXPECTED["kinds"]) == 23


def test_everything_is_told_as_then(make_store: MakeStore) -> None:
    with opened(make_store, workers=0) as sim:
        now = json.loads(json.dumps(said(sim)))
        assert now["executions"] == EXECUTIONS
        assert now["schedules"] == EXPECTED["schedules"]
        stored = {json.loads(row)[0] for id in EXECUTIONS for row in sim.engine.ask(Load(id))}
        assert stored == set(EXPECTED["kinds"])
        assert [m.name for m in sim.engine.ask(Inbox("waiter-with-inbox"))] == ["counted", "counted"]
        assert {e.id for e in sim.engine.find_executions(metadata={"city": "Köln"})} == {"orders", "forked"}
        tree = sim.engine.execution_tree("parent")
        assert sorted(child.execution.workflow for child in tree.children) == ["sleeper", "waiter"]


def test_what_was_under_way_comes_to_its_end(make_store: MakeStore) -> None:
    with opened(make_store, later=dt.timedelta(hours=3)) as sim:
        open_before = {
            id for id, e in EXECUTIONS.items() if e["status"] in STATUSES.split()[:5] or e["status"] == "stuck"
        }
        sim.advance(hours=2)
        sim.signal("waiter-with-inbox", w.Counted, 1, dedupe_id="n-1")  # 0.1.0 accepted it already
        for id in open_before:
            if EXECUTIONS[id]["workflow"] == "waiter":
                sim.signal(id, w.Approved, "eve")
                for number in range(1 if id == "waiter-with-inbox" else 3):
                    sim.signal(id, w.Counted, 10 + number)
            if EXECUTIONS[id]["workflow"] == "orders":
                sim.signal(id, w.Approved, "eve")
        sim.advance(hours=2)

        def result(id: str) -> Any:
            return sim.handle(id).result()

        assert result("sleeper") == "before, after"
        assert result("edited") == "edited, after"
        assert result("waiter") == ["eve", 10, 11, 12]
        assert result("waiter-with-inbox") == ["eve", 0, 1, 10]
        assert result("parent") == ["before, after"]
        assert result("running") == "hangs!"
        assert result("retrier") == "flaky"
        assert result("changed") == "fits again"
        assert result("counter") == "counted down"
        assert result("later") == 6
        for id in ("approval", "forked"):
            assert result(id)[1:9] == ["once", "tried", "TimedOut()", "is red", "quick", ((1, 2), {3}), 21, "eve"]
        assert sim.engine.get_execution("cancelling").status == "cancelled"
        still_open = {id for id in open_before if not sim.engine.get_execution(id).status.ended}
        assert still_open == {"unserved"}  # its queue has no worker
        assert [sim.violation(id) for id in sorted(open_before)] == [None] * len(open_before)


def test_random_values_of_an_id_are_those_of_then() -> None:
    with Simulation(w.ALL) as sim:
        handle = sim.start(w.orders, w.Order("o-1", Decimal("12.50"), AT, ("lamp", "desk")), id="orders")
        assert sim.settle(handle, [(w.Approved, "ann")])
        assert repr(handle.result()) == EXECUTIONS["orders"]["result"]


def test_schedules_go_on(make_store: MakeStore) -> None:
    with opened(make_store) as sim:
        ticks = EXPECTED["schedules"]["often"]["runs"]
        sim.advance(minutes=20)
        often = sim.engine.get_schedule("often")
        assert list(map(list, often.runs))[-1:] == ticks
        began = [
            e.created_at - EXPECTED["now"] for e in sim.engine.find_executions(id_prefix="often~", workflow="ticking")
        ]
        assert len(began) == 3  # the first, the buffered one, and one that was buffered while that ran
        sim.advance(hours=6)
        (nightly,) = sim.engine.find_executions(id_prefix="nightly~").items
        assert (nightly.id, nightly.result) == ("nightly~2026-01-01T01:30:00Z", "nightly")
        assert not sim.engine.find_executions(id_prefix="paused~").items
        sim.engine.resume_schedule("paused")
        sim.advance(minutes=2)
        assert sim.engine.find_executions(id_prefix="paused~").items
        before = sim.engine.get_schedule("often").next_at
        sim.engine.ensure_schedule(
            w.ticking, "often", id="often", interval=300, catch_up="one", overlap="buffer_one"
        )  # unchanged arguments: what 0.1.0 stored does not move
        assert sim.engine.get_schedule("often").next_at == before


def test_operators_act_on_what_had_ended(make_store: MakeStore) -> None:
    with opened(make_store) as sim:
        operator = Operator(sim.engine, by="eve")
        operator.retry("failer", "the function was repaired")
        operator.retry("retried-in-vain", "again")
        operator.retry_rollback("saga", "the compensation was repaired")
        operator.fork("orders", id="copy", before="child")
        sim.run()
        assert sim.handle("failer").result() == "failedfailed"
        assert sim.handle("retried-in-vain").result() == "fails twicefails twice"
        assert sim.handle("saga").result() == "rolled back"
        assert sim.settle(sim.handle("copy"), [(w.Approved, "eve")])
        assert sim.handle("copy").result()[8] == "eve"
        operator.delete("cancelled", "no longer needed")
        assert "cancelled" not in {e.id for e in sim.engine.find_executions(limit=1000)}


def test_the_command_line_lists_shows_and_exports_all(file: Path) -> None:
    def run(*args: str) -> str:
        done = CliRunner().invoke(cli, [*args, "--store", f"sqlite:///{file}"])
        assert done.exit_code == 0, done.output
        return done.output

    listed = [json.loads(line) for line in run("list", "--limit", "1000", "--json").splitlines()]
    assert {row["id"]: row["status"] for row in listed} == {id: e["status"] for id, e in EXECUTIONS.items()}
    for id, execution in EXECUTIONS.items():
        assert execution["workflow"] in run("show", id)
        assert len(run("history", id, "--json").splitlines()) >= execution["entries"]
    schedules = [json.loads(line)["id"] for line in run("schedule", "list", "--json").splitlines()]
    assert schedules == ["nightly", "often", "paused"]


def test_exported_histories_replay() -> None:
    replayed = {definition.key: 0 for definition in (w.orders, w.attempts, w.saga, w.failer, w.cancelled, w.stepper)}
    for definition in w.ALL:
        if definition.key in replayed:
            replayed[definition.key] = assert_replays(definition, DATA / "histories")
    assert replayed == dict.fromkeys(replayed, 1)


def test_the_file_is_the_one_that_0_1_0_wrote(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM execution").fetchone() == (len(EXECUTIONS),)
    connection.close()
