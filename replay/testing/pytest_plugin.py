"""Fixtures for workflow tests: `replay_sim`, `replay_engine`, and the options `--rw-seeds`, `--rw-seed`, `--rw-coverage`.

pytest loads this module in every project that has replay installed. Fixtures therefore import the rest at their first use.
The entry point is called `replay_workflows`: the name `replay` belongs to pytest-replay.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from replay.engine import Engine
    from replay.testing.simulation.simulation import Simulation

_STATISTICS = "replay.testing.scenario.statistics"
"""Module of the statistics, which a test that draws scenarios has loaded."""

_MADE: pytest.StashKey[list[Any]] = pytest.StashKey()
"""Simulations made by a test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("replay_workflows", "durable workflows (replay)")
    group.addoption(
        "--rw-seeds", type=_positive, default=1, metavar="N", help="run tests that use replay_sim with N seeds"
    )
    group.addoption("--rw-seed", type=int, default=None, metavar="S", help="run them with this seed alone")
    group.addoption(
        "--rw-coverage",
        action="store_true",
        help="report the commands, branches, failures, timeouts and compensations of workflows that the tests ran",
    )
    group.addoption(
        "--rw-coverage-of",
        action="append",
        default=[],
        metavar="MODULE[:OBJECT]",
        help="report these workflows, also those that no test runs (may be repeated)",
    )
    group.addoption(
        "--rw-coverage-min", type=_percent, metavar="PERCENT", help="fail the run if less of the workflows is covered"
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Begin to record coverage, if it is asked for."""
    minimum: float | None = config.getoption("--rw-coverage-min")
    if config.getoption("--rw-coverage") or config.getoption("--rw-coverage-of") or minimum is not None:
        from replay.testing.coverage.plugin import DurableCoverage

        config.pluginmanager.register(DurableCoverage(config), "replay_durable_coverage")


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")
    return value


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seeds from 1")
    return int(text)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the timelines of a failed test's simulations to its report, and the command that runs their seed again."""
    report = yield
    made = item.stash.get(_MADE, [])
    if call.excinfo is not None and report.failed:
        if (told := _shared_state(call.excinfo.value)) is not None:
            report.longrepr = told
        elif (first := _unrepeated(call.excinfo.value)) is not None:
            report.sections.append(("failure that did not repeat", first))
    if report.when == "call" and report.failed and made:
        for sim in made:
            report.sections.append((f"simulation, seed {sim.seed}", sim.timeline(100)))
        test = item.nodeid.partition("[")[0]
        report.sections.append(("run this seed again", f"pytest {shlex.quote(test)} --rw-seed {made[0].seed}"))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Warn of a test whose scenarios reached nothing."""
    if _STATISTICS in sys.modules:
        sys.modules[_STATISTICS].fruitful.clear()
    result = yield
    if _STATISTICS in sys.modules:
        for complaint in sys.modules[_STATISTICS].vacuous():
            item.warn(sys.modules[_STATISTICS].VacuousScenarios(complaint))
    return result


def _shared_state(error: BaseException) -> str | None:
    """Return the message that replaces Hypothesis' "flaky" errors about a scenario that does not repeat, None for other errors."""
    runner = sys.modules.get("replay.testing.scenario.runner")
    inner = _first_failure(error, runner.ScenarioFailed) if runner is not None else None
    return None if inner is None else str(inner.unrepeatable())  # type: ignore[attr-defined]


def _unrepeated(error: BaseException) -> str | None:
    """Return the failure that the same choices of a scenario did not repeat, in a few lines."""
    inner = _first_failure(error) if getattr(sys.modules.get(_STATISTICS), "fruitful", None) else None
    return None if inner is None else "".join(traceback.format_exception(inner, limit=-3, chain=False))


def _first_failure(error: BaseException, kind: type[BaseException] = BaseException) -> BaseException | None:
    """Return the failure of this *kind* that Hypothesis calls flaky, None if *error* is of another nature."""
    if not any(cls.__name__ == "Flaky" and cls.__module__.startswith("hypothesis") for cls in type(error).__mro__):
        return None
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
        if inner is None or isinstance(inner, kind):
            return inner
        error = inner
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat each test that uses `replay_sim`, once for each seed."""
    if "replay_seed" not in metafunc.fixturenames:
        return
    seed = metafunc.config.getoption("--rw-seed")
    seeds = [seed] if seed is not None else list(range(metafunc.config.getoption("--rw-seeds")))
    metafunc.parametrize("replay_seed", seeds, ids=[f"seed{s}" for s in seeds], indirect=True)


@pytest.fixture
def replay_seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of this test's simulations."""
    return int(getattr(request, "param", 0))


@pytest.fixture
def replay_sim(request: pytest.FixtureRequest, replay_seed: int) -> Iterator[Callable[..., Simulation]]:
    """Make simulations: `sim = replay_sim([approve_order], steps=...)`; seeded, and closed after the test."""
    from replay.testing.simulation.simulation import Simulation

    made = request.node.stash[_MADE] = []

    def make(workflows: Any = (), **options: Any) -> Simulation:
        options.setdefault("seed", replay_seed)
        made.append(Simulation(workflows, **options))
        return made[-1]

    yield make
    for sim in made:
        sim.close()


@pytest.fixture
def replay_engine() -> Iterator[Callable[..., Engine]]:
    """Make engines in memory, with a worker: `engine = replay_engine([approve_order])`; closed after the test."""
    from replay.engine import Engine

    made: list[Any] = []

    def make(workflows: Any = (), **options: Any) -> Engine:
        options = {"store": "memory://", "worker": True, "argument_policy": "error", **options}
        made.append(Engine(workflows=workflows, **options))
        return made[-1]  # type: ignore[no-any-return]

    yield make
    for engine in made:
        engine.close(timeout=5)
