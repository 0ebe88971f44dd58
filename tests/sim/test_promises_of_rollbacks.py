"""What rollbacks promise, each in a simulated cluster."""

from __future__ import annotations

from typing import Any

from replay import CompensationFailed, Context, StepFailed, workflow
from replay.testing import Simulation, assert_recovers, fails
from tests.sim.promises import Busy, act, ended, undo, undone


@workflow
def saga(ctx: Context) -> Any:
    try:
        yield ctx.step("one", act, 1).down(undo)
        yield ctx.sleep(60)
        yield ctx.switch("which", "b", [], default=lambda: inside(ctx))
        yield ctx.all(ctx.step("three", act, 3).down(undo), ctx.sleep(1))
        yield ctx.wait_for_signal("go", timeout=60)
        yield ctx.step("boom", act)
    except StepFailed:
        report = yield from ctx.rollback()
        return report.undone
    return "fine"


def inside(ctx: Context) -> Any:
    yield ctx.step("two", act, 2).down(undo)


def test_a_saga_with_sleeps_inside_its_try_compensates_only_when_a_step_really_fails() -> None:
    undone.clear()
    with Simulation([saga], cache_size=0) as sim:
        assert ended(sim, sim.start(saga)).result == "fine"
    assert undone == []


def test_compensations_run_newest_first_also_those_of_branches_and_members_and_never_twice() -> None:
    for cache in (0, 100):
        undone.clear()
        with Simulation([saga], steps={"boom": fails(Busy)}, cache_size=cache) as sim:
            assert ended(sim, sim.start(saga)).result == ("0/three", "default/two", "one")
        assert undone == [3, 2, 1]
    assert assert_recovers(saga, steps={"boom": fails(Busy)}, effects=False) > 20


def test_a_failing_compensation_ends_compensation_failed_and_tells_what_is_left() -> None:
    with Simulation([saga], steps={"boom": fails(Busy), "rollback:default/two": fails(Busy)}) as sim:
        execution = ended(sim, sim.start(saga))
    assert execution.status == "compensation_failed"
    assert isinstance(execution.error, CompensationFailed)
    assert execution.error.undone == ("0/three",)
    assert execution.error.remaining == ("default/two", "one")


def test_an_uncaught_failure_rolls_back_only_when_asked_to() -> None:
    def flow(ctx: Context) -> Any:
        yield ctx.step("one", act, 1).down(undo)
        yield ctx.step("boom", act)

    for wanted in (False, True):
        undone.clear()
        definition: Any = workflow("flow", rollback_on_failure=wanted)(flow)
        with Simulation([definition], steps={"boom": fails(Busy)}) as sim:
            assert ended(sim, sim.start(definition)).status == "failed"
        assert undone == ([1] if wanted else [])
