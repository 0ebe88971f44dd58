"""What all, race, switch and children promise, each in a simulated cluster."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from replay import (
    Completed,
    Context,
    ExecutionFailed,
    NoBranchMatched,
    StepFailed,
    TimedOut,
    UnknownExecution,
    workflow,
)
from replay.core import entries as e
from replay.testing import Simulation, assert_recovers, assert_replay_equivalent, fails, takes
from tests.sim.promises import Busy, Yes, act, ended, undo, undone


def test_all_keeps_the_shape_of_what_it_was_given() -> None:
    @workflow
    def shapes(ctx: Context) -> Any:
        a = yield from ctx.all(ctx.step("x", act, 1), ctx.step("x", act, 2))
        b = yield from ctx.all([ctx.step("x", act, n) for n in range(3)])
        c = yield from ctx.all({"p": ctx.step("x", act, 5), "q": ctx.sleep(1)})
        d = yield from ctx.all([])
        e_ = yield from ctx.all()
        f = yield from ctx.map("m", act, range(10), limit=3)
        return a, b, c, d, e_, f

    with Simulation([shapes]) as sim:
        handle = sim.start(shapes)
        assert ended(sim, handle).result == ((1, 2), [0, 1, 2], {"p": 5, "q": None}, [], (), list(range(10)))
        ids = [entry.id for entry in sim.engine.detail(handle).audit if isinstance(entry, e.StepDone)]
        assert {"0/x", "1/x", "0/x#2", "p/x", "0/m", "9/m"} <= set(ids)
    assert_replay_equivalent(shapes)


def test_a_failure_in_all_is_raised_after_running_members_settled_and_waiting_ones_were_cancelled() -> None:
    @workflow
    def mixed(ctx: Context) -> Any:
        try:
            yield ctx.all(ctx.step("boom", act), ctx.step("paid", act, "charge").down(undo), ctx.sleep(1000))
        except StepFailed as error:
            report = yield from ctx.rollback()
            return error.step_id, report.undone

    undone.clear()
    with Simulation([mixed], steps={"boom": fails(Busy), "paid": takes(5, "charge")}) as sim:
        began = sim.now()
        assert ended(sim, sim.start(mixed)).result == ("0/boom", ("1/paid",))
        assert sim.now() - began < 10
    assert undone == ["charge"]


def test_a_race_cancels_its_losers_and_removes_their_timers() -> None:
    @workflow
    def racing(ctx: Context) -> Any:
        won = yield from ctx.race(paid=ctx.wait_for_signal(Yes), expired=ctx.sleep(timedelta(days=7)))
        yield ctx.sleep(1)
        return won.name, won.value

    with Simulation([racing]) as sim:
        handle = sim.start(racing)
        sim.run()
        sim.signal(handle, Yes, "me")
        sim.run()
        assert sim.next_due() is not None
        assert sim.next_due() - sim.now() <= 1.001  # type: ignore[operator]
        assert ended(sim, handle).result == ("paid", "me")
    with Simulation([racing]) as sim:
        assert ended(sim, sim.start(racing)).result == ("expired", None)


def test_race_and_all_nest_in_each_other() -> None:
    @workflow
    def nested(ctx: Context) -> Any:
        def member() -> Any:
            pair = yield from ctx.all(ctx.step("x", act, 1), ctx.race(a=ctx.step("y", act, 2), b=ctx.sleep(9)))
            return pair[0], pair[1].value

        won = yield from ctx.race({"deep": member(), "slow": ctx.all(ctx.sleep(50), ctx.sleep(60))})
        return won.name, won.value

    with Simulation([nested]) as sim:
        assert ended(sim, sim.start(nested)).result == ("deep", (1, 2))
    assert assert_recovers(nested) > 10


def test_switch_without_match_or_default_raises_and_a_recorded_choice_is_not_made_again() -> None:
    calls: list[int] = []

    @workflow
    def choosing(ctx: Context, value: int) -> Any:
        from replay import Branch

        def match(v: int) -> bool:
            calls.append(v)
            return v == 1

        try:
            result = yield from ctx.switch("pick", value, [Branch("one", match, lambda v: v * 10)])
        except NoBranchMatched:
            return "none"
        yield ctx.sleep(5)
        return result

    with Simulation([choosing], cache_size=0) as sim:
        assert ended(sim, sim.start(choosing, 1)).result == 10
        assert calls == [1]
        assert ended(sim, sim.start(choosing, 2)).result == "none"


@workflow
def kid(ctx: Context, seconds: float) -> Any:
    yield ctx.sleep(seconds)
    if seconds == 13:
        raise Busy("unlucky")
    return f"slept {seconds}"


def test_a_child_gives_its_result_and_its_failure_to_its_parent() -> None:
    @workflow
    def parent(ctx: Context, seconds: float) -> Any:
        try:
            return (yield from ctx.child("kid", kid, seconds))
        except ExecutionFailed as error:
            return type(error.cause).__name__

    with Simulation([parent, kid]) as sim:
        handle = sim.start(parent, 5)
        assert ended(sim, handle).result == "slept 5"
        tree = sim.engine.execution_tree(handle)
        assert [child.execution.workflow for child in tree.children] == ["kid"]
        assert tree.children[0].execution.parent_id == handle.id
        assert ended(sim, sim.start(parent, 13)).result == "Busy"
    assert assert_recovers(parent, 5, others=[kid]) > 10


@pytest.mark.parametrize(
    ("policy", "status"), [("cancel", "cancelled"), ("abandon", "sleeping"), ("wait", "completed")]
)
def test_children_follow_their_policy_when_the_parent_ends(policy: Any, status: str) -> None:
    @workflow
    def parent(ctx: Context) -> Any:
        return (yield from ctx.start("kid", kid, 50, on_parent_close=policy))

    with Simulation([parent, kid]) as sim:
        handle = sim.start(parent)
        sim.run()
        if policy == "wait":
            assert handle.status() == "sleeping"
            sim.advance(seconds=51)
        sim.run()
        assert handle.status() == "completed"
        assert sim.engine.get_execution(handle.result()).status == status


def test_waiting_for_an_execution_may_time_out_and_an_unknown_one_is_an_error() -> None:
    @workflow
    def waiter(ctx: Context, id: str) -> Any:
        try:
            return (yield from ctx.wait_for_execution(kid, id, timeout=20))
        except UnknownExecution:
            return "unknown"

    with Simulation([waiter, kid]) as sim:
        short, long = sim.start(kid, 5), sim.start(kid, 500)
        assert ended(sim, sim.start(waiter, short.id)).result == Completed("slept 5")
        assert ended(sim, sim.start(waiter, long.id)).result == TimedOut()
        assert ended(sim, sim.start(waiter, "nobody")).result == "unknown"
        assert ended(sim, sim.start(waiter, short.id)).result == Completed("slept 5")
