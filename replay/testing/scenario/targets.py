"""Targets of scenarios: figures of runs that steer the search of Hypothesis."""

from __future__ import annotations

from hypothesis import target

from replay.testing.scenario.runner import Run


def aim_for(run: Run, *, retries: bool = True, compensations: bool = True, signals: bool = True) -> None:
    """Steer Hypothesis towards long runs: call it in the test with each run.

    Args:
        retries: Towards runs with many attempts.
        compensations: Towards runs with many compensations.
        signals: Towards runs with many received signals.
    """
    if retries:
        target(float(len(run.executed)), label="attempts")
    if compensations:
        target(float(sum(step.id.startswith("rollback:") for step in run.steps)), label="compensations")
    if signals:
        target(float(run.timeline.count("receives signal")), label="received signals")
