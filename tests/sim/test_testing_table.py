"""Every buggy workflow is found by a ready-made check, in few runs and few lines; no correct one raises an alarm.

`python -m tests.sim.test_testing_table` writes the table into docs/testing.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from replay.lint import lint_function
from replay.testing import REAL, assert_recovers, assert_replay_equivalent, scenarios, try_seeds
from tests.sim.buggy_workflows import BUGGY, CORRECT, SIGNALS, Case

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
HEAD = "| workflow | found by | runs | lines |\n|---|---|---|---|\n"
MOST_LINES = 25
"""Most lines of a counterexample."""

SEEDS, EXAMPLES = 30, 200
"""Most runs of `try_seeds` and of `scenarios` for a buggy workflow; correct ones get a quarter."""

pytestmark = pytest.mark.slow


@attrs.frozen
class Found:
    """A check that finds a mistake: its name, the runs that it took, and its message."""

    check: str
    runs: int
    text: str

    @property
    def lines(self) -> int:
        """Number of lines of the message."""
        return len(self.text.splitlines())


def by_lint(case: Case) -> Found | None:
    findings = lint_function(case.workflow)
    return Found("lint", 0, findings[0].text()) if findings else None


def by_exhaustion(case: Case, check: Callable[..., int], name: str) -> Found | None:
    runs = [0]
    options = {
        key: value for key, value in case.options.items() if check is assert_recovers or key not in ("effects", "same")
    }
    if check is assert_recovers:
        options["setup"] = lambda: runs.append(1)
    try:
        check(case.workflow, input_of(case), signals=SIGNALS.get(case.name, ()), **options)
    except AssertionError as error:
        return Found(name, max(1, len(runs) - 1), str(error))
    return None


def by_seeds(case: Case, budget: int) -> Found | None:
    try:
        for number, run in enumerate(
            try_seeds(
                case.workflow, input_of(case), seeds=range(budget), signals=SIGNALS.get(case.name, ()), **case.options
            ),
            1,
        ):
            if run.problem:
                return Found("try_seeds", number, f"{run.problem}\n{run.timeline}")
    except AssertionError as error:
        return Found("try_seeds", 1, str(error))
    return None


def by_scenarios(case: Case, budget: int) -> Found | None:
    runs = [0]
    options = {"steps": {"*": REAL}, **{key: value for key, value in case.options.items() if key != "same"}}

    @settings(
        max_examples=budget, database=None, derandomize=True, deadline=None, suppress_health_check=[*HealthCheck],
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(scenarios(case.workflow, st.just(input_of(case)), setup=lambda: runs.append(1), **options))
    def drawn(run: Any) -> None:
        pass

    try:
        drawn()
    except AssertionError as error:
        return Found("scenarios", len(runs) - 1, str(error))
    return None


def input_of(case: Case) -> Any:
    return 2 if case.name == "small" else None


def finders(case: Case, share: int = 1) -> Iterator[Found]:
    """Yield the checks that say something about a workflow, cheapest first; those that draw spend a *share*-th of their budget."""
    checks: list[Callable[[], Found | None]] = [
        lambda: by_lint(case),
        lambda: by_exhaustion(case, assert_recovers, "assert_recovers"),
        lambda: by_exhaustion(case, assert_replay_equivalent, "assert_replay_equivalent"),
        lambda: by_seeds(case, SEEDS // share),
        lambda: by_scenarios(case, EXAMPLES // share),
    ]
    return (found for check in checks if (found := check()) is not None)


@pytest.mark.parametrize("case", BUGGY, ids=lambda case: case.name)
def test_a_buggy_workflow_is_found(case: Case) -> None:
    found = next(finders(case), None)
    assert found is not None, f"no check finds {case.name}"
    assert found.lines <= MOST_LINES, found.text
    assert f"| {case.name} | {found.check} |" in PAGE.read_text(encoding="utf-8"), (
        "the table is out of date. Fix: python -m tests.sim.test_testing_table"
    )


@pytest.mark.parametrize("case", CORRECT, ids=lambda case: case.name)
def test_a_correct_workflow_raises_no_alarm(case: Case) -> None:
    if case.name in ("hurried", "charged_once"):
        case = attrs.evolve(case, options={**case.options, "same": False})
    alarms = [f"{found.check}: {found.text}" for found in finders(case, share=4)]
    assert not alarms, alarms[0]


def test_the_table_counts_at_least_forty_buggy_and_twenty_correct_workflows() -> None:
    assert len({case.name for case in BUGGY}) >= 40
    assert len({case.name for case in CORRECT}) >= 20


def write_table() -> None:
    """Write the table into the page."""
    rows = []
    for case in BUGGY:
        found = next(finders(case), None)
        assert found is not None, case.name
        rows.append(f"| {case.name} | {found.check} | {found.runs} | {found.lines} |\n")
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(HEAD)  # the table is the end of the page
    PAGE.write_text(f"{before}{HEAD}{''.join(rows)}", encoding="utf-8")


if __name__ == "__main__":
    write_table()
