"""Attempts of a workflow, its ends that are no exceptions, and ids that never meet."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Branch, Cancelled, Context, ExecutionFailed, Retry, StepFailed, current_step, workflow
from replay.backends.memory import MemoryStore
from replay.codec import TaggedJson
from replay.core import entries as e
from replay.core import requests as r
from replay.testing import Simulation, assert_recovers, fails, takes
from replay.testing.simulation.clock import VirtualClock
from replay.testing.simulation.stubs import Takes
from replay.worker import Worker
from replay.worker.options import WorkerOptions
from replay.worker.steps import run_call
from tests.sim.interactions import TWICE, act, kid, once_not, result_of


def kinds(sim: Simulation, handle: Any) -> list[str]:
    return [type(entry).__name__ for entry in sim.engine.operator.detail(handle).audit]


@workflow(retry=TWICE)
def receiving(ctx: Context) -> Any:
    got = []
    try:
        yield ctx.step("a", act).down(act)
        got.append((yield ctx.wait_for_signal("go")))
        yield ctx.step("b", act)
        got.append((yield ctx.wait_for_signal("go")))
    except StepFailed:
        yield ctx.rollback()
        raise
    return got


@pytest.mark.parametrize("cache_size", [0, 10])
def test_a_signal_whose_receipt_becomes_void_is_received_again_in_its_order(cache_size: int) -> None:
    with Simulation([receiving], steps={"b": once_not()}, cache_size=cache_size) as sim:
        handle = sim.start(receiving)
        for payload in (1, 2):
            sim.signal(handle, "go", payload)
        assert sim.settle(handle)
        assert handle.result() == [1, 2]
        assert kinds(sim, handle).count("SignalReceived") == 3


def test_no_message_makes_the_next_attempt_begin_early_and_the_timeout_holds_meanwhile() -> None:
    @workflow(retry=Retry(attempts=3, initial=60, jitter=0), timeout=90)
    def failing(ctx: Context) -> Any:
        yield ctx.step("no", act)

    with Simulation([failing], steps={"no": fails(ValueError)}) as sim:
        handle = sim.start(failing)
        sim.run()
        sim.signal(handle, "go")
        sim.run()
        assert handle.status() == "retrying"
        assert len(sim.executed) == 1
        sim.advance(60)
        assert len(sim.executed) == 2
        sim.advance(29)
        assert handle.status() == "retrying"
        sim.advance(1)
        assert handle.status() == "failed"
        assert isinstance(sim.engine.get_execution(handle).error, TimeoutError)


def test_an_operators_retry_gives_an_execution_that_timed_out_its_time_again() -> None:
    @workflow(timeout=10)
    def slow(ctx: Context) -> Any:
        return (yield ctx.wait_for_signal("go"))

    with Simulation([slow]) as sim:
        handle = sim.start(slow)
        sim.advance(11)
        assert handle.status() == "failed"
        sim.engine.operator.retry(handle)
        sim.run()
        assert handle.status() == "sleeping"
        sim.signal(handle, "go", 1)
        sim.run()
        assert handle.result() == 1


def test_an_error_of_the_workflows_own_is_not_retried_whatever_failed_before() -> None:
    @workflow(retry=Retry(attempts=3, initial=1))
    def own(ctx: Context) -> Any:
        for _ in range(20):
            try:
                yield ctx.step("no", act)
            except StepFailed:
                pass
        raise LookupError("mine")

    with Simulation([own], steps={"no": fails(ValueError)}) as sim:
        handle = sim.start(own)
        assert sim.settle(handle)
        assert sim.engine.get_execution(handle).attempt == 1


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, Cancelled])
def test_code_that_exits_fails_its_execution_not_the_worker(error: Any, before: bool) -> None:
    @workflow
    def exiting(ctx: Context) -> Any:
        if before:
            raise error("out")
        yield ctx.step("a", act)
        raise error("out")

    with Simulation([exiting, kid]) as sim:
        handle = sim.start(exiting)
        assert sim.settle(handle)
        with pytest.raises(ExecutionFailed, match=r"raised .*out.*Fix: return"):
            handle.result()
        assert result_of(sim, kid, 1) == 1


def test_what_a_cleanup_raises_after_a_cancel_is_in_the_audit() -> None:
    @workflow
    def careless(ctx: Context) -> Any:
        try:
            yield ctx.sleep(60)
        except Cancelled:
            raise LookupError("cleanup") from None

    with Simulation([careless]) as sim:
        handle = sim.start(careless)
        sim.run()
        sim.cancel(handle)
        sim.run()
        assert handle.status() == "cancelled"
        end = sim.engine.operator.detail(handle).audit[-1]
        assert isinstance(end, e.ExecutionClosed)
        assert isinstance(end.error, LookupError)


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@pytest.mark.parametrize("how", ["switch", "yield", "step"])
def test_values_that_cannot_be_shown_do_not_stick_an_execution(how: str) -> None:
    @workflow
    def odd(ctx: Context) -> Any:
        if how == "switch":
            yield ctx.switch("s", Unshowable(), [Branch("a", 1)])
        elif how == "yield":
            yield Unshowable()  # type: ignore[misc]
        else:
            yield ctx.step("s", Unshowable())  # type: ignore[arg-type]

    with Simulation([odd]) as sim:
        handle = sim.start(odd)
        assert sim.settle(handle)
        assert handle.status() == "failed"


@pytest.mark.parametrize("ids", [("ship", "ship#2", "ship"), ("ship", "ship", "ship#2"), ("ship#2", "ship", "ship")])
def test_no_two_steps_get_one_id_or_token(ids: tuple[str, ...]) -> None:
    tokens: list[str] = []

    def note() -> str:
        tokens.append(current_step().token)
        return current_step().id

    @workflow
    def shipping(ctx: Context) -> Any:
        got = []
        for id in ids:
            got.append((yield ctx.step(id, note)))
        yield ctx.sleep(60)
        return got

    with Simulation([shipping], cache_size=0) as sim:
        assert len(set(result_of(sim, shipping))) == 3
    assert len(set(tokens)) == 3


def test_an_at_most_once_step_is_not_begun_by_a_worker_that_drains() -> None:
    @workflow
    def careful(ctx: Context) -> Any:
        yield ctx.step("a", act)
        return (yield ctx.step("once", act, 1).at_most_once())

    store, codec = MemoryStore(VirtualClock()), TaggedJson()
    store.apply([r.Create("x", "careful", b"null")])

    def worker() -> Worker:
        return Worker(store, [careful], WorkerOptions(), codec=codec, clock=VirtualClock())

    first, second = worker(), worker()
    (call,) = first.turn().calls
    first.drain()
    first.post(run_call(call, codec, 1000))
    first.turn()
    assert first.drained
    (call,) = second.turn().calls
    assert call.id == "once"
    second.post(run_call(call, codec, 1000))
    second.turn()
    (header,) = store.apply([r.Get("x")])
    assert (header.status, header.result) == ("completed", b"1")


def test_what_runs_is_told_to_operators_within_moments_and_never_what_ran_before() -> None:
    @workflow
    def working(ctx: Context) -> Any:
        yield ctx.sleep(60)
        yield ctx.step("one", act)
        yield ctx.step("two", act)

    with Simulation([working], steps={"one": takes(0.2), "two": takes(500)}) as sim:
        handle = sim.start(working)
        sim.run()
        sim.advance(61.5)
        (where,) = sim.engine.get_execution(handle).current
        assert (where["kind"], where["id"]) == ("step", "two")


def test_what_a_body_said_last_is_found_by_its_repetition_after_its_process_died() -> None:
    found: list[Any] = []

    def body() -> str:
        found.append(current_step().details)
        current_step().heartbeat({"rows": len(found) * 10})
        return "done"

    @workflow
    def beating(ctx: Context) -> Any:
        return (yield ctx.step("copy", body))

    with Simulation([beating], steps={"copy": lambda call: Takes(100, call.fn())}) as sim:
        handle = sim.start(beating)
        sim.advance(5)
        sim.crash_in(1, before=True)
        assert sim.settle(handle)
    assert found == [None, {"rows": 10}]


def test_generated_ids_and_receipts_survive_a_crash_at_every_point() -> None:
    assert assert_recovers(receiving, signals=[("go", 1), ("go", 2)], steps={"b": once_not()}) > 10


def test_whoever_starts_a_workflow_its_executions_have_its_metadata_and_priority() -> None:
    @workflow(metadata={"team": "red", "tags": [1, None]}, priority=7)
    def started(ctx: Context) -> Any:
        yield ctx.sleep(1)

    @workflow
    def parent(ctx: Context) -> Any:
        yield ctx.start("by its own id", started, on_parent_close="abandon")
        yield ctx.start("by key", started, idempotency_key="k", on_parent_close="abandon")

    with Simulation([parent, started]) as sim:
        sim.start(parent)
        sim.start(started)
        sim.engine.ensure_schedule(started, id="hourly", interval=3600)
        sim.advance(hours=1)
        found = sim.engine.find_executions(workflow=started, metadata={"team": "red", "tags": [1, None]}).items
    assert [execution.priority for execution in found] == [7] * 4
    assert sum("schedule" in execution.metadata for execution in found) == 1
