"""Ticks of due schedules on a worker: one that fails is logged once and stays due for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from replay.core import requests as r
from replay.core.errors import StoreUnavailable, text_of
from replay.logs import get_logger

log = get_logger("replay.worker")

Tick = Callable[[r.Schedule, float], Sequence[r.Request[Any]]]
"""Takes a due schedule and the time; returns the requests that advance it."""


class Ticking:
    """Fires due schedules.

    Args:
        tick: Makes the requests; None: schedules are ignored.
    """

    def __init__(self, tick: Tick | None) -> None:
        self._tick = tick
        self._reported_schedule_errors: dict[str, int] = {}  # versions by schedule id: each is logged once

    def fire(self, schedule: r.Schedule, now: float) -> Sequence[r.Request[Any]]:
        """Fire a due schedule: return its requests. On failure it stays due, so another worker can fire it."""
        if self._tick is None:
            return ()
        try:
            return self._tick(schedule, now)
        except StoreUnavailable:
            return ()  # the next claim returns it again
        except Exception as error:
            self._report(schedule, error)
            return ()

    def _report(self, schedule: r.Schedule, error: Exception) -> None:
        if self._reported_schedule_errors.get(schedule.id) != schedule.version:
            self._reported_schedule_errors[schedule.id] = schedule.version
            log.error(
                "schedule %r cannot be fired here: %s", schedule.id, text_of(error), extra={"schedule_id": schedule.id}
            )
