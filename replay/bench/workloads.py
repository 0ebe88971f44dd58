"""The workloads by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from replay.bench import joins, live, replaying, waiting
from replay.bench.harness import Figure
from replay.bench.setting import Setting

WORKLOADS: dict[str, Callable[[Setting], Iterator[Figure]]] = {
    "replay": replaying.run,
    "steps": live.steps,
    "executions": live.executions,
    "latency": live.latency,
    "suspended": waiting.suspended,
    "fanout": joins.fanout,
    "schedules": waiting.timers,
}
