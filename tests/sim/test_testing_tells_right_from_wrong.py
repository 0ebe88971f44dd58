"""The kit raises no alarm where none is due, finds what only a crash or another world shows, and says so in the user's words."""

from __future__ import annotations

import datetime as dt
import logging
import os
import secrets
import shlex
import uuid
from collections.abc import Iterator
from datetime import timedelta
from time import time as wall_clock
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

from replay import Context, Received, Retry, Signal, StepFailed, TimedOut, workflow
from replay.cli.root import cli
from replay.testing import (
    CrashPoint,
    Faults,
    Simulation,
    assert_recovers,
    assert_replay_equivalent,
    returns,
    run_plan,
    scenarios,
    takes,
    try_seeds,
)

pytestmark = pytest.mark.slow

Go = Signal("go", int)


class Busy(Exception):
    """The warehouse does not answer."""


def body(*args: Any) -> int:
    return 1


def charge(amount: int) -> int:
    return amount


# --- correct workflows pass ---------------------------------------------------------------------------------


@workflow
def polling(ctx: Context) -> Iterator[Any]:
    for _ in range(10):
        if (yield ctx.step("poll", body)) == "yes":
            return (yield ctx.map("part", body, range(3)))


def test_a_stub_that_returns_in_turn_counts_by_simulation_execution_and_step() -> None:
    options = {"steps": {"poll": returns("no", "no", "yes"), "part": returns("a", "b", "c")}}
    assert_recovers(polling, **options)
    assert_replay_equivalent(polling, **options)
    assert all(run.problem is None for run in try_seeds(polling, seeds=range(10), **options))
    with Simulation([polling], **options) as sim:
        for _ in range(2):
            handle = sim.start(polling)
            sim.run()
            assert handle.result() == ["a", "b", "c"]
    with Simulation([polling], steps={"poll": returns("yes")}, strict=True) as sim:
        sim.start(polling)
        with pytest.raises(AssertionError, match=r"'\d/part' is not stubbed"):
            sim.run()


@workflow
def first_of_two(ctx: Context) -> Iterator[Any]:
    return (yield ctx.race(a=ctx.step("a", body), b=ctx.step("b", body))).name


@workflow
def in_order_of_completion(ctx: Context) -> Iterator[Any]:
    done: list[int] = []

    def member(number: int) -> Iterator[Any]:
        yield ctx.step("ship", body, number)
        done.append(number)

    yield ctx.all([member(number) for number in range(4)])
    return done


@workflow
def tells_the_time(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body)
    return ctx.now()


@workflow
def charges_once(ctx: Context) -> Iterator[Any]:
    yield ctx.step("charge", body).at_most_once()


def test_runs_may_differ_as_long_as_each_is_true_to_its_log() -> None:
    for each in (first_of_two, in_order_of_completion, tells_the_time, charges_once):
        assert_replay_equivalent(each)
    for each in (tells_the_time, charges_once):
        with pytest.raises(AssertionError, match="same=False"):
            assert_recovers(each)
        assert_recovers(each, same=False)
        assert all(run.problem is None for run in try_seeds(each, seeds=range(20), same=False))


@workflow
def monthly(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body)
    yield ctx.sleep(timedelta(days=30))
    return 1


def test_time_jumps_over_polls_that_find_nothing() -> None:
    with Simulation([monthly], seed=1, workers=3, faults=Faults(lose_hint=0.5, delay_hint=0.3)) as sim:
        settled, slept = sim.start(monthly), sim.start(monthly)
        sim.advance(days=29)
        assert slept.status() == "sleeping"
        sim.advance(days=2)
        assert slept.result() == 1
        assert sim.settle(settled)
    assert all(run.problem is None for run in try_seeds(monthly, seeds=range(30)))


@st.composite
def evens(draw: st.DrawFn) -> int:
    number = draw(st.integers())
    assume(number % 2 == 0)
    return number


