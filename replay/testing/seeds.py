"""Seeds: the same workflow in one faulty simulated cluster after another; what `replay simulate` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from replay.definition import Workflow
from replay.ports import Clock, Store
from replay.testing.checks import Ending, ending, wrong
from replay.testing.simulation import Simulation


@attrs.frozen
class Seed:
    """One simulated run.

    Attributes:
        seed: Its number.
        ending: How the execution ended.
        problem: What is wrong, None if nothing.
        timeline: What happened, one line each.
    """

    seed: int
    ending: Ending
    problem: str | None
    timeline: str


def try_seeds(
    workflow: Workflow[Any, Any],
    input: Any = None,
    *,
    seeds: Sequence[int],
    signals: Sequence[tuple[Any, Any]] = (),
    steps: Mapping[Any, Any] | None = None,
    others: Sequence[Workflow[Any, Any]] = (),
    workers: int = 3,
    faults: bool = True,
    store: Callable[[Clock], Store] | None = None,
) -> Iterator[Seed]:
    """Run *workflow* under each seed's faults; each must end as it does undisturbed, and run no recorded step again.

    Arguments as for `assert_recovers`.
    """

    def run(seed: int, **options: Any) -> tuple[Ending, str | None, str]:
        with Simulation([workflow, *others], seed=seed, steps=steps, store=store, **options) as sim:
            handle = sim.start(workflow, input, id="x-1")
            sim.settle(handle, signals)
            return ending(sim, handle), wrong(sim, handle), sim.timeline()

    expected, _, _ = run(0)
    for seed in seeds:
        found, mistake, timeline = run(seed, workers=workers, faults=faults or None)
        problem = None if found == expected else f"it ends {found}, but undisturbed it ends {expected}"
        yield Seed(seed, found, problem or mistake, timeline)
