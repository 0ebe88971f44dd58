"""What commands promise where they meet: parallel rollbacks, waits for one signal, retries of what was received or started."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Branch, Context, ExecutionFailed, ForgottenYield, SignalRefused, TimedOut, workflow
from replay.testing import Simulation, assert_replay_equivalent, takes
from tests.sim.interactions import act, result_of


@pytest.mark.parametrize("seed", range(6))
def test_a_rollback_undoes_each_step_once_although_a_sibling_registers_another_meanwhile(seed: int) -> None:
    undone: list[str] = []

    @workflow
    def saga(ctx: Context) -> Any:
        def first() -> Any:
            yield ctx.step("a", act, "a").down(undone.append)
            yield ctx.rollback()

        def second() -> Any:
            yield ctx.step("b", act, "b").down(undone.append)
            yield ctx.sleep(10)

        yield ctx.all(first(), second())
        yield ctx.rollback()

    with Simulation([saga], seed=seed) as sim:
        result_of(sim, saga)
    assert sorted(undone) == ["a", "b"]


def test_rollbacks_of_two_members_come_one_after_the_other() -> None:
    undone: list[str] = []

    @workflow
    def saga(ctx: Context) -> Any:
        for name in "abc":
            yield ctx.step(name, act, name).down(undone.append)

        def member() -> Any:
            return (yield ctx.rollback())

        reports = yield ctx.all(member(), member())
        return [report.undone for report in reports]

    with Simulation([saga]) as sim:
        assert result_of(sim, saga) == [("c", "b", "a"), ()]
    assert undone == ["c", "b", "a"]
    assert_replay_equivalent(saga)


def test_a_losers_running_step_with_a_compensation_ends_first_so_that_a_rollback_knows_it() -> None:
    @workflow
    def racing(ctx: Context) -> Any:
        winner = yield ctx.race(quick=ctx.step("look", act), slow=ctx.step("charge", act).down(act))
        report = yield ctx.rollback()
        return winner.name, report.undone

    with Simulation([racing], steps={"look": takes(1), "charge": takes(5, "paid")}) as sim:
        assert result_of(sim, racing) == ("quick", ("slow/charge",))


@pytest.mark.parametrize("cache_size", [0, 10])
def test_a_branch_may_be_a_command_or_give_one(cache_size: int) -> None:
    @workflow
    def switching(ctx: Context, value: int) -> Any:
        chosen = yield ctx.switch(
            "pick",
            value,
            [
                Branch("a", 1, ctx.step("a", act, "a").retry(2)),
                Branch("b", 2, lambda: ctx.step("b", act, "b").retry(2)),
                Branch("c", 3, ctx.sleep(5)),
            ],
            default=ctx.step("d", act, "d"),
        )
        yield ctx.sleep(60)
        return chosen

    with Simulation([switching], cache_size=cache_size) as sim:
        assert [result_of(sim, switching, n) for n in (1, 2, 3, 4)] == ["a", "b", None, "d"]


def test_a_command_lost_in_a_replayed_part_is_told_with_the_place_where_it_was_missed() -> None:
    @workflow
    def forgetful(ctx: Context) -> Any:
        yield ctx.sleep(60)
        ctx.step("lost", act)
        yield ctx.step("kept", act)

    with Simulation([forgetful], cache_size=0) as sim:
        handle = sim.start(forgetful)
        sim.settle(handle)
        with pytest.raises(ExecutionFailed) as caught:
            handle.result()
    line = forgetful.fn.__code__.co_firstlineno + 3
    assert isinstance(caught.value.cause, ForgottenYield)
    assert f"at line {line} of {__file__}" in str(caught.value.cause)
    assert f"{__file__}:{line + 1}" in str(caught.value.cause)


def test_a_generator_expression_gives_members() -> None:
    @workflow
    def fanning(ctx: Context) -> Any:
        return (yield ctx.all(ctx.step(f"s{i}", act, i) for i in range(3)))

    with Simulation([fanning]) as sim:
        assert result_of(sim, fanning) == [0, 1, 2]


def test_of_two_waits_for_one_buffered_signal_the_second_still_times_out() -> None:
    @workflow
    def waiting(ctx: Context) -> Any:
        return (yield ctx.all(ctx.wait_for_signal("go"), ctx.wait_for_signal("go", timeout=10)))

    with Simulation([waiting]) as sim:
        handle = sim.start(waiting)
        sim.signal(handle, "go", "early")
        assert sim.settle(handle)
        assert handle.result() == ("early", TimedOut())


def test_waiting_for_a_signal_that_nobody_may_send_is_refused() -> None:
    @workflow(signals=[])
    def deaf(ctx: Context) -> Any:
        try:
            yield ctx.wait_for_signal("go")
        except SignalRefused as error:
            return str(error)

    with Simulation([deaf]) as sim:
        assert "Fix: add it to @workflow(signals=[...])" in result_of(sim, deaf)
