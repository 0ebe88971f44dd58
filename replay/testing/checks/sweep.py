"""Seed sweep: one workflow in a faulty simulated cluster for each seed, as `replay simulate` runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from replay.definition import Workflow
from replay.ports import Clock, Store
from replay.testing.checks.recovery import Result, differs, id_of, result_of, unfinished, wrong
from replay.testing.checks.world import World
from replay.testing.simulation.effects import Ledger
from replay.testing.simulation.faults import Faults
from replay.testing.simulation.quiet_logs import quiet_workers
from replay.testing.simulation.simulation import Simulation


@attrs.frozen
class Seed:
    """One simulated run.

    Attributes:
        seed: Number of the seed.
        ending: Result of the execution.
        problem: The violated promise, None if there is none.
        timeline: One line for each event.
        rests: The reason why it did not end, None if it did.
    """

    seed: int
    ending: Result
    problem: str | None
    timeline: str
    rests: str | None = None


def try_seeds(
    workflow: Workflow[Any, Any],
    input: Any = None,
    *,
    seeds: Sequence[int],
    signals: Sequence[tuple[Any, Any]] = (),
    steps: Mapping[Any, Any] | None = None,
    others: Sequence[Workflow[Any, Any]] = (),
    workers: int = 3,
    faults: Faults | bool = True,
    store: Callable[[Clock], Store] | None = None,
    same: bool = True,
    effects: Ledger | bool = True,
    setup: Callable[..., Any] | None = None,
    check: Callable[..., Any] | None = None,
    teardown: Callable[..., Any] | None = None,
) -> Iterator[Seed]:
    """Run *workflow* under each seed's faults. Each run must end as one without faults, and repeat no recorded step.

    Faults cost virtual time. Pass `same=False` for a workflow that races against the clock. The arguments are those of
    `assert_recovers` and `Simulation`.

    Raises:
        AssertionError: Undisturbed, the execution is stuck or waits for ever.
    """
    options: dict[str, Any] = {"signals": signals, "steps": steps, "others": others, "store": store, "same": same}
    options["world"] = World(effects, setup, check, teardown)
    plain = undisturbed(workflow, input, **options)
    if plain.rests is not None:
        raise AssertionError(f"workflow {workflow.key!r} does not end undisturbed: {plain.rests}\n{plain.timeline}")
    expected = plain.ending
    for seed in seeds:
        run = _run(workflow, input, seed, {"workers": workers, "faults": faults or None}, **options)
        yield attrs.evolve(run, problem=run.problem or differs(run.ending, expected))


def undisturbed(workflow: Workflow[Any, Any], input: Any = None, **options: Any) -> Seed:
    """Run *workflow* once without faults, for comparison. The arguments are those of `try_seeds`."""
    return _run(workflow, input, 0, {}, **options)


def _run(
    workflow: Workflow[Any, Any],
    input: Any,
    seed: int,
    options: Mapping[str, Any],
    *,
    signals: Sequence[tuple[Any, Any]] = (),
    steps: Mapping[Any, Any] | None = None,
    others: Sequence[Workflow[Any, Any]] = (),
    store: Callable[[Clock], Store] | None = None,
    same: bool = True,
    world: World = World(),  # noqa: B008 - it is immutable
) -> Seed:
    with world.run() as watch:
        options = {**options, "watch": watch, "steps": steps, "store": store}
        return _run_in_its_world(workflow, input, seed, options, signals, others, world, same=same)


def _run_in_its_world(
    workflow: Workflow[Any, Any],
    input: Any,
    seed: int,
    options: Mapping[str, Any],
    signals: Sequence[tuple[Any, Any]],
    others: Sequence[Workflow[Any, Any]],
    world: World,
    *,
    same: bool,
) -> Seed:
    with quiet_workers, Simulation([workflow, *others], seed=seed, **options) as sim:
        handle = sim.start(workflow, input, id="x-1")
        try:
            sim.settle(handle, signals)
            problem = wrong(sim, handle)
            if problem is None and sim.engine.get_execution(handle).status.ended:
                problem = world.problem(handle)
        except AssertionError as error:  # it neither rests nor ends
            problem = str(error).splitlines()[0]
        rests = unfinished(sim, handle, [id_of(signal) for signal, _ in signals])
        return Seed(seed, result_of(sim, handle, same=same), problem, sim.timeline(), rests)
