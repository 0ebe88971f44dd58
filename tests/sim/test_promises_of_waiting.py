"""What waiting, timing out and cancelling promise, each in a simulated cluster."""

from __future__ import annotations

import contextlib
import itertools
from datetime import timedelta
from typing import Any

import pytest

from replay import (
    Cancelled,
    Context,
    ExecutionCancelled,
    ExecutionEnded,
    ExecutionFailed,
    Received,
    SignalRefused,
    TimedOut,
    UnknownExecution,
    workflow,
)
from replay.testing import CrashPoint, Simulation, hangs
from tests.sim.promises import Yes, act, ended, one_step, undo, undone


@workflow(signals=[Yes])
def asks(ctx: Context, patience: float | None) -> Any:
    match (yield from ctx.wait_for_signal(Yes, timeout=patience)):
        case TimedOut():
            return "timeout"
        case Received(answer):
            return answer
        case answer:
            return answer


def test_early_signals_are_kept_and_taken_first_in_first_out() -> None:
    @workflow
    def two(ctx: Context) -> Any:
        yield ctx.sleep(10)
        first = yield from ctx.wait_for_signal(Yes)
        second = yield from ctx.wait_for_signal(Yes)
        return [first, second]

    with Simulation([two]) as sim:
        handle = sim.start(two)
        sim.signal(handle, Yes, "a")
        sim.signal(handle, Yes, "b")
        assert ended(sim, handle).result == ["a", "b"]


def test_a_signal_that_came_before_the_timeout_wins_however_late_it_is_noticed() -> None:
    for seed in range(30):
        with Simulation([asks], seed=seed, workers=2, cache_size=seed % 2) as sim:
            handle = sim.start(asks, 10)
            sim.run()
            sim.clock.move_to(sim.now() + 9.999)
            sim.signal(handle, Yes, "in time")
            sim.clock.move_to(sim.now() + 100)
            assert ended(sim, handle).result == "in time"


def test_signals_of_the_wrong_kind_are_refused_at_the_sender() -> None:
    with Simulation([asks]) as sim:
        handle = sim.start(asks, None)
        with pytest.raises(SignalRefused):
            sim.signal(handle, "no", "x")
        with pytest.raises(SignalRefused):
            sim.signal(handle, Yes, 5)
        with pytest.raises(UnknownExecution):
            sim.signal("nobody", Yes, "x")
        sim.signal(handle, Yes, "x", dedupe_id="1")
        sim.signal(handle, Yes, "x", dedupe_id="1")
        for bad in ("", "\ud800"):
            with pytest.raises(ValueError, match="dedupe_id"):
                sim.signal(handle, Yes, "x", dedupe_id=bad)
        sim.run()
        assert handle.result() == "x"
        with pytest.raises(ExecutionEnded):
            sim.signal(handle, Yes, "late")


def test_an_execution_times_out_while_it_sleeps() -> None:
    @workflow(timeout=timedelta(hours=1))
    def sleeper(ctx: Context) -> Any:
        yield ctx.sleep(timedelta(days=30))

    with Simulation([sleeper]) as sim:
        handle = sim.start(sleeper)
        sim.advance(minutes=59)
        assert handle.status() == "sleeping"
        sim.advance(minutes=1)
        assert handle.status() == "failed"
        with pytest.raises(ExecutionFailed) as caught:
            handle.result()
        assert isinstance(caught.value.cause, TimeoutError)


def test_cancelled_is_thrown_at_the_yield_and_cleanup_may_follow() -> None:
    @workflow
    def tidy(ctx: Context) -> Any:
        yield ctx.step("one", act, 1).down(undo)
        try:
            yield ctx.sleep(1000)
        except Exception:  # a saga's handler: a cancel is not for it
            return "wrong"
        except Cancelled:
            yield ctx.rollback()
            yield ctx.step("tidy", act, "tidied")
            raise

    undone.clear()
    with Simulation([tidy]) as sim:
        handle = sim.start(tidy)
        sim.run()
        sim.cancel(handle, "no more")
        sim.cancel(handle, "again")
        sim.run()
        assert handle.status() == "cancelled"
        with pytest.raises(ExecutionCancelled, match="no more"):
            handle.result()
        with pytest.raises(ExecutionEnded):
            sim.cancel(handle)
    assert undone == [1]


def test_a_running_step_is_asked_to_stop_and_given_up_after_the_grace() -> None:
    @workflow
    def busy(ctx: Context) -> Any:
        yield ctx.step("act", act)

    with Simulation([busy], steps={"act": hangs()}) as sim:
        handle = sim.start(busy)
        sim.run()
        sim.cancel(handle)
        sim.run()
        assert handle.status() == "cancelling"
        sim.advance(seconds=2)
        assert handle.status() == "cancelled"


def test_an_execution_that_never_began_is_cancelled_at_once_without_running_code() -> None:
    with Simulation([one_step], workers=0) as sim:
        handle = sim.start(one_step)
        sim.cancel(handle, "not needed")
        assert handle.status() == "cancelled"


def happens(what: str, sim: Simulation, handle: Any) -> None:
    with contextlib.suppress(ExecutionEnded):
        match what:
            case "signal":
                sim.signal(handle, Yes, "yes")
            case "cancel":
                sim.cancel(handle)
            case _:
                sim.advance(seconds=2)


def test_signal_timeout_cancel_and_completion_have_exactly_one_outcome_in_every_order() -> None:
    outcomes = set()
    for seed in range(60):
        with Simulation([asks], seed=seed, workers=2, faults=True) as sim:
            handle = sim.start(asks, 1)
            for what in sim.chance.sample(["signal", "cancel", "time"], 3):
                happens(what, sim, handle)
                sim.clock.move_to(sim.now() + 0.01)
            execution = ended(sim, handle)
            outcomes.add((str(execution.status), execution.result))
            assert_log_replays(sim, handle)
    assert outcomes == {("completed", "yes"), ("completed", "timeout"), ("cancelled", None)}


@pytest.mark.parametrize("order_", list(itertools.permutations(["signal", "cancel", "time"])), ids="-".join)
def test_of_signal_timeout_and_cancel_one_decides_with_a_crash_at_every_point(order_: tuple[str, ...]) -> None:
    def run(point: CrashPoint | None) -> tuple[Any, int]:
        with Simulation([asks], crash_at=point) as sim:
            handle = sim.start(asks, 1)
            for what in order_:
                happens(what, sim, handle)
            execution = ended(sim, handle)
            assert_log_replays(sim, handle)
            assert sim.violation(handle.id) is None
            return (str(execution.status), execution.result), sim.injector.effects

    _, effects = run(None)
    for number in range(1, effects + 1):
        for before in (True, False):
            outcome, _ = run(CrashPoint(number, before))
            assert outcome in {("completed", "yes"), ("completed", "timeout"), ("cancelled", None)}


def assert_log_replays(sim: Simulation, handle: Any) -> None:
    from replay.testing.checks.recovery import record
    from replay.testing.checks.replaying import replay

    recorded = record(sim, handle.id)
    if recorded.rows:
        replay(sim.engine.workflow(recorded.header.workflow), recorded).close()
