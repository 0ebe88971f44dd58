"""Seed sweep: one workflow in a faulty simulated cluster for each seed, as `replay simulate` runs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from replay.definition import Workflow
from replay.ports import Clock, Store
from replay.testing.checks.recovery import Result, differs, id_of, result_of, unfinished, wrong
from replay.testing.checks.world import World, seed_chance
from replay.testing.simulation.effects import Ledger
from replay.testing.simulation.faults import Faults, Injected
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
        faults: The faults that happened, each with its number.
        workers: Number of workers.
    """

    seed: int
    ending: Result
    problem: str | None
    timeline: str
    rests: str | None = None
    faults: tuple[Injected, ...] = ()
    workers: int = 1


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
    minimise: bool = True,
) -> Iterator[Seed]:
    """Run *workflow* under each seed's faults. Each run must end as one without faults, and repeat no recorded step.

    Faults cost virtual time. Pass `same=False` for a workflow that races against the clock. The arguments are those of
    `assert_recovers` and `Simulation`.

    A seed that fails is minimised: what is yielded is a run with as few faults and workers as it takes. `minimise=False` yields the
    run as it was.

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

        def attempt(number: int, script: frozenset[Injected] | None, seed: int = seed) -> Seed:
            cluster = {"workers": number, "faults": faults or None, "script": script}
            run = _run(workflow, input, seed, cluster, **options)
            return attrs.evolve(run, problem=run.problem or differs(run.ending, expected), workers=number)

        run = attempt(workers, None)
        yield minimal(run, attempt) if minimise and run.problem else run


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
        seed_chance(seed)
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
        return Seed(
            seed, result_of(sim, handle, same=same), problem, sim.timeline(), rests, tuple(sim.injector.injected)
        )


# --- minimising -----------------------------------------------------------------------------------------------------

MOST_ATTEMPTS = 200
"""Most runs spent on minimising one seed."""

MOST_CRASHES = 40
"""Most single crashes tried, one after each store call or step body."""

Attempt = Callable[[int, frozenset[Injected]], Seed]
"""Runs the seed again with so many workers and exactly these faults."""


def minimal(run: Seed, attempt: Attempt) -> Seed:
    """Return a run with the same kind of problem as *run*, and with few faults and workers (delta debugging)."""
    left = [MOST_ATTEMPTS]
    kind = _kind(run.problem)

    def fails(workers: int, faults: Sequence[Injected]) -> Seed | None:
        left[0] -= 1
        found = attempt(workers, frozenset(faults)) if left[0] >= 0 else None
        return found if found is not None and _kind(found.problem) == kind else None

    # One worker and no fault, or one crash, is the commonest case, whatever faults the seed drew.
    for crash in ((), *((("crash after", number),) for number in range(1, MOST_CRASHES + 1))):
        if (found := fails(1, crash)) is not None:
            return found
    best = next((found for number in (2,) if number < run.workers and (found := fails(number, run.faults))), run)
    size = max(1, len(best.faults) // 2)
    while left[0] > 0:
        parts = [best.faults[at : at + size] for at in range(0, len(best.faults), size)]
        smaller = (
            found
            for part in parts
            if (found := fails(best.workers, [each for each in best.faults if each not in part])) is not None
        )
        found = next(smaller, None)
        if found is not None and len(found.faults) < len(best.faults):
            best = found
        elif size == 1:
            break
        size = max(1, size // 2)
    return best


def _kind(problem: str | None) -> str:
    """Return the kind of a problem: its first line without numbers."""
    return re.sub(r"\d+", "", problem.splitlines()[0])[:60] if problem else ""
