"""Scenarios count what they reach; profiles and targets are at hand; step bodies are tested without an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from replay import Context, Signal, StepFailed, current_step, workflow
from replay.testing import aim_for, load_profile, scenarios, step_environment

pytestmark = pytest.mark.slow

STATISTICS = """
from hypothesis import given, settings
from tests.sim.test_testing_statistics import trip
from replay.testing import scenarios

@settings(max_examples=300, database=None, derandomize=True)
@given(scenarios(trip))
def test_trip(run):
    pass
"""

Go = Signal("go", int)


def book() -> str:
    return "seat"


@workflow(signals=[Go])
def trip(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("seat", book).retry(3).down(lambda seat: None)
        yield ctx.race(go=ctx.wait_for_signal(Go), late=ctx.sleep(60))
        yield ctx.wait_for_signal(Go, timeout=60)
        yield ctx.step("pay", book)
    except StepFailed:
        yield ctx.rollback()


def test_the_statistics_tell_what_the_runs_reached(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(STATISTICS)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--hypothesis-show-statistics")
    said = str(result.stdout)
    for situation in (
        "ended completed",
        "ended cancelled",
        "ended compensation_failed",
        "a worker crashed",
        "raced",
        "a step failed for good",
        "a step was retried",
        "was cancelled",
        "received a signal",
        "a wait timed out",
        "compensated",
    ):
        assert f"trip: {situation}" in said, situation


def test_targets_are_given_for_each_run() -> None:
    @settings(max_examples=30, database=None)
    @given(scenarios(trip))
    def aims(run: Any) -> None:
        aim_for(run)

    aims()


def test_profiles_are_chosen_by_name_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings.get_current_profile_name()
    shapes = {name: settings.get_profile(name) for name in ("dev", "ci", "nightly")}
    try:
        monkeypatch.delenv("HYPOTHESIS_PROFILE", raising=False)
        monkeypatch.delenv("CI", raising=False)
        assert load_profile() == "dev"
        assert settings().deadline is None
        monkeypatch.setenv("CI", "1")
        assert load_profile() == "ci"
        assert settings().derandomize
        monkeypatch.setenv("HYPOTHESIS_PROFILE", "nightly")
        assert load_profile() == "nightly"
        assert load_profile("dev") == "dev"
        with pytest.raises(ValueError, match=r"'daily' is no profile\. Fix: one of dev, ci, nightly"):
            load_profile("daily")
    finally:
        for name, shape in shapes.items():
            settings.register_profile(name, shape)
        settings.load_profile(before)


def copy_pages(pages: int) -> int:
    first = current_step().details or 0
    for page in range(first, pages):
        if current_step().cancelled:
            break
        current_step().heartbeat(page + 1)
    return pages - first


def test_a_body_is_tested_without_an_engine() -> None:
    with step_environment(id="copy", attempt=2, token="t-1", details=3) as environment:
        assert copy_pages(5) == 2
        assert not environment.token_read
        assert (current_step().token, current_step().attempt, current_step().id) == ("t-1", 2, "copy")
        assert environment.token_read
    assert environment.heartbeats == [4, 5]
    with pytest.raises(RuntimeError, match="step bodies only"):
        current_step()


def test_a_body_sees_that_it_is_asked_to_stop() -> None:
    with step_environment(cancelled=True) as environment:
        copy_pages(5)
        assert environment.heartbeats == []
    with step_environment() as environment:
        assert not current_step().cancelled.wait(0)
        environment.cancel()
        assert current_step().cancelled.is_set()
    with pytest.raises(ValueError, match="counted from 1"), step_environment(attempt=0):
        pass


def test_async_bodies_and_inner_environments_see_their_own_step() -> None:
    async def body() -> str:
        return current_step().token + await asyncio.to_thread(lambda: current_step().token)

    with step_environment(token="a"):
        assert asyncio.run(body()) == "aa"
        with step_environment(token="b"):
            assert asyncio.run(body()) == "bb"
        assert current_step().token == "a"


VACUOUS = """
from hypothesis import given, settings
from replay import workflow
from replay.testing import fails, scenarios

@workflow
def nothing(ctx):
    yield ctx.step("act", int)

@settings(max_examples=20, database=None)
@given(scenarios(nothing, steps={"act": fails(ValueError)}))
def test_vacuous(run):
    pass

@settings(max_examples=20, database=None)
@given(scenarios(nothing))
def test_fruitful(run):
    pass
"""


def test_a_property_whose_runs_reach_nothing_is_warned_of(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(VACUOUS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(["*VacuousScenarios: no scenario of workflow 'nothing' completed*Fix: *"])
    strict = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error")
    strict.assert_outcomes(passed=1, failed=1)
