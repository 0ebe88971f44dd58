"""Exhaustive checks: `assert_recovers` crashes a workflow at every effect, `assert_replay_equivalent` replays every prefix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from replay.client.histories import Recorded
from replay.core import requests as r
from replay.core.entries import StepDone, StepFailed, WaitTimedOut
from replay.core.errors import StepInterrupted
from replay.definition import Workflow
from replay.ports import Clock, Store
from replay.testing.checks.replaying import check_cold, suspects
from replay.testing.checks.shifted_environment import shifted_environment
from replay.testing.checks.world import World
from replay.testing.simulation.effects import Ledger
from replay.testing.simulation.faults import CrashPoint
from replay.testing.simulation.quiet_logs import quiet_workers
from replay.testing.simulation.simulation import SimHandle, Simulation
from replay.testing.simulation.timeline import short

MAX_EFFECTS = 2_000
"""Most effects at which every crash point is tried. In longer runs the tried points are spread evenly."""


@attrs.frozen
class Result:
    """Status and value of an execution, as far as they must agree in every run.

    Attributes:
        status: Status of the execution.
        value: Text of its result, its error, or its current wait.
        excused: True if an interrupted at-most-once step or its own timeout ended it.
    """

    status: str
    value: str
    excused: bool = False

    def __str__(self) -> str:
        return f"{self.status}{f': {self.value}' if self.value else ''}"

    def like(self, other: Result) -> bool:
        """Return whether both runs count as the same."""
        return self == other or (not self.value and (self.excused or other.excused))


def assert_recovers(
    workflow: Workflow[Any, Any],
    input: Any = None,
    *,
    signals: Sequence[tuple[Any, Any]] = (),
    steps: Mapping[Any, Any] | None = None,
    others: Sequence[Workflow[Any, Any]] = (),
    store: Callable[[Clock], Store] | None = None,
    same: bool = True,
    effects: Ledger | bool = True,
    setup: Callable[..., Any] | None = None,
    check: Callable[..., Any] | None = None,
    teardown: Callable[..., Any] | None = None,
) -> int:
    """Crash the worker before and after every effect, one run each. The execution must end as it does without a crash.

    Args:
        signals: Signals and payloads, sent in order, each as soon as the execution waits for it.
        steps: Stubs, as for `Simulation`.
        others: Further workflows (children).
        store: Makes the store to run on (default: in memory).
        same: Compare results, too (default). Pass False if the result depends on the time or on a race. Then only statuses
            are compared, and a run may also end by an interrupted `at_most_once` step or by the execution's own timeout.
        effects: A `Ledger` in which bodies record their effects. True (default): effects of real bodies are watched, as changes
            of state that outlives them. False: effects may repeat.
        setup: Called before each run, to make a fresh world.
        check: Called with the handle after each run. It fails by raising `AssertionError` or returning False.
        teardown: Called at the end of each run.

    Returns:
        Number of crash points tried.

    Raises:
        AssertionError: Undisturbed, the execution is stuck or waits for ever. After some crash it ends otherwise or not at all, or a
            recorded step runs again, or an effect happens twice or is left behind.
    """
    options = {"workflows": [workflow, *others], "steps": steps, "store": store}
    world = World(effects, setup, check, teardown)
    with world.run() as watch:
        plain, handle = _run(workflow, input, signals, {**options, "watch": watch}, None)
        expected = result_of(plain, handle, same=same)
        problem = wrong(plain, handle)
        rests = unfinished(plain, handle, [id_of(signal) for signal, _ in signals])
        problem = problem or (world.problem(handle) if rests is None else None)
        plain.close()
    if problem is not None:
        raise AssertionError(
            f"workflow {workflow.key!r} does not even run undisturbed: {problem}\n{plain.timeline(40)}"
        )
    if rests is not None:
        raise AssertionError(f"workflow {workflow.key!r} does not end undisturbed: {rests}\n{plain.timeline(12)}")
    points = plain.injector.effects
    stride = max(1, points // MAX_EFFECTS)
    tried = 0
    for number in range(1, points + 1, stride):
        for before in (True, False):
            point = CrashPoint(number, before)
            tried += 1
            with world.run() as watch:
                sim, crashed = _run(workflow, input, signals, {**options, "watch": watch}, point)
                found = result_of(sim, crashed, same=same)
                problem = wrong(sim, crashed) or differs(found, expected) or world.problem(crashed)
                sim.close()
            if problem:
                where = f"{'before' if before else 'after'} effect #{number} of {points} ({sim.injector.labels[number - 1]})"
                raise AssertionError(
                    f"workflow {workflow.key!r} does not recover from a crash {where}{_last_step(sim, number)}:\n  {problem}\n"
                    f"Reproduce: crash_at=CrashPoint({number}, {before}) in a Simulation{suspects(workflow)}\n"
                    f"{sim.timeline_around('crash')}"
                )
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
    """Check that every prefix of the log replays to the recorded execution, with clocks, randomness and environment shifted.

    The workflow runs four times: as usual, without live generators, with three workers, and with one thread. Each run is
    compared with replays of its own log. The runs may differ from each other, as when a race has another winner.

    Returns:
        Number of replays compared.

    Raises:
        AssertionError: A replay differs. The message names the command, its source line and both sides.
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
    """Return an execution's header and log from a simulation."""
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
    with quiet_workers:
        sim.settle(handle, signals)
    return sim, handle


