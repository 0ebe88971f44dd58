"""A scenario is decided by its plan: the global random generator neither disturbs it nor is disturbed by it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from replay import Context, workflow
from replay.testing import REAL, assert_recovers, run_plan, scenarios, try_seeds


def roll() -> float:
    return random.random()


def still() -> int:
    return 1


@workflow
def dice(ctx: Context) -> Iterator[Any]:
    return (yield ctx.step("roll", roll))


@workflow
def resting(ctx: Context) -> Iterator[Any]:
    return (yield ctx.step("still", still))


def noise(*args: Any) -> None:
    """Draw, as a thread of the same process may do at any moment."""
    random.random()


@pytest.mark.parametrize("hook", ["setup", "check", "teardown"])
def test_whoever_draws_during_a_run_does_not_fail_the_scenario(hook: str) -> None:
    @settings(max_examples=20, database=None)
    @given(scenarios(resting, **{hook: noise}))
    def passes(run: Any) -> None:
        assert run.status

    passes()


def test_bodies_may_draw_and_a_plan_repeats_what_they_drew() -> None:
    rolled: dict[str, float] = {}

    @settings(max_examples=20, database=None)
    @given(scenarios(dice, steps={"*": REAL}, failures=False, crashes=False, cancels=False))
    def look(run: Any) -> None:
        rolled[run.reproduce.rpartition(" ")[2]] = run.result

    look()
    assert len(set(rolled.values())) > 1
    for plan, result in rolled.items():
        random.seed()
        assert run_plan(dice, plan).result == result


def test_a_seed_repeats_what_bodies_drew() -> None:
    def results() -> list[str]:
        random.seed()
        return [run.ending.value for run in try_seeds(dice, seeds=range(5), faults=False, minimise=False)]

    found = results()
    assert found == results()
    assert len(set(found)) == 5


def test_checks_leave_the_global_generator_as_it_was() -> None:
    before = random.getstate()
    assert_recovers(resting, setup=noise)
    assert all(run.problem is None for run in try_seeds(resting, seeds=range(3), setup=noise))
    assert random.getstate() == before


ONCE = """
from hypothesis import given, settings
from replay import workflow
from replay.testing import scenarios

FAILED = []

@workflow
def resting(ctx):
    yield ctx.step("still", int)

@settings(max_examples=5, database=None)
@given(scenarios(resting))
def test_once(run):
    if not FAILED:
        FAILED.append(1)
        raise KeyError("this once")
"""


def test_a_failure_that_does_not_repeat_is_told_at_the_end(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ONCE)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*failure that did not repeat*",
            "*test_once",
            "*raise KeyError*",
            "KeyError: 'this once'",
            "*short test summary*",
        ]
    )
    assert len(str(result.stdout).partition("failure that did not repeat")[2].splitlines()) < 15
