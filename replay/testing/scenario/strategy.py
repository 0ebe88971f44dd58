"""Hypothesis strategies of whole runs (`scenarios`) and of their logs (`histories`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st

from replay.client.histories import History
from replay.definition import Signal, Workflow
from replay.ports import Clock, Store
from replay.testing.checks.world import World
from replay.testing.scenario.plan import Choices, read_token, workflow_of
from replay.testing.scenario.runner import Run, ScenarioOptions, ScenarioRunner
from replay.testing.scenario.step_outcomes import InjectedFailure
from replay.testing.simulation.effects import Ledger

__all__ = ["InjectedFailure", "Run", "plan", "run_plan", "scenarios"]


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
    effects: Ledger | bool = True,
    setup: Callable[..., Any] | None = None,
    check: Callable[..., Any] | None = None,
    teardown: Callable[..., Any] | None = None,
) -> st.SearchStrategy[Run]:
    """Return a strategy of finished runs of *workflow*. Each is also replayed from its own log, in a shifted environment.

    Args:
        inputs: Strategy of inputs (default: no input).
        steps: By step id or function: a strategy of results, a stub, or a value. Other steps draw from their return
            annotation. Steps without annotation run their body.
        signals: Signals that may be sent (default: the workflow's own list), with payloads of the signal's type. They arrive at
            any moment, some twice.
        others: Further workflows (children).
        failures: Let steps and compensations fail a few times or for good, with `InjectedFailure` or a class of their
            `Retry(on=...)`. Those with a timeout may hang.
        crashes: Let workers crash or pause, let hints be lost, doubled or late, and let the store be unreachable.
        cancels: Let the execution be cancelled at any moment.
        max_workers: Largest number of workers (default: 3).
        store: Makes the store to run on (default: in memory).
        effects: As for `assert_recovers`. Real bodies also fail after their effect: `steps={"*": REAL}`.
        setup: Called before each run, to make a fresh world.
        check: Called with the handle of each ended run. It fails by raising `AssertionError` or returning False.
        teardown: Called at the end of each run.
    """
    known = tuple(signals if signals is not None else workflow.signals or ())
    options = ScenarioOptions(
        workflow,
        steps or {},
        known,
        tuple(others),
        failures,
        crashes,
        cancels,
        max_workers,
        store,
        World(effects, setup, check, teardown),
    )

    _known[workflow.key] = options

    @st.composite
    def runs(draw: st.DrawFn) -> Run:
        return ScenarioRunner(options, Choices(draw)).run(inputs)

    return runs()


_known: dict[str, ScenarioOptions] = {}
"""Options of the last `scenarios` of each workflow, by key: `plan` finds its workflow there."""


class PlannedRun:
    """Run of a plan, made at the first use of one of its attributes: those of `Run`."""

    def __init__(self, text: str, options: Callable[[], ScenarioOptions]) -> None:
        self._text = text
        self._options = options
        self._run: Run | None = None

    def run(self) -> Run:
        """Return the run, made now if it has not been made.

        Raises:
            AssertionError: The run violates the same promise as before.
            ValueError: The text is no plan, or the plan no longer fits the workflow.
        """
        if self._run is None:
            options = self._options()
            made = read_token([options.workflow, *options.others], self._text)
            try:
                self._run = ScenarioRunner(options, Choices(None, made)).run(None)
            except AssertionError:
                raise
            except Exception as error:
                raise ValueError(
                    f"plan {self._text[:24]!r}... no longer fits workflow {options.workflow.key!r}: {error}. "
                    f"Fix: remove it, or replace it by the one of a new failure"
                ) from error
            if currently_in_test_context():
                note(repr(self._run))  # Hypothesis prints an explicit example before it is run
        return self._run

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.run(), name)

    def __repr__(self) -> str:
        return f"plan({self._text!r})" if self._run is None else repr(self._run)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print the timeline for Hypothesis; a plan that was not run stays as it is."""
        printer.text(repr(self))


def plan(text: str) -> Any:
    """Return the run of a plan that a failing scenario printed: `@example(plan("..."))` above `@given(scenarios(...))`.

    The run is made at the first use of one of its attributes, so that a stale plan fails its test alone. The workflow is the
    one of that key to which `scenarios` was given.
    """

    def options() -> ScenarioOptions:
        key = workflow_of(text)
        if key not in _known:
            raise ValueError(
                f"no scenarios(...) of workflow {key!r} is known. Fix: run_plan(workflow, {text[:24]!r}...)"
            )
        return attrs.evolve(_known[key], steps={}, signals=())

    return PlannedRun(text, options)


def run_plan(
    workflow: Workflow[Any, Any],
    plan: str,
    *,
    others: Sequence[Workflow[Any, Any]] = (),
) -> Any:
    """Return the run of a plan of *workflow*, as `plan` does: `run_plan(approve_order, "...").result`.

    The plan holds the outcomes of stubs and strategies. Other steps run their body.
    """
    return PlannedRun(plan, lambda: ScenarioOptions(workflow, others=tuple(others)))


def histories(
    workflow: Workflow[Any, Any], inputs: st.SearchStrategy[Any] | None = None, **options: Any
) -> st.SearchStrategy[History]:
    """Return a strategy of recorded logs of *workflow*. The arguments are those of `scenarios`.

    Use it to test readers of logs: exporters, dashboards, and new code on logs of old code.
    """
    return scenarios(workflow, inputs, **options).map(lambda run: run.history)
