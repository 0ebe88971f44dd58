"""Async steps: one event loop for all of a worker, with real threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from replay import Context, Engine, ExecutionCancelled, ExecutionFailed, Flow, StepFailed, current_step, workflow
from replay.testing import Simulation
from tests.servers.process import PATIENCE


def loop_of_this_thread() -> int:
    return id(asyncio.get_running_loop())


async def async_loop() -> int:
    return loop_of_this_thread()


@workflow
def two_steps(ctx: Context) -> Flow[list[int]]:
    first = yield from ctx.step("first", async_loop)
    second = yield from ctx.step("second", async_loop)
    return [first, second]


def test_the_async_steps_of_a_worker_share_one_loop() -> None:
    with Engine("memory://", workflows=[two_steps], worker=True) as engine:
        found = {loop for _ in range(2) for loop in engine.start(two_steps).result(PATIENCE)}
    assert len(found) == 1


def test_the_async_steps_of_all_simulations_share_one_loop() -> None:
    found = set()
    for seed in range(2):
        sim = Simulation(workflows=[two_steps], seed=seed)
        handle = sim.start(two_steps)
        sim.run()
        found |= set(handle.result())
    assert len(found) == 1


def test_async_steps_run_concurrently() -> None:
    opened: list[asyncio.Event] = []

    async def wait() -> str:
        opened.append(asyncio.Event())
        await opened[0].wait()
        return "opened"

    async def open_it() -> str:
        while not opened:
            await asyncio.sleep(0)
        opened[0].set()
        return "open"

    @workflow
    def both(ctx: Context) -> Flow[tuple[str, str]]:
        return (yield from ctx.all(ctx.step("wait", wait), ctx.step("open", open_it)))

    with Engine("memory://", workflows=[both], worker=True) as engine:
        assert engine.start(both).result(PATIENCE) == ("opened", "open")


class Body:
    """A coroutine that waits for ever, and notes that it was cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.cancelled = threading.Event()

    async def run(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def test_a_timeout_reaches_the_coroutine() -> None:
    body = Body()

    @workflow
    def impatient(ctx: Context) -> Flow[str]:
        try:
            yield from ctx.step("wait", body.run).timeout(0.05)
        except StepFailed as failed:
            return type(failed.cause).__name__
        return "returned"

    with Engine("memory://", workflows=[impatient], worker=True) as engine:
        assert engine.start(impatient).result(PATIENCE) == "StepTimeout"
        assert body.cancelled.wait(PATIENCE)


def test_a_cancel_of_the_execution_reaches_the_coroutine() -> None:
    body = Body()

    @workflow
    def cancellable(ctx: Context) -> Flow[None]:
        yield from ctx.step("wait", body.run)

    with Engine("memory://", workflows=[cancellable], worker=True, cancel_grace=10 * PATIENCE) as engine:
        handle = engine.start(cancellable)
        assert body.begun.wait(PATIENCE)
        handle.cancel("enough")
        assert body.cancelled.wait(PATIENCE)
        with pytest.raises(ExecutionCancelled, match="enough"):
            handle.result(PATIENCE)


def test_the_workers_end_cancels_the_coroutines() -> None:
    body = Body()

    @workflow
    def interrupted(ctx: Context) -> Flow[None]:
        yield from ctx.step("wait", body.run)

    with Engine("memory://", workflows=[interrupted], worker=True, shutdown_timeout=0) as engine:
        engine.start(interrupted)
        assert body.begun.wait(PATIENCE)
    assert body.cancelled.wait(PATIENCE)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_what_a_coroutine_raises_is_the_steps_failure_and_the_loop_goes_on(error: type[BaseException]) -> None:
    async def leave() -> None:
        raise error("x")

    @workflow
    def leaving(ctx: Context) -> Flow[None]:
        yield from ctx.step("leave", leave)

    with Engine("memory://", workflows=[leaving, two_steps], worker=True) as engine:
        with pytest.raises(ExecutionFailed) as failed:
            engine.start(leaving).result(PATIENCE)
        assert isinstance(failed.value.cause, StepFailed)
        assert error.__name__ in str(failed.value.cause)
        assert len(set(engine.start(two_steps).result(PATIENCE))) == 1


def test_a_coroutine_knows_its_step_and_keeps_its_own_context() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")

    async def who(mine: str) -> tuple[str, str]:
        before = name.get()
        name.set(mine)
        await asyncio.sleep(0)
        return before, f"{name.get()} in {current_step().id}"

    @workflow
    def people(ctx: Context) -> Flow[tuple[tuple[str, str], ...]]:
        return (yield from ctx.all(ctx.step("a", who, "ann"), ctx.step("b", who, "bob")))

    with Engine("memory://", workflows=[people], worker=True) as engine:
        assert engine.start(people).result(PATIENCE) == (("nobody", "ann in 0/a"), ("nobody", "bob in 1/b"))
