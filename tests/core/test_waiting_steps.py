"""Steps that wait for executions: their worker makes up for the slot and the thread, with real threads."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from replay import Context, Engine, ExecutionFailed, Flow, workflow
from replay.testing import Simulation
from replay.testing.simulation.stubs import KitRefusal
from tests.servers.process import PATIENCE

engines: list[Engine] = []


@workflow
def inner(ctx: Context, n: int) -> Flow[int]:
    return (yield from ctx.step("work", abs, n))


def started_and_waited_for(n: int) -> int:
    return engines[-1].start_and_wait(inner, n, wait_timeout=PATIENCE).data


@workflow
def outer(ctx: Context, n: int) -> Flow[int]:
    return (yield from ctx.step("nested", started_and_waited_for, n))


@workflow
def deep(ctx: Context, n: int) -> Flow[int]:
    def deeper() -> int:
        return engines[-1].start(deep, n - 1).result(PATIENCE) + 1

    return (yield from ctx.step("deeper", deeper)) if n else 0


@workflow
def fanned_out(ctx: Context) -> Flow[list[int]]:
    return (yield from ctx.all([ctx.step(f"nested {n}", started_and_waited_for, n) for n in range(6)]))


@pytest.mark.parametrize(
    "options", [{"concurrency": 1}, {"concurrency": 2}, {"concurrency": 4, "queues": {"default": 1}}], ids=str
)
def test_waiting_steps_take_no_slot_and_no_thread(options: dict[str, Any]) -> None:
    with Engine("memory://", workflows=[inner, outer, deep, fanned_out], worker=True, **options) as engine:
        engines.append(engine)
        handles = [engine.start(outer, n) for n in range(5)]
        assert [handle.result(PATIENCE) for handle in handles] == [0, 1, 2, 3, 4]
        assert engine.start(deep, 5).result(PATIENCE) == 5
        assert engine.start(fanned_out).result(PATIENCE) == [0, 1, 2, 3, 4, 5]


def test_steps_that_wait_are_warned_of_once_with_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    with Engine("memory://", workflows=[inner, outer], worker=True) as engine, caplog.at_level(logging.WARNING):
        engines.append(engine)
        for n in range(3):
            engine.start(outer, n).result(PATIENCE)
    found = [record.getMessage() for record in caplog.records if "waits for execution" in record.getMessage()]
    assert len(found) == 1
    assert "ctx.child" in found[0]


def test_a_slot_is_taken_again_after_the_wait() -> None:
    with Engine("memory://", workflows=[inner, outer], worker=True, concurrency=1) as engine:
        engines.append(engine)
        engine.start(outer, 1).result(PATIENCE)
        assert engine.runner is not None
        assert not engine.runner.worker.full


async def blocking(n: int) -> int:
    return started_and_waited_for(n)


async def polite(n: int) -> int:
    return await asyncio.to_thread(started_and_waited_for, n)


@workflow
def blocks(ctx: Context, n: int) -> Flow[int]:
    return (yield from ctx.step("blocking", blocking, n))


@workflow
def awaits(ctx: Context, n: int) -> Flow[int]:
    return (yield from ctx.step("polite", polite, n))


def test_an_async_step_must_not_hold_up_the_event_loop() -> None:
    with Engine("memory://", workflows=[inner, blocks, awaits], worker=True, concurrency=1) as engine:
        engines.append(engine)
        with pytest.raises(ExecutionFailed, match=r"asyncio\.to_thread"):
            engine.start(blocks, 1).result(PATIENCE)
        assert engine.start(awaits, 2).result(PATIENCE) == 2


def test_a_step_of_a_simulation_that_waits_is_refused_with_the_remedy() -> None:
    sim = Simulation(workflows=[inner, outer])
    engines.append(sim.engine)
    sim.start(outer, 1)
    with pytest.raises(KitRefusal, match="stub the step"):
        sim.run()
