"""What a worker does for the store now and then: it says that it is alive, and removes what has been kept long enough."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from replay.core import requests as r
from replay.worker.options import WorkerOptions

PURGE_EVERY = 0.05
"""Seconds between purges while there is more to remove: in small portions, so that others need not wait for them."""


class Housekeeping:
    """Makes these requests when they are due.

    Args:
        options: The worker's.
        workflows: Keys and versions that it can run.
        info: More to say of it in `replay workers`.
    """

    def __init__(self, options: WorkerOptions, workflows: Iterable[tuple[str, str]], info: dict[str, Any]) -> None:
        self._options = options
        self._info = {
            **info,
            "workflows": [{"key": key, "version": version} for key, version in sorted(workflows)],
            "slots": options.concurrency,
            "queues": options.queues,
        }
        self._next_purge = 0.0
        self._next_word = 0.0
        self._registered = False

    def wake_at(self) -> float:
        """Return when something is due."""
        return min(self._next_purge, self._next_word)

    def requests(self, now: float, active: int) -> Iterator[r.Request[Any]]:
        """Yield what is due; *active* executions are under way."""
        every = self._options.housekeeping
        if now >= self._next_purge:
            self._next_purge = now + every
            yield r.Purge(keep=self._options.retention_count)
        if now >= self._next_word:
            self._next_word = now + every
            self._registered = True
            info = {**self._info, "active": active}
            yield r.Register(r.WorkerRow(self._options.name, json.dumps(info).encode()), 3 * every)

    def purged(self, request: r.Purge, removed: int, now: float) -> None:
        """Purge again soon if there is more to remove."""
        if removed == request.limit:
            self._next_purge = now + PURGE_EVERY

    def farewell(self) -> list[r.Request[Any]]:
        """Return what has the store forget the worker, if it knows of it."""
        known, self._registered = self._registered, False
        return [r.Register(r.WorkerRow(self._options.name), 0.0)] if known else []
