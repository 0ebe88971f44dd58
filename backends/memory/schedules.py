"""Schedules of the memory store."""

from __future__ import annotations

import heapq

from replay.core import requests as r
from replay.core import transitions as t


class Schedules:
    """The rows of schedules, by id."""

    def __init__(self) -> None:
        self._rows: dict[str, r.Schedule] = {}

    def get(self, id: str) -> r.Schedule | None:
        """Return a schedule."""
        return self._rows.get(id)

    def page(self, request: r.ListSchedules) -> tuple[r.Schedule, ...]:
        """Return schedules in order of their ids."""
        ids = sorted(id for id in self._rows if id > request.after)
        return tuple(self._rows[id] for id in ids[: request.limit])

    def due(self, workflows: set[str], now: float) -> tuple[tuple[r.Schedule, ...], list[float]]:
        """Return the schedules of *workflows* that are due, up to a claim's limit, and when others will be."""
        timed = [
            (s.next_at, s.id)
            for s in self._rows.values()
            if s.next_at is not None and not s.paused and s.workflow in workflows
        ]
        due = heapq.nsmallest(r.SCHEDULES_LIMIT, (each for each in timed if each[0] <= now))
        return tuple(self._rows[id] for _, id in due), [at for at, _ in timed if at > now]

    def put(self, request: r.PutSchedule) -> r.Schedule | None:
        """Write a schedule; return it, None if another version is stored."""
        row = t.put_schedule(self.get(request.row.id), request)
        if row is not None:
            self._rows[row.id] = row
        return row

    def drop(self, request: r.DropSchedule, now: float) -> r.ScheduleWritten:
        """Remove a schedule, unless another version is stored."""
        stored = self.get(request.id)
        if stored is None or stored.version != request.expected:
            return r.ScheduleWritten(stored is None, stored, now)
        del self._rows[request.id]
        return r.ScheduleWritten(True, None, now)