def test_what_hypothesis_raises_is_no_failure_of_a_step() -> None:
    @workflow
    def many(ctx: Context) -> Iterator[Any]:
        for _ in range(6):
            yield ctx.step("s", body)

    calm = {"failures": False, "crashes": False, "cancels": False}

    @settings(max_examples=50, database=None, suppress_health_check=[HealthCheck.filter_too_much])
    @given(scenarios(many, steps={"s": evens()}, **calm))
    def strategies(run: Any) -> None:
        assert run.status == "completed", run.error

    @settings(max_examples=50, database=None)
    @given(scenarios(many, steps={"s": lambda call: assume(call.attempt > 0)}, **calm), st.lists(st.text()))
    def stubs(run: Any, _: Any) -> None:
        assert run.status == "completed", run.error

    strategies()
    stubs()


# --- wrong ones do not --------------------------------------------------------------------------------------


@workflow
def charges_with_another_key(ctx: Context) -> Iterator[Any]:
    key = secrets.token_hex(4)
    yield ctx.step("charge", body, key)
    yield ctx.sleep(1)


@workflow
def numbers_itself(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body)
    yield ctx.note(f"{uuid.uuid4()}")
    return str(uuid.uuid4())


@workflow
def looks_at_its_clock(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body, int(wall_clock()))


@workflow
def looks_at_the_calendar(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body, f"{dt.datetime.now():%d}", dt.date.today().isoformat())


@workflow
def looks_around(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body, os.environ.get("PATH"))


HIDDEN = [charges_with_another_key, numbers_itself, looks_at_its_clock, looks_at_the_calendar, looks_around]


@pytest.mark.parametrize("hidden", HIDDEN, ids=lambda w: w.key)
def test_a_hidden_input_is_found_by_every_check_and_its_line_is_named(hidden: Any) -> None:
    @settings(max_examples=20, database=None, phases=[Phase.generate])
    @given(scenarios(hidden, crashes=False, cancels=False))
    def drawn(run: Any) -> None:
        pass

    for check in (drawn, lambda: assert_recovers(hidden), lambda: assert_replay_equivalent(hidden)):
        with pytest.raises(AssertionError, match=r"replay-safe|does not recover") as found:
            check()
        first = hidden.fn.__code__.co_firstlineno
        assert any(f"{os.path.basename(__file__)}:{first + after}" in str(found.value) for after in range(2, 6))


def test_a_step_that_runs_again_with_other_arguments_is_told_with_both() -> None:
    problems = []
    for number in range(1, 8):
        with Simulation([charges_with_another_key], crash_at=CrashPoint(number, before=False)) as sim:
            sim.settle(sim.start(charges_with_another_key))
            problems += sim.problems
    (problem,) = problems
    assert "'charge' is run again with other arguments" in problem
    assert os.path.basename(__file__) in problem


# --- what a failing scenario says ----------------------------------------------------------------------------


@workflow(signals=[Go])
def pay(ctx: Context, amount: int) -> Iterator[Any]:
    yield ctx.step("charge", charge, amount).timeout(30).settled()
    try:
        match (yield ctx.wait_for_signal(Go, timeout=timedelta(days=2))):
            case TimedOut():
                return "late"
            case Received(number) if number > 17:
                return "weird"
        yield ctx.step("ship", body).retry(Retry(attempts=3, on=Busy)).timeout(60)
    except StepFailed:
        return "lost money"
    return "ok"


def failing(said: str, **options: Any) -> str:
    @settings(max_examples=2000, database=None, derandomize=True)
    @given(scenarios(pay, st.integers(0, 1000), **options))
    def test(run: Any) -> None:
        assert run.result != said

    with pytest.raises(AssertionError) as found:
        test()
    return "\n".join(found.value.__notes__)


