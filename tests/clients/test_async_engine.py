"""Promises of `AsyncEngine` alone: batches, waits that hold no thread, loops that come and go, a store that is away."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from replay import AsyncEngine, ConfigError, Context, Engine, Flow, Signal, StoreUnavailable, workflow
from replay.backends.memory.store import MemoryStore
from replay.core import requests as r
from tests.servers.process import PATIENCE, until

Go = Signal("go", int)


@workflow
def returns(ctx: Context, number: int) -> Flow[int]:
    yield ctx.note("once")
    return number


@workflow
def waits(ctx: Context) -> Flow[int]:
    return (yield from ctx.wait_for_signal(Go))


class Watched(MemoryStore):
    """A memory store that notes its batches, and that can be away or held."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[r.Request[Any]]] = []
        self.away = False
        self.free = threading.Event()
        self.free.set()

    def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        self.free.wait()
        if self.away:
            raise StoreUnavailable("away")
        self.batches.append(list(requests))
        return super().apply(requests)


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


def test_concurrent_starts_of_one_turn_are_one_call_of_the_store() -> None:
    store = Watched()

    async def main() -> None:
        async with AsyncEngine(store, workflows=[returns]) as engine:
            handles = await asyncio.gather(*(engine.start(returns, n) for n in range(100)))
            assert len({handle.id for handle in handles}) == 100
            assert [len(batch) for batch in store.batches] == [100]

    run(main())


def test_a_refusal_is_its_callers_alone() -> None:
    async def main() -> None:
        async with AsyncEngine("memory://", workflows=[returns]) as engine:
            handle = await engine.start(returns, 1)
            replies = await asyncio.gather(
                engine.cancel(handle),
                engine.signal("nobody", Go, 1),
                engine.get_execution(handle),
                return_exceptions=True,
            )
            assert [type(reply).__name__ for reply in replies] == ["NoneType", "UnknownExecution", "Execution"]

    run(main())


def test_ten_thousand_waits_hold_no_thread_and_end_together() -> None:
    async def main() -> None:
        with Engine("memory://", workflows=[waits], worker=True) as sync:
            engine = AsyncEngine(sync)
            handles = [await engine.start(waits) for _ in range(3)]
            before = threading.active_count()
            results = [asyncio.ensure_future(handles[n % 3].result()) for n in range(10_000)]
            await asyncio.sleep(0)
            for handle in handles:
                await handle.signal(Go, 7)
            assert await asyncio.gather(*results) == [7] * 10_000
            assert threading.active_count() <= before + 2
            await engine.aclose()

    run(main())


def test_cancelled_waits_leave_nothing_behind() -> None:
    async def main() -> None:
        with Engine("memory://", workflows=[waits], worker=True) as sync:
            engine = AsyncEngine(sync)
            handles = await asyncio.gather(*(engine.start(waits) for _ in range(100)))
            for _ in range(100):
                tasks = [asyncio.ensure_future(handle.result()) for handle in handles]
                await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            kept = asyncio.ensure_future(handles[0].result())
            await handles[0].signal(Go, 1)
            assert await kept == 1
            del tasks, kept
            while engine.waits:  # the last sweep forgets them
                await asyncio.sleep(0)
            gc.collect()
            assert (await handles[1].status()) in ("pending", "running", "sleeping")  # a cancelled wait cancels nothing
            assert len(asyncio.all_tasks()) == 2
            await engine.aclose()

    run(main())


def test_a_store_that_is_away_blocks_nobody_and_waits_go_on_when_it_is_back() -> None:
    store = Watched()

    async def main() -> None:
        with Engine(store, workflows=[waits], worker=True) as sync:
            engine = AsyncEngine(sync)
            handle = await engine.start(waits)
            result = asyncio.ensure_future(handle.result())
            while not engine.waits:
                await asyncio.sleep(0)
            store.away = True
            with pytest.raises(StoreUnavailable):
                await engine.ping()
            with pytest.raises(StoreUnavailable):
                await engine.wait(handle.id)
            assert not result.done()
            store.away = False
            await handle.signal(Go, 3)
            assert await result == 3
            await engine.aclose()

    run(main())


def test_the_loop_goes_on_while_the_store_answers_nobody() -> None:
    store = Watched()

    async def main() -> None:
        engine = AsyncEngine(store, workflows=[returns])
        store.free.clear()
        asked = [asyncio.ensure_future(engine.ping()) for _ in range(3)]
        for _ in range(100):
            await asyncio.sleep(0)
        assert not any(task.done() for task in asked)
        store.free.set()
        await asyncio.gather(*asked)
        await engine.aclose()

    run(main())


def test_closing_ends_the_waits_and_refuses_what_comes() -> None:
    async def main() -> None:
        engine = AsyncEngine("memory://", workflows=[waits])
        handle = await engine.start(waits)
        result = asyncio.ensure_future(handle.result())
        while not engine.waits:
            await asyncio.sleep(0)
        await engine.aclose()
        await engine.aclose()
        with pytest.raises(StoreUnavailable, match="closed"):
            await result
        with pytest.raises(StoreUnavailable, match="closed"):
            await engine.ping()
        with pytest.raises(StoreUnavailable, match="closed"):
            await engine.count_executions()

    run(main())


def test_closing_the_engine_that_is_wrapped_ends_the_waits() -> None:
    async def main() -> None:
        sync = Engine("memory://", workflows=[waits])
        engine = AsyncEngine(sync)
        handle = await engine.start(waits)
        result = asyncio.ensure_future(handle.result())
        while not engine.waits:
            await asyncio.sleep(0)
        sync.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await result
        await engine.aclose()

    run(main())


def test_an_engine_made_before_any_loop_serves_one_loop_after_the_other() -> None:
    engine = AsyncEngine("memory://", workflows=[returns])
    handles = [run(engine.start(returns, n, id=f"e-{n}")) for n in range(5)]
    assert [handle.id for handle in handles] == [f"e-{n}" for n in range(5)]
    assert run(engine.count_executions()) == {"pending": 5}
    run(engine.aclose())
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("replay-async")])


def test_options_belong_to_the_engine_that_is_made() -> None:
    with Engine("memory://") as sync, pytest.raises(ConfigError, match="namespace"):
        AsyncEngine(sync, namespace="x")
