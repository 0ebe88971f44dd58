"""A worker's periodic requests: its registration, and purges of expired executions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from replay.core import requests as r
from replay.worker.options import WorkerOptions

PURGE_INTERVAL = 0.05
"""Seconds between purges while there is more to remove: in small portions, so that other requests need not wait for them."""


class Housekeeping:
    """Makes these requests when they are due.

    Args:
        options: The worker's options.
        workflows: Keys and versions of the workflows that it runs.
        info: Further facts for `replay workers`.
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
        self._next_registration = 0.0
        self._registered = False

    def wake_at(self) -> float:
        """Return the due time of the next request."""
        return min(self._next_purge, self._next_registration)

    def requests(self, now: float, active: int) -> Iterator[r.Request[Any]]:
        """Yield the due requests; *active* is the number of executions in progress."""
        interval = self._options.housekeeping
        if now >= self._next_purge:
            self._next_purge = now + interval
            yield r.Purge(keep=self._options.retention_count)
        if now >= self._next_registration:
            self._next_registration = now + interval
            self._registered = True
            info = {**self._info, "active": active}
            yield r.Register(r.WorkerRow(self._options.name, json.dumps(info).encode()), 3 * interval)

    def purged(self, request: r.Purge, removed: int, now: float) -> None:
        """Take a purge's reply; if it removed as many as it may, the next one is due soon."""
        if removed == request.limit:
            self._next_purge = now + PURGE_INTERVAL

    def deregister(self) -> list[r.Request[Any]]:
        """Return the request that removes the worker's registration, if there is one."""
        registered, self._registered = self._registered, False
        return [r.Register(r.WorkerRow(self._options.name), 0.0)] if registered else []
