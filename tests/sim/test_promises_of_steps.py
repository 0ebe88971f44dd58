"""What steps promise, each in a simulated cluster."""

from __future__ import annotations

from typing import Any

import pytest

from replay import (
    Context,
    Err,
    ExecutionFailed,
    Ok,
    RemoteError,
    Retry,
    StepFailed,
    StepInterrupted,
    current_step,
    workflow,
)
from replay.testing import CrashPoint, Simulation, fails, hangs, returns, takes
from tests.sim.promises import Busy, act, ended, one_step


def test_a_failed_step_raises_step_failed_with_its_cause() -> None:
    with Simulation([one_step], steps={"act": fails(Busy)}) as sim:
        handle = sim.start(one_step)
        sim.settle(handle)
        with pytest.raises(ExecutionFailed) as caught:
            handle.result()
    failed = caught.value.__cause__
    assert isinstance(failed, StepFailed)
    assert (failed.step_id, failed.attempts, type(failed.cause)) == ("act", 3, Busy)
    assert failed.__cause__ is failed.cause


def test_retries_wait_as_timers_and_attempts_survive_crashes() -> None:
    with Simulation([one_step], steps={"act": fails(Busy, times=2, then=7)}, cache_size=0) as sim:
        handle = sim.start(one_step)
        sim.run()
        assert handle.status() == "retrying"
        began = sim.now()
        assert ended(sim, handle).result == 7
        assert sim.now() - began == pytest.approx(30)
        assert [attempt for _, _, attempt in sim.executed] == [1, 2, 3]


def test_a_server_may_say_when_to_come_back() -> None:
    class Later(Exception):
        retry_after = 120

    @workflow
    def patient(ctx: Context) -> Any:
        return (yield ctx.step("act", act).retry(2))

    with Simulation([patient], steps={"act": fails(Later, times=1)}) as sim:
        handle = sim.start(patient)
        sim.run()
        sim.advance(seconds=119)
        assert handle.status() == "retrying"
        sim.advance(seconds=1)
        assert handle.status() == "completed"


def test_retry_ends_at_classes_that_are_never_worth_it_and_at_the_deadline() -> None:
    @workflow
    def picky(ctx: Context, never: bool) -> Any:
        policy = Retry(5, initial=10, jitter=0, never=(Busy,)) if never else Retry(5, initial=10, jitter=0, deadline=25)
        outcome = yield from ctx.step("act", act).retry(policy).settled()
        return outcome.error.attempts if isinstance(outcome, Err) else None

    for never, attempts in ((True, 1), (False, 2)):
        with Simulation([picky], steps={"act": fails(Busy)}) as sim:
            assert ended(sim, sim.start(picky, never)).result == attempts


def test_a_step_that_hangs_times_out_and_its_late_result_is_refused() -> None:
    @workflow
    def slow(ctx: Context) -> Any:
        outcome = yield from ctx.step("act", act).timeout(5).settled()
        yield ctx.sleep(100)
        return type(outcome.error.cause).__name__ if isinstance(outcome, Err) else outcome.value

    for stub in (hangs(), takes(20, "late")):
        with Simulation([slow], steps={"act": stub}) as sim:
            assert ended(sim, sim.start(slow)).result == "StepTimeout"


def test_settled_gives_the_outcome_as_a_value() -> None:
    @workflow
    def settled(ctx: Context) -> Any:
        good = yield from ctx.step("good", act, 1).settled()
        bad = yield from ctx.step("bad", act).settled()
        return isinstance(good, Ok) and good.value, isinstance(bad, Err) and bad.error.step_id  # type: ignore[attr-defined]

    with Simulation([settled], steps={"bad": fails(Busy)}) as sim:
        assert ended(sim, sim.start(settled)).result == (1, "bad")


def test_an_at_most_once_step_that_was_begun_is_not_run_again_but_reported() -> None:
    @workflow
    def careful(ctx: Context) -> Any:
        try:
            return (yield ctx.step("act", act).at_most_once())
        except StepFailed as error:
            return type(error.cause).__name__

    with Simulation([careful]) as plain:
        handle = plain.start(careful)
        plain.settle(handle)
        crash = next(n for n, label in enumerate(plain.injector.labels, 1) if label == "step act")
    with Simulation([careful], crash_at=CrashPoint(crash, before=False)) as sim:
        assert ended(sim, sim.start(careful)).result == StepInterrupted.__name__
        assert [id for _, id, _ in sim.executed] == ["act"]


def test_the_token_is_stable_over_attempts_and_crashes_and_heartbeats_reach_the_next_attempt() -> None:
    tokens: list[tuple[str, Any]] = []

    def body() -> str:
        step = current_step()
        tokens.append((step.token, step.details))
        step.heartbeat({"page": step.attempt})
        if step.attempt < 3:
            raise Busy
        return "done"

    @workflow
    def paging(ctx: Context) -> Any:
        return (yield ctx.step("page", body).retry(3))

    with Simulation([paging], cache_size=0) as sim:
        assert ended(sim, sim.start(paging)).result == "done"
    assert len({token for token, _ in tokens}) == 1
    assert [details for _, details in tokens] == [None, {"page": 1}, {"page": 2}]


def test_a_result_that_cannot_be_stored_fails_the_step_once_and_names_the_path() -> None:
    @workflow
    def unstorable(ctx: Context) -> Any:
        return (yield ctx.step("act", act, 1).retry(5))

    with Simulation([unstorable], steps={"act": returns({"x": [object()]})}) as sim:
        execution = ended(sim, sim.start(unstorable))
        assert execution.status == "failed"
        assert ".x[0]" in str(execution.error)
        assert len(sim.executed) == 1


def test_an_exception_whose_class_is_unknown_comes_back_as_remote_error() -> None:
    class Local(Exception):
        pass

    @workflow
    def remote(ctx: Context) -> Any:
        try:
            yield ctx.step("act", act)
        except StepFailed as error:
            return type(error.cause) is RemoteError and "Local" in str(error.cause)

    with Simulation([remote], steps={"act": fails(Local("x"))}) as sim:
        assert ended(sim, sim.start(remote)).result is True
