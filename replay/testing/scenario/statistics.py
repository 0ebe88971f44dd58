"""Statistics of scenarios: events for the situations that runs reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from replay.core import entries as e

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


class VacuousScenarios(UserWarning):
    """No run of a property completed, ran a step or received a signal: the property proves nothing."""


fruitful: dict[str, bool] = {}
"""Whether some run of a workflow reached anything, by key, since the mapping was cleared (at the begin of each test)."""


def count(key: str, status: str, audit: Sequence[Any]) -> None:
    """Note whether a run of the workflow *key* reached anything."""
    reached_something = status == "completed" or any(
        isinstance(entry, e.StepDone | e.SignalReceived) for entry in audit
    )
    fruitful[key] = fruitful.get(key, False) or reached_something


def vacuous() -> Iterator[str]:
    """Yield the complaint about each workflow of which no run reached anything."""
    for key, reached_something in fruitful.items():
        if not reached_something:
            yield (
                f"no scenario of workflow {key!r} completed, recorded a step's result or received a signal: the test proves nothing. "
                f"Fix: look at a run's timeline; give steps={{...}} stubs that succeed"
            )


def reached(status: str, audit: Sequence[Any], timeline: str) -> Iterator[str]:
    """Yield each situation that a run reached, once: for `--hypothesis-show-statistics`."""
    yield f"ended {status}"
    kinds = {type(entry) for entry in audit}
    yield from (word for kind, word in _WORDS.items() if kind in kinds)
    if any(entry.id.startswith("rollback:") for entry in audit):
        yield "compensated"
    if " crash " in timeline:
        yield "a worker crashed"