def result_of(sim: Simulation, handle: SimHandle, *, same: bool = True) -> Result:
    """Return the result of an execution, ended or waiting. Without *same* its value is left empty."""
    execution = sim.engine.get_execution(handle)
    error = execution.error
    excused = isinstance(error, StepInterrupted) or isinstance(getattr(error, "cause", None), StepInterrupted)
    excused = excused or (isinstance(error, TimeoutError) and str(error).startswith("the execution did not end"))
    if not same:
        return Result(execution.status.value, "", excused)
    if not execution.status.ended:
        value = f"at {_waits(execution.current)}" if execution.current else ""
    elif error is not None:
        value = f"{type(error).__name__}: {error}"
    else:
        value = repr(execution.result)
    return Result(execution.status.value, value, excused)


def unfinished(sim: Simulation, handle: SimHandle, sent: Sequence[str] = ()) -> str | None:
    """Describe why an undisturbed execution proves nothing: it is stuck, or waits for ever. None if it has ended."""
    execution = sim.engine.get_execution(handle)
    if execution.status.ended:
        return None
    if execution.status == "stuck":
        return (
            f"it is stuck: {_waits(execution.current)}. Fix: see `replay lint`, or give `others=` the missing workflows"
        )
    signal = next((str(wait["signal"]) for wait in execution.current if wait.get("signal")), None)
    waits = _waits(execution.current) or "a message"
    if signal is None:
        return (
            f"it is {execution.status} and waits for ever, at {waits}. Fix: let the workflow, or a stub, come to an end"
        )
    times = sent.count(signal)
    again = f" once more ({times} sent)" if times else ""
    return f"it waits for ever for {waits}{again}. Fix: signals=[..., ({signal!r}, payload)], or a timeout on the wait"


def id_of(signal: Any) -> str:
    """Return the id of a signal that is given by its definition or id."""
    return signal if isinstance(signal, str) else str(signal.id)


def _waits(current: Sequence[Mapping[str, Any]]) -> str:
    """Describe the current waits, without instants: those may differ between runs."""
    return ", ".join(
        short(wait["message"])
        if "message" in wait
        else f"{wait.get('kind')} {wait.get('signal') or wait.get('id', '')}"
        for wait in current
    )


def differs(found: Result, expected: Result) -> str | None:
    """Describe the difference of two results, None if they are alike."""
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
    """Return the first violated promise, None if there is none.

    Checked: no recorded step runs again (I8), the log obeys the rules (I9), no effect happens twice or is left behind, every log
    of the simulation replays.
    """
    problems: list[str] = [*sim.problems, *(sim.watch.problems if sim.watch is not None else ())]
    if problems:
        return problems[0]
    problem = sim.violation(handle.id)
    if problem is not None:
        return problem
    for id, key in list(sim.executions.items()):
        header = sim.engine.ask(r.Get(id))
        workflow = sim.workflows.get((key, header.version)) if header is not None else None
        if workflow is None or header is None or header.status == "stuck":
            continue
        try:
            undoable = check_cold(workflow, record(sim, id), 1, codec=sim.engine.codec)
        except AssertionError as error:
            return str(error)
        if (left := left_undone(sim, id, header.status, undoable)) is not None:
            return left
    return None


def left_undone(sim: Simulation, id: str, status: str, undoable: Sequence[str]) -> str | None:
    """Describe an effect that a failed execution left behind, None if there is none.

    A workflow that runs a step after the failure is taken to make up for it by itself.
    """
    audit = sim.engine.detail(id).audit
    rolled_back = any(entry.id.startswith("rollback:") for entry in audit)
    if sim.watch is not None:
        behind = next(sim.watch.at_the_end(status, rolled_back=rolled_back), None)
        if behind is not None:
            return behind
    kinds = [type(entry) for entry in audit]
    failed = next((n for n, kind in enumerate(kinds) if kind in (StepFailed, WaitTimedOut)), None)
    if sim.watch is None or status != "failed" or not undoable or failed is None:
        return None
    failure = audit[failed]
    if {StepDone, StepFailed} & {*kinds[failed + 1 :]}:
        return None
    came = "failed" if isinstance(failure, StepFailed) else "timed out"
    return (
        f"step {undoable[0]!r} was done and not undone: {failure.id!r} {came}, the execution ended failed, and the compensation "
        f"of {', '.join(map(repr, undoable))} never ran.\n"
        f"  Fix: `except StepFailed: yield from ctx.rollback()`, or @workflow(rollback_on_failure=True)"
    )


def _last_step(sim: Simulation, number: int) -> str:
    ran = [label for label in sim.injector.labels[:number] if label.startswith("step ")]
    step = f", the last step before it being {ran[-1].removeprefix('step ')!r}" if ran else ""
    place = next((place for place in reversed(sim.injector.places[:number]) if place), "")
    return f"{step}, the workflow at {place}" if place else step
