"""A retried workflow equals a fresh run in which what was recorded and did not fail is kept."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.testing import CrashPoint, Simulation
from tests.budgets import examples
from tests.sim.retried_programs import WORLD, by_operator, by_policy, kid, kinds, programs

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(3600)]

SETTINGS = settings(
    max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def ending(sim: Simulation) -> tuple[str, Any]:
    execution = sim.engine.get_execution("x-1")
    assert not sim.problems, sim.problems
    assert execution.status != "stuck", execution.current
    return str(execution.status), execution.result if execution.error is None else repr(execution.error)


def fresh(workflow: Any, nodes: Any) -> tuple[str, Any]:
    """Return the end of a run in which no step fails."""
    WORLD.begin()
    with Simulation([by_operator, by_policy, kid]) as sim:
        sim.settle(sim.start(workflow, nodes, id="x-1"))
        return ending(sim)


def repaired(nodes: Any, **options: Any) -> tuple[str, Any]:
    """Return the end of a run whose steps fail, after an operator's single retry in a repaired world."""
    WORLD.begin(broken=True)
    with Simulation([by_operator, kid], **options) as sim:
        handle = sim.start(by_operator, nodes, id="x-1")
        sim.settle(handle)
        WORLD.broken = False
        if handle.status() == "failed":
            sim.engine.operator.retry("x-1")
            sim.settle(handle)
        return ending(sim)


@SETTINGS
@given(programs)
def test_a_single_retry_by_an_operator_equals_a_fresh_run_in_which_the_failed_steps_succeed(nodes: Any) -> None:
    expected = fresh(by_operator, nodes)
    assert expected[0] == "completed"
    assert repaired(nodes) == expected


@SETTINGS
@given(programs)
def test_a_workflow_retry_equals_a_fresh_run_in_which_the_failed_steps_succeed(nodes: Any) -> None:
    expected = fresh(by_policy, nodes)
    WORLD.begin(once=True)
    with Simulation([by_policy, kid]) as sim:
        sim.settle(sim.start(by_policy, nodes, id="x-1"))
        assert ending(sim) == expected


@SETTINGS
@given(programs)
def test_what_was_recorded_and_did_not_fail_is_kept(nodes: Any) -> None:
    fresh(by_operator, nodes)
    if {"rollback", "finally", "child", "keyed", "start"} & set(kinds(nodes)):
        return  # a clean-up, a compensation or a cancelled child makes steps void that succeeded
    repaired(nodes)
    assert max(Counter(WORLD.done).values(), default=1) == 1, WORLD.done


@SETTINGS
@given(programs, st.integers(1, 40), st.booleans())
def test_a_retry_with_a_crash_anywhere_ends_as_without(nodes: Any, number: int, before: bool) -> None:
    expected = fresh(by_operator, nodes)
    assert repaired(nodes, crash_at=CrashPoint(number, before)) == expected


@SETTINGS
@given(programs, st.integers(0, 10**6))
def test_a_retry_among_faults_of_all_kinds_ends_as_without(nodes: Any, seed: int) -> None:
    expected = fresh(by_operator, nodes)
    assert repaired(nodes, seed=seed, workers=3, faults=True) == expected
