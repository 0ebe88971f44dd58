"""Retries, forks and skipped steps where money was moved: nothing is charged twice, or refunded for a charge."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Cancelled, Context, Engine, OperatorRefused, ReservedId, Retry, StepFailed, workflow
from replay.backends.memory import MemoryStore
from replay.core import requests as r
from replay.testing import Simulation, fails, hangs, takes
from replay.testing.simulation.clock import VirtualClock
from tests.sim.operated import Busy, act, broken, changed, failed, order, pay, ran, undo, undone


@pytest.fixture(autouse=True)
def _reset() -> None:
    broken[0], changed[0] = True, False
    undone.clear()


def check() -> str:
    if broken[0]:
        raise Busy
    return "fine"


@workflow
def shop(ctx: Context) -> Any:
    yield ctx.step("price", act, "price")
    paid = yield ctx.step("charge", act, "charge").down(undo)
    try:
        yield ctx.step("check", check)
    except StepFailed:
        yield ctx.rollback()
        raise
    return (yield ctx.step("ship", act, ["ship", paid]))


def test_a_fork_does_not_take_a_refunded_charge_for_a_charge() -> None:
    with Simulation([shop]) as sim:
        handle = sim.start(shop)
        sim.run()
        assert (handle.status(), undone) == ("failed", ["charge"])
        broken[0] = False
        forked = sim.handle(sim.engine.operator.fork(handle, before="check").id)
        sim.run()
        assert forked.result() == ["ship", "charge"]
        assert [id for id in ran(sim) if id in ("price", "charge")] == ["price", "charge", "charge"]


@workflow
def retrying(ctx: Context) -> Any:
    paid = yield ctx.step("pay", pay).retry(Retry(attempts=3, initial=10.0, jitter=0.0))
    return paid, (yield ctx.step("third", act, "c"))


@workflow
def members(ctx: Context) -> Any:
    both = yield ctx.all(ctx.step("bad", pay), ctx.step("good", act, "good"))
    return both, (yield ctx.step("after", act, "after"))


def test_a_fork_takes_results_as_an_operator_edited_and_voided_them_and_keeps_the_stored_bytes() -> None:
    with Simulation([order, members], steps={"1/good": takes(5, "good")}, cache_size=0) as sim:
        operator = sim.engine.operator
        handle, parallel = sim.start(order, "sleep"), sim.start(members)
        sim.run()
        operator.edit_step_result(handle, "first", "edited")
        sim.advance(seconds=1001)
        assert (handle.status(), parallel.status()) == ("failed", "failed")
        broken[0] = False
        for before in ("sleep", "pay"):  # the edit came later than the first, and earlier than the second
            forked = sim.handle(operator.fork(handle, before=before).id)
            sim.advance(seconds=1001)
            assert forked.result() == ("edited", "paid", "c")
            mine, other = (sim.engine.ask(r.Load(each.id)) for each in (forked, handle))
            assert mine[:2] == other[:2]
        operator.retry(parallel)
        sim.run()
        assert parallel.status() == "completed"
        forked = sim.handle(operator.fork(parallel, before="1/good").id)
        sim.advance(seconds=10)
        assert forked.result() == (("paid", "good"), "after")


def test_a_fork_of_what_was_cancelled_goes_on_and_keeps_the_time_it_may_take() -> None:
    broken[0] = False
    with Simulation([order]) as sim:
        handle = sim.start(order, "sleep", timeout=5000)
        sim.run()
        sim.cancel(handle)
        sim.run()
        assert handle.status() == "cancelled"
        sim.advance(seconds=600)
        forked = sim.handle(sim.engine.operator.fork(handle).id)
        sim.run()
        header = sim.engine.ask(r.Get(forked.id))
        assert header is not None
        assert (header.status, header.deadline) == ("sleeping", header.created_at + 5000)
        sim.advance(seconds=1001)
        assert forked.result() == ("a", "paid", "c")


def test_a_retry_of_what_ran_out_of_time_gives_it_time_again() -> None:
    broken[0] = False
    with Simulation([order]) as sim:
        handle = sim.start(order, "sleep", timeout=500)
        sim.advance(seconds=501)
        assert handle.status() == "failed"
        sim.engine.operator.retry(handle)
        sim.advance(seconds=1001)
        assert handle.result() == ("a", "paid", "c")
        assert ran(sim) == ["first", "pay", "third"]


@workflow
def impatient(ctx: Context) -> Any:
    paid = yield ctx.step("charge", act, "charge").down(undo)
    try:
        yield ctx.sleep(1000)
    except Cancelled:
        yield ctx.rollback()
        raise
    return (yield ctx.step("ship", act, ["ship", paid]))


def test_a_retry_after_a_timeout_that_was_rolled_back_runs_the_refunded_charge_again() -> None:
    broken[0] = False
    with Simulation([impatient]) as sim:
        handle = sim.start(impatient, timeout=500)
        sim.advance(seconds=501)
        assert (handle.status(), undone) == ("failed", ["charge"])
        sim.engine.operator.retry(handle)
        sim.advance(seconds=1001)
        assert handle.result() == ["ship", "charge"]
        assert ran(sim) == ["charge", "rollback:charge", "charge", "ship"]


@workflow
def parent(ctx: Context) -> Any:
    return (yield ctx.child("child", order, "plain"))


def test_a_child_that_was_repaired_by_itself_gives_its_result_to_a_parent_that_is_retried() -> None:
    with Simulation([order, parent]) as sim:
        handle = sim.start(parent)
        sim.run()
        (child,) = sim.engine.find_executions(parent=handle)
        assert (handle.status(), child.status) == ("failed", "failed")
        broken[0] = False
        sim.engine.operator.retry(child.id)
        sim.run()
        sim.engine.operator.retry(handle)
        sim.run()
        assert handle.result() == ("a", "paid", "c")
        assert ran(sim).count("first") == 1


def test_skip_step_goes_by_the_log_not_by_what_was_last_shown() -> None:
    with Simulation(
        [retrying], steps={"pay": fails(Busy, times=1, then="paid"), "third": hangs()}, cache_size=0
    ) as sim:
        handle = sim.start(retrying)
        sim.run()
        assert handle.status() == "retrying"
        sim.advance(seconds=11)
        assert handle.status() == "running"
        with pytest.raises(OperatorRefused, match="answered already"):
            sim.engine.operator.skip_step(handle, "pay", "twice")
        sim.advance(seconds=10)
        sim.engine.operator.skip_step(handle, "third", "by hand")
        sim.advance(seconds=10)
        assert handle.result() == ("paid", "by hand")
        assert sim.engine.get_execution(handle).attempt == 1, "it has not failed"


def test_a_step_that_is_tried_again_and_again_can_be_skipped_while_it_runs() -> None:
    with Simulation([retrying], steps={"pay": fails(Busy, times=1, then=hangs())}, cache_size=0) as sim:
        handle = sim.start(retrying)
        sim.advance(seconds=11)
        sim.engine.operator.skip_step(handle, "pay", "by hand")
        sim.run()
        assert handle.result() == ("by hand", "c")


def test_skip_step_is_refused_where_earlier_steps_were_rolled_back() -> None:
    sim, handle = failed("rollback")
    with pytest.raises(OperatorRefused, match=r"'first' .* was rolled back"):
        sim.engine.operator.skip_step(handle, "pay")
    assert handle.status() == "failed"


def test_a_fork_does_not_pass_for_an_execution_that_exists_already() -> None:
    with Simulation([order]) as sim:
        first, other = sim.start(order, "sleep"), sim.start(order, "plain")
        sim.run()
        for taken in (first.id, other.id):
            with pytest.raises(OperatorRefused, match=rf"'{taken}' exists already. Fix: choose another id"):
                sim.engine.operator.fork(first, id=taken)
        with pytest.raises(ReservedId, match="is not allowed"):
            sim.engine.operator.fork(first, id="copy of it")
        assert sim.engine.operator.fork(first, id="copy").id == "copy"


def test_a_fork_whose_answer_was_lost_is_not_refused_as_its_own_double() -> None:
    class Deaf(MemoryStore):
        def apply(self, requests: Any) -> Any:
            if any(isinstance(request, r.Create) and request.entries for request in requests):
                super().apply(requests)  # and the answer is lost: it is asked again
            return super().apply(requests)

    with Engine(Deaf(VirtualClock()), workflows=[order]) as engine:
        first = engine.start(order, "sleep")
        assert engine.operator.fork(first, id="copy").status() == "pending"
