"""Fixtures for workflow tests: `replay_sim`, `replay_engine`, and the options `--rw-seeds`, `--rw-seed`.

Loaded by pytest in every project that has replay installed, so everything else is imported when a fixture is used.
The entry point is called `replay_workflows`, since `replay` belongs to pytest-replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from replay.engine import Engine
    from replay.testing.simulation import Simulation


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("replay_workflows", "durable workflows (replay)")
    group.addoption("--rw-seeds", type=int, default=1, metavar="N", help="run tests that use replay_sim with N seeds")
    group.addoption("--rw-seed", type=int, default=None, metavar="S", help="run them with this seed alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat tests that use `replay_sim` for each seed."""
    if "replay_seed" not in metafunc.fixturenames:
        return
    seed = metafunc.config.getoption("--rw-seed")
    seeds = [seed] if seed is not None else list(range(metafunc.config.getoption("--rw-seeds")))
    metafunc.parametrize("replay_seed", seeds, ids=[f"seed{s}" for s in seeds], indirect=True)


@pytest.fixture
def replay_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test's simulations."""
    return int(getattr(request, "param", 0))


@pytest.fixture
def replay_sim(replay_seed: int) -> Iterator[Callable[..., Simulation]]:
    """Make simulations: `sim = replay_sim([approve_order], steps=...)`; seeded, and closed after the test."""
    from replay.testing.simulation import Simulation

    made: list[Any] = []

    def make(workflows: Any = (), **options: Any) -> Simulation:
        options.setdefault("seed", replay_seed)
        made.append(Simulation(workflows, **options))
        return made[-1]  # type: ignore[no-any-return]

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
