"""Make `0.1/`: what release 0.1.0 stored, in a SQLite file and in Redis, and what it said about it.

Run once, with the release that wrote the data; the files are kept in the repository and never made again by newer code:

    python -m venv old && old/bin/pip install CHECKOUT_OF_0.1.0'[testing]'
    old/bin/python tests/data/make_0_1.py redis://127.0.0.1:6379/0

The Redis server must be empty. Time is simulated and begins in 2026:

* `store.sqlite`: the file, with its write-ahead log merged into it;
* `redis.jsonl`: one key a line, `[key, type, value, milliseconds to live or null]`, bytes as Latin-1 text;
* `expected.json`: of each execution what 0.1.0 said, and the namespace's schedules;
* `histories/`: exported logs (`replay history --export`) of what had ended.
"""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUT = HERE / "0.1"
MODULE = "tests.data.workflows_0_1"


def load_workflows() -> Any:
    """Load the workflows under the name that today's tests give them: the names of classes are stored."""
    spec = importlib.util.spec_from_file_location(MODULE, HERE / "workflows_0_1.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[MODULE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fill(make_store: Any) -> tuple[Any, Any]:
    """Run all kinds of executions against a store; return the simulation and the store, as a dead cluster leaves them."""
    from datetime import UTC, datetime

    from replay import Operator
    from replay.core import requests as r
    from replay.testing import Simulation, hangs

    w = sys.modules[MODULE]
    w.RECORDING, w.WRONG_CODE = True, False
    stubs = {"hangs": hangs(), "asked to stop": hangs(), "skipped": hangs()}
    stores: list[Any] = []
    sim = Simulation(
        w.ALL, store=lambda clock: stores.append(make_store(clock)) or stores[0], steps=stubs, seed=1, cache_size=0
    )
    engine, operator = sim.engine, Operator(sim.engine, by="ann")
    order = w.Order("o-1", Decimal("12.50"), datetime(2026, 1, 2, tzinfo=UTC), ("lamp", "desk"))

    def start(workflow: Any, input: Any = None, **options: Any) -> Any:
        return sim.start(workflow, input, id=options.pop("id", workflow.key), **options)

    # --- ended ---
    done = start(w.orders, order, metadata={"city": "Köln", "rank": 1})
    assert sim.settle(done, [(w.Approved, "ann")])
    assert done.status() == "completed", done.status()
    for number in range(3):
        sim.start(w.little, number, idempotency_key=f"key-{number}")
    again = start(w.attempts)
    sim.run()
    sim.signal(again, w.Approved, "bob", dedupe_id="d-1")
    assert sim.settle(again)
    failed = start(w.failer, "failed")
    assert sim.settle(failed)
    repaired = start(w.failer, "repaired", id="retried")
    assert sim.settle(repaired)
    operator.skip_step(repaired, "flaky", "skipped", "by hand")
    assert sim.settle(repaired)
    assert sim.settle(start(w.failer, "fails twice", id="retried-in-vain"))
    operator.retry("retried-in-vain", "try")
    sim.run()
    assert sim.settle(start(w.saga))
    start(w.cancelled, 1000.0)
    sim.run()
    sim.cancel("cancelled", "no longer needed")
    sim.run()
    start(w.cancelled, 5.0, id="out-of-time", timeout=2)
    sim.advance(seconds=60)
    start(w.sleeper, 1000.0, id="forced")
    sim.run()
    operator.force_fail("forced", "it was wrong")

    # --- stuck: its log does not fit the code that runs just now ---
    start(w.changed)
    sim.run()
    w.WRONG_CODE = True
    sim.advance(seconds=5)

    # --- schedules ---
    engine.ensure_schedule(w.ticking, "nightly", id="nightly", cron="30 2 * * *", timezone="Europe/Berlin")
    engine.ensure_schedule(w.ticking, "often", id="often", interval=300, catch_up="one", overlap="buffer_one")
    engine.ensure_schedule(w.ticking, "paused", id="paused", interval=60, jitter=5)
    engine.pause_schedule("paused")
    sim.advance(minutes=6)
    assert engine.get_schedule("often").runs
    sim.advance(minutes=6)  # the second tick of `often` waits for the first execution's end

    # --- under way ---
    start(w.sleeper, 3600.0)
    edited = start(w.sleeper, 3600.0, id="edited")
    start(w.waiter)
    start(w.waiter, id="waiter-with-inbox")
    start(w.parent)
    start(w.retrier)
    start(w.counter, 2)
    start(w.stepper, "hangs", id="running")
    start(w.stepper, "asked to stop", id="cancelling")
    start(w.orders, order, id="approval")
    sim.run()
    operator.edit_step_result(edited, "before", "edited", "a typing error")
    operator.fork("orders", before="child", id="forked", reason="from the middle")
    sim.run()
    sim.advance(seconds=12)
    for number in range(2):
        sim.signal("waiter-with-inbox", w.Counted, number, dedupe_id=f"n-{number}")
    sim.run()
    sim.cancel("cancelling", "stop")
    sim.run()
    engine.schedule(w.little, 5, delay=3600, id="later")
    engine.ask(r.Create("unserved", "little", b"7", queue="elsewhere"))
    return sim, stores[0]


def plain(value: Any) -> Any:
    """Return a value as text that another release can be compared with."""
    return None if value is None else repr(value)


def said(sim: Any) -> dict[str, Any]:
    """Return what this release says about all that is stored."""
    found: dict[str, Any] = {}
    for execution in sim.engine.find_executions(limit=1000):
        detail = sim.engine.detail(execution.id)
        found[execution.id] = {
            "workflow": execution.workflow,
            "status": str(execution.status),
            "input": plain(execution.input),
            "result": plain(execution.result),
            "error": plain(execution.error),
            "attempt": execution.attempt,
            "created_at": execution.created_at,
            "ended_at": execution.ended_at,
            "parent_id": execution.parent_id,
            "metadata": execution.metadata,
            "steps": [[s.id, s.status, plain(s.result), s.attempts] for s in detail.steps],
            "entries": len(detail.audit),
        }
    schedules = {
        s.id: {"cron": s.cron, "interval": s.interval, "paused": s.paused, "next_at": s.next_at, "runs": list(s.runs)}
        for s in sim.engine.list_schedules()
    }
    kinds = sorted({type(entry).__name__ for id in found for entry in sim.engine.detail(id).audit})
    return {"now": sim.now(), "executions": found, "schedules": schedules, "kinds": kinds}


def dump(client: Any) -> list[str]:
    """Return all keys of a Redis, one JSON line each."""
    lines = []
    for key in sorted(client.keys()):
        kind = client.type(key).decode()
        read = {"string": client.get, "hash": client.hgetall, "set": client.smembers}
        read |= {"list": lambda k: client.lrange(k, 0, -1), "zset": lambda k: client.zrange(k, 0, -1, withscores=True)}
        value = read[kind](key)
        if kind == "set":
            value = sorted(value)
        ttl = client.pttl(key)
        lines.append(json.dumps([latin(key), kind, latin(value), ttl if ttl > 0 else None]))
    return lines


def latin(value: Any) -> Any:
    """Return bytes, at any depth, as Latin-1 text."""
    match value:
        case bytes():
            return value.decode("latin-1")
        case dict():
            return {latin(k): latin(v) for k, v in sorted(value.items())}
        case list() | tuple():
            return [latin(v) for v in value]
        case _:
            return value


def main(redis_url: str) -> None:
    """Make all files."""
    import redis

    from replay.backends.redis import open_store as open_redis
    from replay.backends.sqlite import SqliteStore
    from replay.histories import History

    load_workflows()
    OUT.mkdir(exist_ok=True)
    file = OUT / "store.sqlite"
    for old in OUT.glob("store.sqlite*"):
        old.unlink()
    sim, store = fill(lambda clock: SqliteStore(file, clock=clock))
    expected = said(sim)
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (OUT / "histories").mkdir(exist_ok=True)
    for id in ("orders", "attempts", "saga", "retried", "out-of-time", "running"):
        (OUT / "histories" / f"{id}.json").write_text(History.of(sim.engine, id).text() + "\n", encoding="utf-8")
    store.close()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    for rest in OUT.glob("store.sqlite-*"):
        rest.unlink()

    client = redis.Redis.from_url(redis_url, protocol=3)
    assert not client.dbsize(), "the Redis server must be empty"
    sim, store = fill(lambda clock: open_redis(redis_url, clock=clock))
    mine = said(sim)
    assert mine == expected, "both stores must tell the same"
    (OUT / "redis.jsonl").write_text("\n".join(dump(client)) + "\n", encoding="utf-8")
    client.flushall()


if __name__ == "__main__":
    main(sys.argv[1])
