"""Due times of the memory store: a heap for each lane, from which a claim takes what has been due longest."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence

from replay.backends.memory.execution import Execution
from replay.core import requests as r

Lane = tuple[str, str, str]
"""Queue, workflow and version."""

_Entry = tuple[float, int, str]
"""Due time, stamp, id. It is stale, and dropped at the top of its heap, unless the execution still has the stamp."""


class DueTimes:
    """When each execution is due.

    Args:
        executions: All executions by id, as the store keeps them.
    """

    def __init__(self, executions: Mapping[str, Execution]) -> None:
        self._executions = executions
        self._heaps: dict[Lane, list[_Entry]] = {}
        self._timers: list[_Entry] = []  # of executions with a priority
        self._stamps = itertools.count()

    def put(self, x: Execution, due: float | None, now: float) -> None:
        """Set the due time of *x*, None for never."""
        x.due_at = due
        x.stamp = next(self._stamps)  # never used again, not even for another execution of this id
        if due is not None:
            lane = (x.queue, x.workflow, x.version)
            heapq.heappush(self._heaps.setdefault(lane, []), (due, x.stamp, x.id))
            if x.priority > 0 and due > now - r.PRIORITY_STEP:
                heapq.heappush(self._timers, (due, x.stamp, x.id))

    def move_ahead(self, now: float) -> None:
        """Put executions whose instant has come where their priority belongs."""
        while self._timers and self._timers[0][0] <= now:
            due, stamp, id = heapq.heappop(self._timers)
            x = self._executions.get(id)
            if x is not None and x.stamp == stamp:
                self.put(x, due - x.priority * r.PRIORITY_STEP, now)

    def take(self, lanes: Sequence[Lane], now: float) -> Execution | None:
        """Return the execution of *lanes* that has been due longest; None if none is due. The caller puts it again."""
        firsts = [(first, lane) for lane in lanes if (first := self._first(lane)) is not None and first[0] <= now]
        if not firsts:
            return None
        (_, _, id), lane = min(firsts)
        heapq.heappop(self._heaps[lane])
        return self._executions[id]

    def next_of_each(self, lanes: Sequence[Lane]) -> list[float]:
        """Return the earliest due time of each of *lanes* that has one."""
        return [first[0] for first in map(self._first, lanes) if first is not None]

    def _first(self, lane: Lane) -> _Entry | None:
        heap = self._heaps.get(lane)
        while heap:
            x = self._executions.get(heap[0][2])
            if x is not None and x.stamp == heap[0][1]:
                return heap[0]
            heapq.heappop(heap)
        return None
