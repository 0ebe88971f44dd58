"""Workloads by name, each with its usual size."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from replay.bench import joins, live, replaying, waiting
from replay.bench.harness import Figure
from replay.bench.parameters import Parameters


@attrs.frozen
class Workload:
    """Workload; `usual` is its default size (steps, executions, members)."""

    measure: Callable[[Parameters, int], Iterator[Figure]]
    usual: int

    def run(self, parameters: Parameters) -> Iterator[Figure]:
        """Measure the workload with *parameters*."""
        yield from self.measure(parameters, parameters.n or self.usual)


WORKLOADS = {
    "replay": Workload(replaying.run, 10_000),
    "steps": Workload(live.steps, 2_000),
    "executions": Workload(live.executions, 2_000),
    "latency": Workload(live.latency, 300),
    "suspended": Workload(waiting.suspended, 10_000),
    "waking": Workload(waiting.waking, 100_000),
    "fanout": Workload(joins.fanout, 1_000),
    "schedules": Workload(waiting.timers, 5_000),
}
