"""Statistics of scenarios: events for the situations that runs reach, and targets that steer the search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hypothesis import target

from replay.core import entries as e

if TYPE_CHECKING:
    from replay.testing.scenario.runner import Run

_WORDS: dict[type, str] = {
    e.SignalReceived: "received a signal",
    e.WaitTimedOut: "a wait timed out",
    e.StepFailed: "a step failed for good",
    e.StepRetried: "a step was retried",
    e.RaceWon: "raced",
    e.CancelReceived: "was cancelled",
    e.AttemptFailed: "an attempt failed",
}
"""Entries that are counted, and their names in the statistics."""


def reached(status: str, audit: Sequence[Any], timeline: str) -> Iterator[str]:
    """Yield each situation that a run reached, once: for `--hypothesis-show-statistics`."""
    yield f"ended {status}"
    kinds = {type(entry) for entry in audit}
    yield from (word for kind, word in _WORDS.items() if kind in kinds)
    if any(entry.id.startswith("rollback:") for entry in audit):
        yield "compensated"
    if " crash " in timeline:
        yield "a worker crashed"


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
