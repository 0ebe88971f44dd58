"""Probes of a worker: `/livez`, `/readyz` and `/metrics`, for orchestrators and Prometheus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from replay.cli.process.health_server import Answer
from replay.client.records import Status
from replay.core.errors import ReplayError
from replay.engine import Engine
from replay.observability.metrics import Surroundings, exposition
from replay.worker.runner import Runner

FRESH = 10.0
"""Seconds for which the counts of executions are reused: less than any scrape interval. Several servers may scrape."""


class Probes:
    """Answers of the health port. Until the worker begins, it is alive and not ready."""

    def __init__(self) -> None:
        self._work: tuple[Engine, Runner] | None = None
        self._counting = threading.Lock()
        self._counted_at = float("-inf")
        self._counts: dict[str, int] | None = None

    def begin(self, engine: Engine, runner: Runner) -> None:
        """Begin to answer for the worker."""
        self._work = engine, runner

    def routes(self) -> dict[str, Callable[[], Answer]]:
        """Return the probes by path."""
        return {"/livez": self.live, "/readyz": self.ready, "/metrics": self.metrics}

    def live(self) -> Answer:
        """Return 200 for a working process, 503 for one that an orchestrator should restart."""
        if self._work is None:
            return 200, "starting\n"
        _, runner = self._work
        if runner.failure is not None:
            return 503, f"the worker stopped: {runner.failure!r}\n"
        if runner.hung:
            return 503, f"workflow code has kept the loop busy for {runner.busy:.0f} s\n"
        return 200, "ok\n"

    def ready(self) -> Answer:
        """Return 200 for a worker that takes work, else 503."""
        if self._work is None:
            return 503, "starting\n"
        _, runner = self._work
        if runner.worker.store_link.unreachable:
            return 503, "the store cannot be reached\n"
        if runner.failure is not None or runner.hung or not runner.worker.gauges().ready:
            return 503, "it takes no more work\n"
        return 200, "ok\n"

    def metrics(self) -> Answer:
        """Return the metrics in the format of Prometheus."""
        if self._work is None:
            return 503, "starting\n"
        engine, runner = self._work
        worker = runner.worker
        counts = None if worker.store_link.unreachable else self._executions(engine)
        return 200, exposition(worker.metrics, worker.gauges(), Surroundings(counts, engine.connected))

    def _executions(self, engine: Engine) -> Mapping[str, int] | None:
        with self._counting:
            if time.monotonic() - self._counted_at >= FRESH:
                try:
                    counts = engine.count_executions()
                    self._counts = {status.value: counts.get(status, 0) for status in Status}
                except ReplayError:
                    self._counts = None
                self._counted_at = time.monotonic()
            return self._counts
