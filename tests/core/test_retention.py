"""Ended executions go when their time has come: engine-wide, or as their workflow says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from replay import Context, Engine, workflow
from replay.backends.memory import MemoryStore
from replay.core import requests as r
from replay.testing.clock import VirtualClock


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
