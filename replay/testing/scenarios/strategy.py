"""A Hypothesis strategy of whole runs: step outcomes, failures, signals, time, cancellations, crashes and worker counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from replay.client.histories import History
from replay.definition import Signal, Workflow
from replay.ports import Clock, Store
from replay.testing.scenarios.plan import Choices, read_token
from replay.testing.scenarios.runner import Run, ScenarioOptions, ScenarioRunner
from replay.testing.scenarios.step_outcomes import InjectedFailure

__all__ = ["InjectedFailure", "Run", "run_plan", "scenarios"]


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
    store: Callable[[Clock], Store] | None = None,
) -> st.SearchStrategy[Run]:
    """Return a strategy of finished runs of *workflow*. Each has been replayed from its own log, in another world.

    Args:
        inputs: Strategy of inputs (default: none).
        steps: By step id or function: a strategy of results, a stub, or a value; others draw from their return annotation
            where it has one, else run for real.
        signals: What may be sent (default: the workflow's own list), payloads from the signal's type; at any moment, while
            steps run, too, and some of them twice.
        others: Further workflows (children).
        failures: Steps may fail (with `InjectedFailure`, or what their `Retry(on=...)` names) a few times or for good, and hang where
            they have a timeout.
        crashes: Workers may crash once or often, or stand still; hints get lost, doubled or late; the store is not reached.
        cancels: The execution may be cancelled, at any moment.
        store: Makes the store to run on (default: in memory).
    """
    known = tuple(signals if signals is not None else workflow.signals or ())
    options = ScenarioOptions(
        workflow, steps or {}, known, tuple(others), failures, crashes, cancels, max_workers, store
    )

    @st.composite
    def runs(draw: st.DrawFn) -> Run:
        return ScenarioRunner(options, Choices(draw)).run(inputs)

    return runs()


def run_plan(
    workflow: Workflow[Any, Any],
    plan: str,
    *,
    others: Sequence[Workflow[Any, Any]] = (),
) -> Run:
    """Run a plan that a failing scenario printed once more: `@example(run_plan(approve_order, "..."))`.

    Stubs and strategies are not needed: what they came to is in the plan. Steps without either run for real.

    Raises:
        AssertionError: As the scenario did.
        ValueError: It is not a plan, or the workflow has changed since so that it does not fit any more.
    """
    made = read_token([workflow, *others], plan)
    return ScenarioRunner(ScenarioOptions(workflow, others=tuple(others)), Choices(None, made)).run(None)


def histories(
    workflow: Workflow[Any, Any], inputs: st.SearchStrategy[Any] | None = None, **options: Any
) -> st.SearchStrategy[History]:
    """Return a strategy of recorded logs of *workflow*, from runs as `scenarios` draws them (same arguments).

    For tests of what reads logs: exporters, dashboards, and new code against what old code may have left.
    """
    return scenarios(workflow, inputs, **options).map(lambda run: run.history)
