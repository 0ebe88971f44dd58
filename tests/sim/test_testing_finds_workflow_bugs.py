"""Mistakes in workflows are found by lint or by a run, and the message names the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from replay.cli.root import cli
from replay.testing import Simulation, assert_replay_equivalent
from tests.sim import broken_workflows
from tests.sim.broken_workflows import BROKEN

SOURCE = Path(broken_workflows.__file__)


def line_of(workflow: Any) -> int:
    first = workflow.fn.__code__.co_firstlineno
    lines = SOURCE.read_text().splitlines()
    return next(number for number in range(first, len(lines) + 1) if lines[number - 1].endswith("# here"))


def lint() -> dict[int, str]:
    result = CliRunner().invoke(cli, ["lint", "tests.sim.broken_workflows:BROKEN", "--json"], standalone_mode=False)
    found = [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]
    return {each["line"]: each["code"] for each in found if "line" in each}


@pytest.fixture(scope="module")
def findings() -> dict[int, str]:
    return lint()


@pytest.mark.parametrize("workflow", BROKEN, ids=lambda w: w.key)
def test_lint_names_the_line(workflow: Any, findings: dict[int, str]) -> None:
    assert line_of(workflow) in findings


@pytest.mark.parametrize(
    "workflow",
    [w for w in BROKEN if w.key in ("wall_clock_in_a_branch", "random_choice", "fresh_uuid", "global_counter", "arguments_from_outside")],
    ids=lambda w: w.key,
)  # fmt: skip
def test_a_run_finds_what_differs_from_replay_to_replay_and_names_the_step(workflow: Any) -> None:
    def try_twenty_times() -> None:
        for _ in range(20):
            assert_replay_equivalent(workflow)

    with pytest.raises(AssertionError) as found:
        try_twenty_times()
    assert workflow.key in str(found.value)
    assert SOURCE.name in str(found.value)


def test_a_step_that_was_not_yielded_fails_the_run_and_names_its_line() -> None:
    workflow = broken_workflows.forgotten_yield
    with Simulation([workflow]) as sim:
        handle = sim.start(workflow)
        assert sim.settle(handle)
        assert f"line {line_of(workflow)}" in str(sim.engine.get_execution(handle).error)
