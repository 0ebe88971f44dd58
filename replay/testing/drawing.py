"""A Hypothesis strategy of whole runs: step outcomes, failures, signals, time, cancellations, crashes and worker counts."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from hypothesis import strategies as st

from replay.core.effects import Call
from replay.core.retry import ONCE
from replay.definition import Signal, Workflow
from replay.histories import History
from replay.records import Status, StepRecord
from replay.testing.checks import wrong
from replay.testing.faults import CrashPoint
from replay.testing.simulation import Simulation


class Unlucky(Exception):
    """What a step raises when a scenario has it fail."""


@attrs.frozen
class Run:
    """A finished run. Its `repr` is its plan and its timeline, so that a failing test prints them.

    Attributes:
        status: How it ended, or where it stands if it waits for ever.
        result: Its result, None without.
        error: What ended it.
        timeline: What happened, one line each.
        steps: The step records.
        executed: Ids of the steps that were run, with repetitions, in order.
        plan: What was drawn.
        history: Its log, as `replay history --export` would write it.
    """

    status: Status
    result: Any
    error: Any
    timeline: str
    steps: tuple[StepRecord, ...]
    executed: tuple[str, ...]
    plan: Mapping[str, Any]
    history: History

    def count(self, step_id: str) -> int:
        """Return how many steps of this id (scopes and numbers aside) are recorded as completed."""
        return sum(_plain(step.id) == step_id and step.status == "completed" for step in self.steps)

    def __repr__(self) -> str:
        plan = ", ".join(f"{key}={value!r}" for key, value in self.plan.items() if value not in (None, (), {}, []))
        ended = f"{self.status}: {self.result!r}" if self.error is None else f"{self.status}: {self.error!r}"
        return f"<run ended {ended}\nplan: {plan}\n{self.timeline}\n>"


def scenarios(
    workflow: Workflow[Any, Any],
    inputs: st.SearchStrategy[Any] | None = None,
    *,
    steps: Mapping[Any, Any] | None = None,
    signals: Sequence[Signal[Any]] | None = None,
    others: Sequence[Workflow[Any, Any]] = (),
    failures: bool = True,
    crashes: bool = True,
    cancels: bool = True,
    max_workers: int = 3,
) -> st.SearchStrategy[Run]:
    """Return a strategy of finished runs of *workflow*.

    Args:
        inputs: Strategy of inputs (default: none).
        steps: By step id or function: a strategy of results, a stub, or a value; others draw from their return annotation
            where it has one, else run for real.
        signals: What may be sent (default: the workflow's own list), payloads from the signal's type.
        others: Further workflows (children).
        failures: Steps may fail (with `Unlucky`), once or for good.
        crashes: Workers may crash, once or often.
        cancels: The execution may be cancelled.
    """
    known = tuple(signals if signals is not None else workflow.signals or ())

    @st.composite
    def runs(draw: st.DrawFn) -> Run:
        input = draw(inputs) if inputs is not None else None
        outcomes = _Outcomes(draw, steps or {}, failures=failures)
        plan: dict[str, Any] = {
            "input": input,
            "workers": draw(st.integers(1, max_workers)),
            "seed": draw(st.integers(0, 999)),
        }
        if crashes:
            plan["crash"] = draw(st.none() | st.builds(CrashPoint, st.integers(1, 40), st.booleans()))
        sim = Simulation(
            [workflow, *others],
            seed=plan["seed"],
            workers=plan["workers"],
            steps=_Stubs(outcomes),
            crash_at=plan.get("crash"),
        )
        handle = sim.start(workflow, input, id="x-1")
        if cancels:
            plan["cancel_after"] = draw(st.none() | st.integers(0, 100_000))
        plan["signals"] = []
        _drive(sim, handle, plan, draw, known)
        plan["outcomes"] = dict(outcomes.drawn)
        execution = sim.engine.get_execution(handle)
        detail = sim.engine.detail(handle)
        run = Run(
            execution.status,
            execution.result,
            execution.error,
            sim.timeline(),
            detail.steps,
            tuple(id for _, id, _ in sim.executed),
            plan,
            History.of(sim.engine, handle.id),
        )
        problem = str(execution.current) if execution.status == "stuck" else wrong(sim, handle)
        sim.close()
        if problem:
            raise AssertionError(f"{problem}\n{run!r}")
        return run

    return runs()


def _drive(sim: Simulation, handle: Any, plan: dict[str, Any], draw: st.DrawFn, known: tuple[Signal[Any], ...]) -> None:
    """Let the run go on to its end, sending drawn signals and passing time."""
    start = sim.now()
    for _ in range(200):
        sim.run()
        execution = sim.engine.get_execution(handle)
        if execution.status.ended:
            return
        after = plan.get("cancel_after")
        if after is not None and sim.now() - start >= after:
            plan["cancel_after"] = None
            plan["cancelled_after"] = after
            sim.cancel(handle, "scenario")
            continue
        if known and len(plan["signals"]) < 10 and draw(st.booleans()):
            signal = draw(st.sampled_from(known))
            payload = (
                draw(st.from_type(signal.payload_type)) if signal.payload_type is not None else draw(st.integers(0, 3))
            )
            plan["signals"].append((signal.id, payload, round(sim.now() - start, 3)))
            sim.signal(handle, signal, payload)
            continue
        due = sim.next_due()
        if due is None or due - start > 400 * 86400.0:
            if after is None:
                return
            due = start + after
        sim.advance(min(due, start + after if after is not None else due) - sim.now() + 0.001)


class _Outcomes:
    """Draws what each step comes to, once for each step and attempt."""

    def __init__(self, draw: st.DrawFn, steps: Mapping[Any, Any], *, failures: bool) -> None:
        self.drawn: dict[str, Any] = {}
        self._draw = draw
        self._steps = steps
        self._failures = failures

    def __call__(self, call: Call) -> Any:
        plain = _plain(call.id)
        given = next((self._steps[k] for k in (call.id, plain, call.fn) if k in self._steps), None)
        key = f"{call.id} (attempt {call.attempt})"
        if key not in self.drawn:
            self.drawn[key] = self._outcome(call, given)
        outcome = self.drawn[key]
        if isinstance(outcome, Unlucky):
            raise outcome
        return outcome(call) if callable(outcome) else outcome

    def _outcome(self, call: Call, given: Any) -> Any:
        policy = getattr(getattr(call.command, "options", None), "retry", ONCE)
        if self._failures and not call.id.startswith("rollback:") and self._draw(st.integers(0, 4)) == 0:
            return Unlucky(f"{call.id}, attempt {call.attempt} of {policy.attempts}")
        if isinstance(given, st.SearchStrategy):
            return self._draw(given)
        if given is not None:
            return given
        strategy = _strategy_of(call.fn)
        return self._draw(strategy) if strategy is not None else _real


def _real(call: Call) -> Any:
    return call.fn(*call.args, **call.kwargs)


def _strategy_of(fn: Callable[..., Any]) -> st.SearchStrategy[Any] | None:
    try:
        annotation = typing.get_type_hints(fn).get("return")
    except (TypeError, NameError, AttributeError):
        return None
    if annotation is None or annotation is Any:
        return None
    try:
        strategy = st.from_type(annotation)
        strategy.validate()
    except Exception:  # an annotation that Hypothesis cannot draw: run the body instead
        return None
    return strategy


class _Stubs(dict[Any, Any]):
    """A mapping that answers for every step."""

    def __init__(self, outcomes: _Outcomes) -> None:
        super().__init__({"*": outcomes})


def _plain(id: str) -> str:
    return id if id.startswith("rollback:") else id.rsplit("/", 1)[-1].split("#", 1)[0]
