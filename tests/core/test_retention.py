"""Ended executions go when their time has come: engine-wide, or as their workflow says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from replay import ConfigError, Context, Engine, workflow
from replay.backends.memory import MemoryStore
from replay.core import requests as r
from replay.testing import Simulation
from replay.testing.simulation.clock import VirtualClock


@workflow(retention=timedelta(hours=1))
def short(ctx: Context) -> Iterator[Any]:
    yield ctx.sleep(0)


@workflow
def usual(ctx: Context) -> Iterator[Any]:
    yield ctx.sleep(0)


def test_the_workflows_own_retention_comes_before_the_engines() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    with Engine(store, workflows=[short, usual], retention=timedelta(days=1)) as engine:
        ids = [engine.start(short).id, engine.start(usual).id, engine.start(usual).id]
        for id in ids[:2]:
            engine.cancel(id)
        assert engine.ask(r.Purge()) == 0
        clock.move_to(clock.now() + 3700)
        assert engine.ask(r.Purge()) == 1
        clock.move_to(clock.now() + 86_400)
        assert engine.ask(r.Purge()) == 1
        assert [execution.id for execution in engine.find_executions()] == ids[2:], "what has not ended stays"


def test_without_retention_everything_is_kept() -> None:
    clock = VirtualClock()
    with Engine(MemoryStore(clock), workflows=[usual]) as engine:
        handle = engine.start(usual)
        handle.cancel()
        clock.move_to(clock.now() + 1e9)
        assert engine.ask(r.Purge()) == 0


@workflow
def parent(ctx: Context) -> Iterator[Any]:
    yield ctx.child("child", usual, None)


def test_children_and_ticks_of_schedules_are_kept_no_longer_than_others() -> None:
    with Simulation([parent, usual]) as sim:
        sim.engine.adjust_worker(retention=100.0)
        handle = sim.start(parent)
        sim.engine.ensure_schedule(usual, None, id="hourly", interval=3600)
        sim.advance(seconds=3610)
        (child,) = sim.engine.execution_tree(handle.id).children
        kept = {execution.id: execution.status for execution in sim.engine.find_executions()}
        assert len(kept) == 3
        assert set(kept.values()) == {"completed"}
        sim.engine.remove_schedule("hourly")
        assert sim.engine.ask(r.Purge()) == 2, "the parent and its child, an hour ago"
        sim.advance(seconds=101)
        assert sim.engine.ask(r.Purge()) == 1
        assert child.execution.id in kept


def test_a_worker_removes_what_is_too_much_in_portions() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    with Engine(store, workflows=[usual], clock=clock, retention_count=20) as engine:
        for _ in range(350):
            clock.move_to(clock.now() + 1.0)
            engine.start(usual).cancel()
        worker = engine.make_worker()
        left = []
        for _ in range(6):
            worker.turn()
            left.append(sum(engine.count_executions().values()))
            clock.move_to(clock.now() + 0.06)
        assert left == [250, 150, 50, 20, 20, 20]
        assert len(list(engine.find_executions(created_after=clock.now() - 21.0))) == 20, "the newest are kept"


def test_a_retention_count_below_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        Engine("memory://", retention_count=-1)
