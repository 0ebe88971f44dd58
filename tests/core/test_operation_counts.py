"""A guard against slow growth: what a fixed small workload asks of store and codec is as it was. Time is never compared."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from replay import Context, workflow
from replay.backends.memory import MemoryStore
from replay.codec import TaggedJson
from replay.testing import Faults, Simulation

BASELINE = Path(__file__).with_name("operation_counts.json")
COUNTS: Counter[str] = Counter()


class CountingStore(MemoryStore):
    def apply(self, requests: Any) -> list[Any]:
        COUNTS["store batches"] += 1
        for request in requests:
            COUNTS[f"store {type(request).__name__}"] += 1
            COUNTS["entries written"] += len(getattr(request, "entries", ()))
        return super().apply(requests)


def one() -> int:
    return 1


@workflow
def in_a_row(ctx: Context) -> Iterator[Any]:
    for i in range(50):
        yield ctx.step(f"s{i}", one)


@workflow
def side_by_side(ctx: Context) -> Iterator[Any]:
    yield ctx.map("m", one_of, range(50), limit=10)


@workflow
def with_waits(ctx: Context) -> Iterator[Any]:
    for _ in range(5):
        yield ctx.sleep(60)
        yield ctx.wait_for_signal("go")


def one_of(item: int) -> int:
    return item


def count(definition: Any, monkeypatch: Any, signals: int = 0) -> dict[str, int]:
    COUNTS.clear()
    for name in ("encode", "decode", "decode_rows"):
        real = getattr(TaggedJson, name)

        def counting(self: Any, *args: Any, real: Any = real, name: str = name) -> Any:
            COUNTS[f"codec {name}"] += 1
            return real(self, *args)

        monkeypatch.setattr(TaggedJson, name, counting)
    # A fault, however unlikely, has the simulation not look into the log before each step: that would be counted, too.
    with Simulation([definition], store=CountingStore, faults=Faults(pause=1e-12)) as sim:
        handle = sim.start(definition, id="x-1")
        for _ in range(signals):
            sim.advance(seconds=61)
            sim.signal(handle, "go")
        while not sim.engine.store._executions["x-1"].ended_at:  # type: ignore[attr-defined]  # without asking, which counts
            sim.advance(seconds=61)
    monkeypatch.undo()
    return dict(sorted(COUNTS.items()))


def test_the_counts_are_as_they_were(monkeypatch: Any) -> None:
    found = {
        "50 steps in a row": count(in_a_row, monkeypatch),
        "50 steps, 10 at a time": count(side_by_side, monkeypatch),
        "5 sleeps and 5 signals": count(with_waits, monkeypatch, signals=5),
    }
    if os.environ.get("REPLAY_UPDATE_COUNTS"):
        BASELINE.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(BASELINE.read_text()), (
        "the engine asks for more or less than before. Fix: if that is meant, REPLAY_UPDATE_COUNTS=1 pytest, and say why in the commit"
    )


def test_cost_grows_with_steps_and_not_faster() -> None:
    counts = json.loads(BASELINE.read_text())["50 steps in a row"]
    assert counts["store Commit"] <= 52, "one commit for each step, and one for the end"
    assert counts["store batches"] <= 55
    assert counts.get("store Load", 0) <= 1


@workflow
def fan_out(ctx: Context, members: int) -> Iterator[Any]:
    found = yield ctx.all([ctx.step("m", one) for _ in range(members)], limit=50)
    return len(found)


def test_a_fan_out_of_a_thousand_at_fifty_at_a_time_costs_ten_times_one_of_a_hundred() -> None:
    def cost(members: int) -> tuple[int, int]:
        COUNTS.clear()
        with Simulation([fan_out], store=CountingStore, faults=Faults(pause=1e-12), cache_size=0) as sim:
            handle = sim.start(fan_out, members)
            assert sim.settle(handle)
            assert handle.result() == members
        return COUNTS["store batches"], COUNTS["entries written"]

    batches, entries = cost(100)
    more_batches, more_entries = cost(1000)
    assert more_batches <= 10 * batches
    assert more_entries <= 10 * entries
    assert entries == 102, "one entry for each member, one for the beginning and one for the end"
