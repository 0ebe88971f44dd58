"""Metrics of a worker, and their text for Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate

import attrs

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of a histogram's buckets, seconds: Prometheus's defaults, and longer ones, since steps may take minutes."""


@attrs.define
class Histogram:
    """Counts of durations by bucket, and their sum (seconds)."""

    counts: list[int] = attrs.Factory(lambda: [0] * (len(BOUNDS) + 1))
    sum: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


@attrs.define
class Metrics:
    """Counters since the process began. `batch_seconds` is the time that batches took in the store.

    The loop writes them, and any thread may read them: a value may be a moment old, never torn.
    """

    claimed: int = 0
    ended: Counter[str] = attrs.Factory(Counter)
    steps: Counter[str] = attrs.Factory(Counter)
    step_seconds: Histogram = attrs.Factory(Histogram)
    batches: int = 0
    batch_seconds: float = 0.0
    requests: int = 0
    replays: int = 0
    cache_hits: int = 0
    leases_lost: int = 0
    unreachable: int = 0


@attrs.frozen
class Gauges:
    """Current gauge values of a worker."""

    active: int
    slots: int
    parked: int
    ready: bool


@attrs.frozen
class Surroundings:
    """Current values from outside the worker.

    Attributes:
        executions: Number of executions in the store by status; None: unknown now.
        connected: Whether `queue` and `bus` deliver now, for each that can tell.
    """

    executions: Mapping[str, int] | None = None
    connected: Mapping[str, bool] = attrs.Factory(dict)


_NOTHING = Surroundings()


def exposition(metrics: Metrics, gauges: Gauges, around: Surroundings = _NOTHING) -> str:
    """Return all metrics as Prometheus text."""
    return "\n".join(_lines(metrics, gauges, around)) + "\n"


def _lines(metrics: Metrics, gauges: Gauges, around: Surroundings) -> Iterator[str]:
    yield from _counter("executions_claimed", "Executions taken from the store.", metrics.claimed)
    yield from _labelled("executions_ended_total", "counter", "Executions that ended here.", "status", metrics.ended)
    yield from _labelled("steps_total", "counter", "Step bodies that came back.", "outcome", metrics.steps)
    yield from _histogram("step_seconds", "Time that step bodies took, in seconds.", metrics.step_seconds)
    yield from _counter("store_batches", "Batches sent to the store.", metrics.batches)
    yield from _counter("store_batch_seconds", "Time they took, in seconds.", metrics.batch_seconds)
    yield from _counter("store_requests", "Requests in them.", metrics.requests)
    yield from _counter("store_unreachable", "Batches that the store did not answer.", metrics.unreachable)
    yield from _counter("replays", "Visits that began by replaying the log.", metrics.replays)
    yield from _counter("cache_hits", "Visits that went on with a live generator.", metrics.cache_hits)
    yield from _counter("leases_lost", "Leases that passed on to others.", metrics.leases_lost)
    yield from _gauge("executions_active", "Executions under way here.", gauges.active)
    yield from _gauge("slots", "Executions that may be under way here.", gauges.slots)
    yield from _gauge("generators_parked", "Sleeping executions kept live.", gauges.parked)
    yield from _gauge("ready", "1 if it takes work.", int(gauges.ready))
    for what, connected in sorted(around.connected.items()):
        yield from _gauge(f"{what}_connected", f"1 if the {what} delivers just now.", int(connected))
    if around.executions is not None:
        help = "Executions in the store, the same from each worker of it."
        yield from _labelled("executions", "gauge", help, "status", around.executions)


def _counter(name: str, help: str, value: float) -> Iterator[str]:
    yield from _head(f"{name}_total", help, "counter")
    yield f"replay_{name}_total {value!r}"


def _labelled(name: str, kind: str, help: str, label: str, values: Mapping[str, int]) -> Iterator[str]:
    yield from _head(name, help, kind)
    for key, value in sorted(dict(values).items()):
        yield f'replay_{name}{{{label}="{key}"}} {value}'


def _histogram(name: str, help: str, values: Histogram) -> Iterator[str]:
    yield from _head(name, help, "histogram")
    counts = list(accumulate(values.counts))
    for bound, count in zip((*map(repr, BOUNDS), "+Inf"), counts, strict=True):
        yield f'replay_{name}_bucket{{le="{bound}"}} {count}'
    yield f"replay_{name}_sum {values.sum!r}"
    yield f"replay_{name}_count {counts[-1]}"


def _gauge(name: str, help: str, value: int) -> Iterator[str]:
    yield from _head(name, help, "gauge")
    yield f"replay_{name} {value}"


def _head(name: str, help: str, kind: str) -> Iterator[str]:
    yield f"# HELP replay_{name} {help}"
    yield f"# TYPE replay_{name} {kind}"
