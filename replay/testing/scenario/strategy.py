"""Hypothesis strategies of whole runs (`scenarios`) and of their logs (`histories`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from replay.client.histories import History
from replay.definition import Signal, Workflow
from replay.ports import Clock, Store
from replay.testing.scenario.plan import Choices, read_token
from replay.testing.scenario.runner import Run, ScenarioOptions, ScenarioRunner
from replay.testing.scenario.step_outcomes import InjectedFailure

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
    """Return a strategy of finished runs of *workflow*. Each is also replayed from its own log, in a shifted environment.

    Args:
        inputs: Strategy of inputs (default: no input).
        steps: By step id or function: a strategy of results, a stub, or a value. Other steps draw from their return
            annotation. Steps without annotation run their body.
        signals: Signals that may be sent (default: the workflow's own list), with payloads of the signal's type. They arrive at
            any moment, some twice.
        others: Further workflows (children).
        failures: Let steps fail a few times or for good, with `InjectedFailure` or a class of their `Retry(on=...)`. Steps
            with a timeout may hang.
        crashes: Let workers crash or pause, let hints be lost, doubled or late, and let the store be unreachable.
        cancels: Let the execution be cancelled at any moment.
        max_workers: Largest number of workers (default: 3).
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
    """Run the plan of a failing scenario again: `@example(run_plan(approve_order, "..."))`.

    The plan holds the outcomes of stubs and strategies. Other steps run their body.

    Raises:
        AssertionError: The run violates the same promise as before.
        ValueError: The text is no plan, or the plan no longer fits the workflow.
    """
    made = read_token([workflow, *others], plan)
    return ScenarioRunner(ScenarioOptions(workflow, others=tuple(others)), Choices(None, made)).run(None)


def histories(
    workflow: Workflow[Any, Any], inputs: st.SearchStrategy[Any] | None = None, **options: Any
) -> st.SearchStrategy[History]:
    """Return a strategy of recorded logs of *workflow*. The arguments are those of `scenarios`.

    Use it to test readers of logs: exporters, dashboards, and new code on logs of old code.
    """
    return scenarios(workflow, inputs, **options).map(lambda run: run.history)