def test_a_failing_scenario_prints_its_timeline_and_a_line_that_runs_it_again() -> None:
    notes = failing("weird", steps={"charge": lambda call: "stubbed"})
    for told in (
        "user starts x-1 (pay) with 0",
        "charge gives 'stubbed'",
        "user sends x-1 signal go: 18",
        "receives signal go: 18",
        "ends completed with 'weird'",
    ):
        assert told in notes
    (line,) = {line.strip() for line in notes.splitlines() if line.strip().startswith("Reproduce: ")}
    assert len(line) < 250
    again = CliRunner().invoke(cli, shlex.split(line)[2:])
    assert again.exception is None, again.output
    timeline = [line.strip() for line in again.output.splitlines()]
    assert [line.strip() for line in notes.splitlines() if " w1 " in line] == [
        line for line in timeline if " w1 " in line
    ]
    plan = shlex.split(line)[-1]
    assert run_plan(pay, plan).result == "weird"

    @settings(max_examples=1)
    @example(run_plan(pay, plan))
    @given(scenarios(pay, st.integers(0, 1000)))
    def pinned(run: Any) -> None:
        assert run.result != "weird"

    with pytest.raises(AssertionError):
        pinned()
    for wrong in ("nonsense", plan[:-9]):
        with pytest.raises(ValueError, match="not a plan"):
            run_plan(pay, wrong).run()


def test_a_failure_shrinks_to_what_it_takes() -> None:
    notes = failing("lost money")
    assert "disturbance='none', signals=[('go', 0, 0.0)]" in notes
    assert "Busy: ship" in notes or "StepTimeout" in notes, "it fails as its Retry(on=...) names it"


def test_scenarios_reach_what_they_promise() -> None:
    seen: set[str] = set()

    @settings(max_examples=500, database=None, derandomize=True)
    @given(scenarios(pay, st.integers(0, 1000)))
    def look(run: Any) -> None:
        seen.update(run.plan["outcomes"].values())
        seen.add(run.plan["disturbance"])
        during = False
        for line in run.timeline.splitlines():
            during = ("runs" in line or during) and "gives" not in line
            for event in (
                "sends",
                "cancels",
                "again",
                "crash",
                "pauses until",
                "late hint",
                "unavailable",
                "lost money",
            ):
                if event in line:
                    seen.update({event, f"{event} during a step" if during else event})
        seen.add(str(run.result))

    look()
    wanted = {"slow", "fails", "fails for good", "hangs", "one crash", "crashes", "pauses", "store unreachable"}
    wanted |= {"sends", "sends during a step", "cancels", "cancels during a step", "again", "crash", "pauses until"}
    wanted |= {"late hint", "unavailable", "lost money", "ok", "late", "hints lost, doubled and late"}
    assert wanted <= seen, f"500 scenarios and never: {wanted - seen}"


# --- refusals -------------------------------------------------------------------------------------------------


def test_what_makes_no_sense_is_refused() -> None:
    for refused in (
        lambda: Simulation(start=dt.datetime(2030, 1, 1)),
        lambda: Simulation(workers=-1),
        lambda: Faults(crash=7),
        lambda: Faults(skew=-1),
        lambda: Simulation().advance(seconds=-5),
        lambda: Simulation(faults={"crash": 1}),  # type: ignore[arg-type]
    ):
        with pytest.raises((ValueError, TypeError)):
            refused()
    with Simulation([polling], steps={"pol": returns("yes")}, strict=True) as sim:
        sim.start(polling)
        with pytest.raises(AssertionError, match=r"'poll' is not stubbed \(stubs that no step has met: \['pol'\]\)"):
            sim.run()


def test_outages_make_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (run,) = try_seeds(polling, seeds=[3], steps={"poll": takes(0.1, "yes")}, faults=Faults(unavailable=0.3))
    assert run.problem is None, run.problem
    assert "unavailable" in run.timeline
    assert not caplog.records
    assert str(run.ending) == "completed: [1, 1, 1]"
