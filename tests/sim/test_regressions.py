"""Bugs that were found by fuzzing, each as the smallest program that failed before."""

from __future__ import annotations

import contextlib
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from replay import Context, StepFailed, workflow
from replay.backends.memory import MemoryStore
from replay.backends.sqlite import SqliteStore
from replay.clock import SystemClock
from replay.codec import TaggedJson
from replay.core import requests as r
from replay.testing import Simulation, assert_recovers, takes
from replay.testing.simulation.clock import VirtualClock
from replay.worker import Worker
from replay.worker.options import WorkerOptions
from replay.worker.steps import run_call


def ok() -> int:
    return 1


def no() -> int:
    raise ValueError("no")


def test_a_step_that_comes_back_together_with_the_winner_of_its_race_is_refused() -> None:
    @workflow
    def racing(ctx: Context) -> object:
        won = yield from ctx.race(a=ctx.step("a", ok), b=ctx.step("b", no))
        return won.name

    for seed in range(20):
        with Simulation([racing], seed=seed, steps={"a": takes(1.0, 1), "b": takes(1.0, 2)}) as sim:
            handle = sim.start(racing)
            assert sim.settle(handle)
            assert handle.result() in ("a", "b")


def test_members_that_fail_in_the_same_turn_fail_their_all_once() -> None:
    @workflow
    def failing(ctx: Context) -> object:
        try:
            yield from ctx.all(ctx.step("a", no), ctx.step("b", no), ctx.sleep(5))
        except StepFailed as error:
            return error.step_id
        return None

    assert assert_recovers(failing, same=False) > 4


def test_a_signal_consumed_before_a_crash_does_not_keep_its_execution_awake(tmp_path: Path) -> None:
    @workflow
    def waiting(ctx: Context) -> object:
        yield from ctx.wait_for_signal("go")
        yield from ctx.sleep(60)
        yield from ctx.sleep(60)

    def store(clock: Any) -> SqliteStore:
        found = SqliteStore(tmp_path / "found.db", clock=clock, synchronous="NORMAL")
        return stack.enter_context(contextlib.closing(found))

    with contextlib.ExitStack() as stack, Simulation([waiting], store=store, cache_size=0) as sim:
        handle = sim.start(waiting)
        sim.signal(handle, "go")
        sim.run()
        assert handle.status() == "sleeping"
        sim.advance(60)  # did not come back: to a session that had not seen the signal, it was news for ever
        assert handle.status() == "sleeping"


def test_an_id_used_again_is_claimed_from_the_new_executions_queue_only() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)

    def claim(queue: str) -> tuple[str, ...]:
        (claims,) = store.apply([r.Claim(queue, "worker", (queue,), (("w", ""),), 10, 30.0)])
        return tuple(claimed.header.id for claimed in claims.claimed)

    store.apply([r.Create("x", "w", b"null", queue="old"), r.Deliver("x", "m", "cancel"), r.Delete("x")])
    store.apply([r.Create("x", "w", b"null", queue="new")])
    assert claim("old") == ()  # an entry of the deleted execution seemed to be its own
    assert claim("new") == ("x",)


def test_a_step_does_not_wait_until_a_stream_of_others_has_ended() -> None:
    @workflow
    def quick(ctx: Context, n: int) -> object:
        yield from ctx.note("quick", n=n)
        return n

    @workflow
    def stepping(ctx: Context) -> object:
        return (yield from ctx.step("a", ok))

    clock = VirtualClock()
    with Simulation([quick, stepping], concurrency=1) as sim:
        handles = [sim.start(quick, n) for n in range(100)]
        turn = sim.engine.make_worker(clock=clock, concurrency=1).turn()
        assert turn.again, "the turn gives the loop back although there is more to do"
        last = sim.start(stepping)
        sim.run()
        assert last.result() == 1
        assert all(handle.status() == "completed" for handle in handles)


@pytest.mark.parametrize(("changes", "most"), [({"max_executions": 4}, 4), ({"concurrency": 5}, 5)])
def test_a_worker_of_limited_queues_takes_no_more_in_all_than_it_may(changes: dict[str, int], most: int) -> None:
    @workflow
    def waiting(ctx: Context) -> object:
        yield from ctx.sleep(60) if most == 4 else ctx.step("ok", ok)

    store = MemoryStore()
    for queue in ("a", "b", "c"):
        store.apply([r.Create(f"{queue}-{n}", "waiting", b"null", queue=queue) for n in range(9)])
    options = WorkerOptions(queues=("a", "b", "c"), queue_limits={"a": 3, "b": 4}, **changes)  # type: ignore[arg-type]
    worker = Worker(store, [waiting], options, codec=TaggedJson(), clock=SystemClock())
    worker.turn()
    assert worker.metrics.claimed == most
    worker.release()
    worker.close()


def test_an_execution_that_has_ended_leaves_nothing_to_the_garbage_collector() -> None:
    @workflow
    def stepping(ctx: Context) -> object:
        ctx.log.info("steps")
        return (yield from ctx.step("a", ok))

    store, codec = MemoryStore(), TaggedJson()
    worker = Worker(store, [stepping], WorkerOptions(), codec=codec, clock=SystemClock())
    store.apply([r.Create("x", "stepping", b"null")])
    gc.disable()
    try:
        (call,) = worker.turn().calls
        (session,) = worker.sessions()
        kept = [weakref.ref(session), weakref.ref(session.interpreter), weakref.ref(session.interpreter.root.gen)]
        del session
        worker.post(run_call(call, codec, 1000))
        worker.turn()
        assert worker.active == 0
        assert [each() for each in kept] == [None, None, None]
    finally:
        gc.enable()


def test_a_log_that_does_not_fit_makes_its_execution_stuck_without_a_failure_of_the_engine(caplog: Any) -> None:
    @workflow
    def stepping(ctx: Context) -> object:
        return (yield from ctx.step("a", ok))

    store, codec = MemoryStore(), TaggedJson()
    other = codec.encode(["StepDone", 1.0, 0, "b", 1, None, 1, 0.0])
    began = codec.encode(["Began", 1.0, 0, "", "w", 1])
    store.apply([r.Create("x", "stepping", b"null", entries=(began, other))])
    worker = Worker(store, [stepping], WorkerOptions(), codec=codec, clock=SystemClock())
    worker.turn()
    (header,) = store.apply([r.Get("x")])
    assert (header.status, b"NonDeterminism" in header.current) == ("stuck", True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
