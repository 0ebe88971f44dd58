"""One-line proofs: `assert_recovers` crashes a workflow everywhere, `assert_replay_equivalent` replays it from everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from replay.client.histories import Recorded
from replay.core import requests as r
from replay.core.errors import StepInterrupted
from replay.definition import Workflow
from replay.ports import Clock, Store
from replay.testing.checks.replaying import check_cold, suspects
from replay.testing.checks.shifted_environment import shifted_environment
from replay.testing.simulation.faults import CrashPoint
from replay.testing.simulation.simulation import SimHandle, Simulation
from replay.testing.simulation.timeline import short

MAX_EFFECTS = 2_000
"""Effects up to which every crash point is tried; beyond that an evenly spread choice of as many."""


@attrs.frozen
class Result:
    """How an execution ended, as far as it must be the same in every run.

    Attributes:
        status: Its status.
        came: What it came to: its result, what ended it, or what it waits for.
        excused: It failed because a crash interrupted a step that runs at most once, or because its own timeout passed.
    """

    status: str
    came: str
    excused: bool = False

    def __str__(self) -> str:
        return f"{self.status}{f': {self.came}' if self.came else ''}"

    def like(self, other: Result) -> bool:
        """Whether another run may end so, too."""
        return self == other or (not self.came and (self.excused or other.excused))


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
        same: It must also come to the same result. Switch off for workflows whose result tells the time, or hangs on which of
            two things was faster; then statuses are compared alone, and a run may also fail because a crash interrupted an
            `at_most_once` step, or because the execution's own timeout passed.

    Returns:
        How many crash points were tried.

    Raises:
        AssertionError: After some crash it ends otherwise, not at all, or a recorded step ran again.
    """
    options = {"workflows": [workflow, *others], "steps": steps, "store": store}
    plain, handle = _run(workflow, input, signals, options, None)
    expected = result_of(plain, handle, same=same)
    if (problem := wrong(plain, handle)) is not None:
        plain.close()
        raise AssertionError(
            f"workflow {workflow.key!r} does not even run undisturbed: {problem}\n{plain.timeline(40)}"
        )
    points = plain.injector.effects
    stride = max(1, points // MAX_EFFECTS)
    tried = 0
    for number in range(1, points + 1, stride):
        for before in (True, False):
            point = CrashPoint(number, before)
            sim, crashed = _run(workflow, input, signals, options, point)
            tried += 1
            found = result_of(sim, crashed, same=same)
            problem = wrong(sim, crashed) or differs(found, expected)
            sim.close()
            if problem:
                where = f"{'before' if before else 'after'} effect #{number} of {points} ({sim.injector.labels[number - 1]})"
                raise AssertionError(
                    f"workflow {workflow.key!r} does not recover from a crash {where}{_last_step(sim, number)}:\n  {problem}\n"
                    f"Reproduce: crash_at=CrashPoint({number}, {before}) in a Simulation{suspects(workflow)}\n{sim.timeline(40)}"
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

    The workflow runs four times: plainly, without live generators, with three workers, with one thread; each run is compared
    with replays of its own log, so runs may differ (a race may be won by another member) as long as each is true to its log.

    Returns:
        How many replays were compared.

    Raises:
        AssertionError: Some replay differs; names the command, its source line and both sides.
    """
    options = {"workflows": [workflow, *others], "steps": steps, "store": store}
    count = 0
    for changes in ({}, {"cache_size": 0}, {"workers": 3, "seed": 1}, {"concurrency": 1, "seed": 2}):
        with shifted_environment(count, workflow):
            sim, handle = _run(workflow, input, signals, {**options, **changes}, None)
        recorded = record(sim, handle.id)
        try:
            for upto in range(len(recorded.rows) + 1):
                count += 1
                check_cold(workflow, recorded, count, upto=upto, codec=sim.engine.codec)
            problem = wrong(sim, handle)
            if problem or recorded.header.status == "stuck":
                raise AssertionError(
                    f"workflow {workflow.key!r}: {problem or result_of(sim, handle)}{suspects(workflow)}"
                )
        except AssertionError as error:
            run = f"\nThis was with {changes}." if changes else ""
            raise AssertionError(f"{error}{run}\n{sim.timeline(40)}") from error
        finally:
            sim.close()
    return count


def record(sim: Simulation, id: str) -> Recorded:
    """Return an execution of a simulation as recorded."""
    header = sim.engine.ask(r.Get(id))
    assert header is not None
    return Recorded(header, tuple(sim.engine.ask(r.Load(id))))


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


def result_of(sim: Simulation, handle: SimHandle, *, same: bool = True) -> Result:
    """Return how the execution ended; without *same* what it came to does not count."""
    execution = sim.engine.get_execution(handle)
    error = execution.error
    excused = isinstance(error, StepInterrupted) or isinstance(getattr(error, "cause", None), StepInterrupted)
    excused = excused or (isinstance(error, TimeoutError) and str(error).startswith("the execution did not end"))
    if not same:
        return Result(execution.status.value, "", excused)
    if not execution.status.ended:
        came = f"at {_waits(execution.current)}" if execution.current else ""
    elif error is not None:
        came = f"{type(error).__name__}: {error}"
    else:
        came = repr(execution.result)
    return Result(execution.status.value, came, excused)


def _waits(current: Sequence[Mapping[str, Any]]) -> str:
    """Say what an execution waits for, without instants: those may differ."""
    return ", ".join(
        short(wait["message"])
        if "message" in wait
        else f"{wait.get('kind')} {wait.get('signal') or wait.get('id', '')}"
        for wait in current
    )


def differs(found: Result, expected: Result) -> str | None:
    """Say how two endings differ, None if they are alike."""
    if found.like(expected):
        return None
    advice = ""
    if found.status == expected.status or found.excused:
        advice = (
            " (if it may: same=False compares statuses alone, for results that tell the time or which of two was faster, "
            "and lets at-most-once steps be interrupted and timeouts pass)"
        )
    return f"it ends {found}\n  but undisturbed it ends {expected}{advice}"


def wrong(sim: Simulation, handle: SimHandle) -> str | None:
    """Look for a recorded step that was executed again (invariant I8), and for logs that cannot be, or cannot be replayed."""
    if sim.problems:
        return sim.problems[0]
    problem = sim.violation(handle.id)
    if problem is not None:
        return problem
    for id, key in list(sim.executions.items()):
        header = sim.engine.ask(r.Get(id))
        workflow = sim.workflows.get((key, header.version)) if header is not None else None
        if workflow is None or header is None or header.status == "stuck":
            continue
        try:
            check_cold(workflow, record(sim, id), 1, codec=sim.engine.codec)
        except AssertionError as error:
            return str(error)
    return None


def _last_step(sim: Simulation, number: int) -> str:
    ran = [label for label in sim.injector.labels[:number] if label.startswith("step ")]
    step = f", the last step before it being {ran[-1].removeprefix('step ')!r}" if ran else ""
    place = next((place for place in reversed(sim.injector.places[:number]) if place), "")
    return f"{step}, the workflow at {place}" if place else step
