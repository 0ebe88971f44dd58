"""One-line proofs: `assert_recovers` crashes a workflow everywhere, `assert_replay_equivalent` replays it from everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from replay.core import requests as r
from replay.core.errors import NonDeterminism
from replay.definition import Workflow
from replay.histories import Recorded
from replay.ports import Clock, Store
from replay.testing.faults import CrashPoint
from replay.testing.replaying import another_world, replay
from replay.testing.simulation import SimHandle, Simulation

MAX_EFFECTS = 2_000
"""Effects up to which every crash point is tried; beyond that an evenly spread choice of as many."""


@attrs.frozen
class Ending:
    """How an execution ended, as far as it must be the same in every run."""

    status: str
    result: str
    error: str


def assert_recovers(
    workflow: Workflow[Any, Any],
    input: Any = None,
    *,
    signals: Sequence[tuple[Any, Any]] = (),
    steps: Mapping[Any, Any] | None = None,
    others: Sequence[Workflow[Any, Any]] = (),
    store: Callable[[Clock], Store] | None = None,
    same: bool = True,
) -> int:
    """Crash the worker before and after every effect, one run each; the execution must end as it does undisturbed.

    Args:
        signals: Delivered in order, each as soon as the execution waits for it.
        steps: Stubs, as for `Simulation`.
        others: Further workflows (children).
        store: Makes the store to run on (default: in memory).
        same: Compare results, too (switch off for workflows whose results tell the time).

    Returns:
        How many crash points were tried.

    Raises:
        AssertionError: After some crash it ends otherwise, not at all, or a recorded step ran again.
    """
    options = {"workflows": [workflow, *others], "steps": steps, "store": store}
    plain, handle = _run(workflow, input, signals, options, None)
    expected = ending(plain, handle, same=same)
    points = plain.injector.effects
    stride = max(1, points // MAX_EFFECTS)
    tried = 0
    for number in range(1, points + 1, stride):
        for before in (True, False):
            point = CrashPoint(number, before)
            sim, crashed = _run(workflow, input, signals, options, point)
            tried += 1
            found = ending(sim, crashed, same=same)
            problem = None if found == expected else f"it ends {found}, but undisturbed it ends {expected}"
            problem = problem or wrong(sim, crashed)
            sim.close()
            if problem:
                where = f"{'before' if before else 'after'} effect #{number} of {points} ({sim.injector.labels[number - 1]})"
                raise AssertionError(
                    f"workflow {workflow.key!r} does not recover from a crash {where}{_last_step(sim, number)}:\n  {problem}\n"
                    f"Reproduce: Simulation([...], crash_at=CrashPoint({number}, {before}))\n{sim.timeline(30)}"
                )
    plain.close()
    return tried


def assert_replay_equivalent(
    workflow: Workflow[Any, Any],
    input: Any = None,
    *,
    signals: Sequence[tuple[Any, Any]] = (),
    steps: Mapping[Any, Any] | None = None,
    others: Sequence[Workflow[Any, Any]] = (),
    store: Callable[[Clock], Store] | None = None,
) -> int:
    """Check that replaying gives what running gave: from every prefix of the log, in another world, without live generators.

    Returns:
        How many replays were compared.

    Raises:
        AssertionError: Some replay differs; names the command, its source line and both sides.
    """
    options = {"workflows": [workflow, *others], "steps": steps, "store": store}
    sim, handle = _run(workflow, input, signals, options, None)
    recorded = record(sim, handle.id)
    expected = ending(sim, handle)
    count = 0
    for upto in range(len(recorded.rows) + 1):
        with another_world(upto + 1):
            _replay_prefix(workflow, recorded, upto)
        count += 1
    for changes in ({"cache_size": 0}, {"workers": 3, "seed": 1}, {"concurrency": 1, "seed": 2}):
        with another_world(count):
            other, again = _run(workflow, input, signals, {**options, **changes}, None)
        found = ending(other, again)
        trace = other.timeline(20)
        other.close()
        count += 1
        if found != expected:
            raise AssertionError(
                f"workflow {workflow.key!r} ends otherwise with {changes}: {found}, not {expected}. "
                f"It depends on something besides its log. `replay lint` finds hidden inputs.\n{trace}"
            )
    sim.close()
    return count


def record(sim: Simulation, id: str) -> Recorded:
    """Return an execution of a simulation as recorded."""
    header = sim.engine.ask(r.Get(id))
    assert header is not None
    return Recorded(header, tuple(sim.engine.ask(r.Load(id))))


def _replay_prefix(workflow: Workflow[Any, Any], recorded: Recorded, upto: int) -> None:
    try:
        interpreter = replay(workflow, recorded, upto=upto)
    except NonDeterminism as error:
        raise AssertionError(
            f"workflow {workflow.key!r} is not replay-safe (replaying {upto} entries):\n{error}"
        ) from error
    interpreter.close()


def _run(
    workflow: Workflow[Any, Any],
    input: Any,
    signals: Sequence[tuple[Any, Any]],
    options: Mapping[str, Any],
    point: CrashPoint | None,
) -> tuple[Simulation, SimHandle]:
    sim = Simulation(**options, crash_at=point)
    handle = sim.start(workflow, input, id="x-1")
    sim.settle(handle, signals)
    return sim, handle


def ending(sim: Simulation, handle: SimHandle, *, same: bool = True) -> Ending:
    """Return how the execution ended; without *same* the results do not count."""
    execution = sim.engine.get_execution(handle)
    current = f" at {execution.current}" if execution.current and not execution.status.ended else ""
    if not same:
        return Ending(execution.status, "", type(execution.error).__name__)
    return Ending(
        execution.status + current, repr(execution.result), f"{type(execution.error).__name__}: {execution.error}"
    )


def wrong(sim: Simulation, handle: SimHandle) -> str | None:
    """Look for a recorded step that was executed again (invariant I8), and for a log that cannot be."""
    if sim.repeated:
        return sim.repeated[0]
    return sim.illegal(handle.id)


def _last_step(sim: Simulation, number: int) -> str:
    ran = [label for label in sim.injector.labels[:number] if label.startswith("step ")]
    step = f", the last step before it being {ran[-1].removeprefix('step ')!r}" if ran else ""
    place = next((place for place in reversed(sim.injector.places[:number]) if place), "")
    return f"{step}, the workflow at {place}" if place else step
