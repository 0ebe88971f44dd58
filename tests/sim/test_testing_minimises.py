"""A failing seed is reduced to the faults and workers that it takes, and is told in a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from replay import Context, workflow
from replay.cli.root import cli
from replay.testing import Simulation, try_seeds

CHARGES: list[int] = []


def charge(amount: int) -> str:
    CHARGES.append(amount)
    return "paid"


@workflow
def pay(ctx: Context) -> Iterator[Any]:
    return (yield ctx.step("charge", charge, 5))


@workflow
def pay_in_the_middle(ctx: Context) -> Iterator[Any]:
    for number in range(5):
        yield ctx.step(f"look-{number}", abs, number)
        yield ctx.sleep(1)
    yield ctx.step("charge", charge, 5)
    yield ctx.sleep(60)


def failing(flow: Any, **options: Any) -> Any:
    return next(run for run in try_seeds(flow, seeds=range(200), **options) if run.problem)


def test_a_seed_that_fails_is_reduced_to_one_worker_and_one_fault() -> None:
    for flow, lines in ((pay, 9), (pay_in_the_middle, 60)):
        whole, small = failing(flow, minimise=False), failing(flow)
        assert small.seed == whole.seed
        assert "was done twice" in small.problem
        assert small.workers == 1
        assert len(small.faults) == 1, small.faults
        assert len(small.timeline.splitlines()) <= lines
        assert small.timeline.count("dies") <= 1


def test_a_problem_that_takes_two_faults_keeps_both() -> None:
    def twice_dead(handle: Any) -> bool:
        return sum(line.count(" dies") for line in handle._simulation.timeline().splitlines()) < 2

    run = next(
        run for run in try_seeds(pay_in_the_middle, seeds=range(400), check=twice_dead, effects=False) if run.problem
    )
    assert "returns False" in run.problem
    assert run.timeline.count(" dies") == 2
    assert [kind.split()[0] for kind, _ in run.faults] == ["crash", "crash"], run.faults


def test_the_command_line_tells_a_one_step_bug_in_twelve_lines() -> None:
    command = ["simulate", "tests.sim.test_testing_minimises:pay", "--seeds", "200"]
    result = CliRunner().invoke(cli, command, standalone_mode=False)
    assert result.return_value == 4
    said = [line for line in result.output.splitlines() if line.strip() and not line.startswith("seeds")]
    assert len(said) <= 12, result.output
    assert "was done twice" in result.output
    assert "Reproduce: replay simulate" in result.output


def test_a_script_of_all_faults_is_the_same_run() -> None:
    for seed in range(20):
        with Simulation([pay_in_the_middle], seed=seed, workers=3, faults=True) as sim:
            sim.settle(sim.start(pay_in_the_middle))
            faults = frozenset(sim.injector.injected)
        with Simulation([pay_in_the_middle], seed=seed, workers=3, faults=True, script=faults) as again:
            again.settle(again.start(pay_in_the_middle))
            assert again.timeline() == sim.timeline()
        with Simulation([pay_in_the_middle], seed=seed, workers=3, faults=True, script=frozenset()) as calm:
            calm.settle(calm.start(pay_in_the_middle))
            assert not calm.injector.injected


SHARED = """
import pytest
from hypothesis import given, settings
from replay import workflow
from replay.testing import scenarios

SEEN = []

@workflow
def counting(ctx):
    SEEN.append(1)
    for number in range(len(SEEN) % 4):
        yield ctx.step("s", int)

@settings(max_examples=50, database=None, derandomize=True)
@given(scenarios(counting))
def test_counting(run):
    pass

def another(ctx):
    yield ctx.sleep(1)
"""


def test_shared_state_is_told_as_such_and_not_as_a_flaky_strategy(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SHARED)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    said = str(result.stdout)
    assert "workflow 'counting' keeps state from run to run" in said or "is not replay-safe" in said
    assert "lint: " in said
    assert "RW303 SEEN.append()" in said
    assert "Inconsistent data generation" not in said
