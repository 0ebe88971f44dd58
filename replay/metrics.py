"""What a worker counts, as text for Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import attrs


@attrs.define
class Metrics:
    """Counted since the process began; `commit_seconds` is the time that batches took in the store.

    Written by the loop and read by any thread: a reading may be a moment old, never torn.
    """

    claimed: int = 0
    ended: Counter[str] = attrs.Factory(Counter)
    steps: Counter[str] = attrs.Factory(Counter)
    batches: int = 0
    batch_seconds: float = 0.0
    requests: int = 0
    replays: int = 0
    cache_hits: int = 0
    leases_lost: int = 0
    unreachable: int = 0


@attrs.frozen
class Gauges:
    """What is so at this moment."""

    active: int
    slots: int
    parked: int
    ready: bool


def exposition(metrics: Metrics, gauges: Gauges) -> str:
    """Return all as Prometheus reads it."""
    return "\n".join(_lines(metrics, gauges)) + "\n"


def _lines(metrics: Metrics, gauges: Gauges) -> Iterator[str]:
    yield from _counter("executions_claimed", "Executions taken from the store.", metrics.claimed)
    yield from _labelled("executions_ended", "Executions that ended here.", "status", metrics.ended)
    yield from _labelled("steps", "Step bodies that came back.", "outcome", metrics.steps)
    yield from _counter("store_batches", "Batches sent to the store.", metrics.batches)
    yield from _counter("store_batch_seconds", "Time they took, in seconds.", metrics.batch_seconds)
    yield from _counter("store_requests", "Requests in them.", metrics.requests)
    yield from _counter("store_unreachable", "Batches that the store did not answer.", metrics.unreachable)
    yield from _counter("replays", "Visits that began by replaying the log.", metrics.replays)
    yield from _counter("cache_hits", "Visits that went on with a live generator.", metrics.cache_hits)
    yield from _counter("leases_lost", "Leases that passed on to others.", metrics.leases_lost)
    yield from _gauge("executions_active", "Executions under way.", gauges.active)
    yield from _gauge("slots", "Executions that may be under way.", gauges.slots)
    yield from _gauge("generators_parked", "Sleeping executions kept live.", gauges.parked)
    yield from _gauge("ready", "1 if it takes work.", int(gauges.ready))


def _counter(name: str, help: str, value: float) -> Iterator[str]:
    yield from _head(f"{name}_total", help, "counter")
    yield f"replay_{name}_total {value:g}" if isinstance(value, float) else f"replay_{name}_total {value}"


def _labelled(name: str, help: str, label: str, values: Counter[str]) -> Iterator[str]:
    yield from _head(f"{name}_total", help, "counter")
    for key, value in sorted(values.copy().items()):
        yield f'replay_{name}_total{{{label}="{key}"}} {value}'


def _gauge(name: str, help: str, value: int) -> Iterator[str]:
    yield from _head(name, help, "gauge")
    yield f"replay_{name} {value}"


def _head(name: str, help: str, kind: str) -> Iterator[str]:
    yield f"# HELP replay_{name} {help}"
    yield f"# TYPE replay_{name} {kind}"
