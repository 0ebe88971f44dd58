"""The decision about a schedule's ticks: the missed ones to fire, the due ones, and the next one. Pure."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from typing import Literal

import attrs

from replay.core.errors import ScheduleError
from replay.scheduling.cron import Recurrence

CatchUp = Literal["skip", "one", "all"]

GRACE = 60.0
"""Seconds. A tick this late is not missed: a worker's restart at midnight must not cost the daily run."""
_COUNTED = 1000
"""Most skipped ticks that are counted one by one. Beyond, the count is a lower bound: counting must not keep a worker."""
_FIRST_SPAN = 60.0
"""Seconds. First span of the search for the newest ticks, doubled until there are enough."""


@attrs.frozen
class TickDecision:
    """The decision about a schedule's ticks up to now.

    Every tick is decided exactly once if each decision begins at the last one's `decided`.

    Attributes:
        fire: The *planned* instants to fire now, oldest first. They identify the ticks; jitter does not change them.
        skipped: Number of skipped ticks.
        next_at: Instant of the next decision (the next tick with its jitter); `None` when the schedule has ended.
        next_planned: The planned instant of that tick.
        decided: All ticks up to this instant are decided: the next decision's `last_planned`.
        skipped_exactly: False when `skipped` is only a lower bound (more than a thousand).
    """

    fire: tuple[float, ...]
    skipped: int
    next_at: float | None
    next_planned: float | None
    decided: float
    skipped_exactly: bool = True


def decide_ticks(
    recurrence: Recurrence,
    last_planned: float,
    now: float,
    *,
    catch_up: CatchUp,
    window: float,
    limit: int = 100,
    until: float | None = None,
    jitter: float = 0.0,
    schedule_id: str = "",
    grace: float = GRACE,
) -> TickDecision:
    """Decide about the ticks in `(last_planned, now]`. No tick fires early.

    Args:
        recurrence: The rule.
        last_planned: The last decided tick (or the schedule's creation), an instant.
        now: The store's time, an instant.
        catch_up: `skip` fires the newest due tick if it is at most `grace` old; `one` fires it if it is at most `window`
            old; `all` fires every due tick at most `window` old, the newest `limit` of them.
        window: Seconds. Greatest age of a missed tick that is fired (at least `grace`).
        limit: Most ticks that `all` fires at once.
        until: Last instant of the schedule.
        jitter: Seconds by which ticks are spread, at most to the next tick, so that their order stays.
        schedule_id: The schedule's id: each schedule spreads differently, and alike on every worker.
        grace: Seconds. See `catch_up`.

    Raises:
        ScheduleError: An argument is out of its range.
    """
    _check(catch_up, window, limit, jitter, grace)
    spread = _Spread(recurrence, jitter, schedule_id)
    horizon = now if until is None else min(now, until)
    due = _newest(recurrence, last_planned, horizon, limit + 1)
    if due and spread.at(due[-1]) > now:
        due.pop()  # planned before now, and delayed by its jitter
    if not due:
        return _ahead(recurrence, spread, until, last_planned, fire=(), skipped=0)
    oldest = grace if catch_up == "skip" else max(window, grace)
    candidates = due[-limit:] if catch_up == "all" else due[-1:]
    fire = tuple(tick for tick in candidates if now - spread.at(tick) <= oldest)
    cap = limit + _COUNTED
    total = recurrence.count(last_planned, due[-1], cap)
    ahead = _ahead(recurrence, spread, until, due[-1], fire=fire, skipped=total - len(fire))
    walked_on = total == cap and recurrence.count(last_planned, due[-1], cap + 1) > cap
    return attrs.evolve(ahead, skipped_exactly=not walked_on)


def jitter_of(schedule_id: str, planned: float, jitter: float) -> float:
    """Return a tick's offset in `[0, jitter)` seconds: the same on every worker, for ever."""
    digest = hashlib.sha256(f"{schedule_id}\0{planned!r}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53 * jitter


@attrs.frozen
class _Spread:
    """Due times of planned ticks, with their jitter."""

    recurrence: Recurrence
    jitter: float
    schedule_id: str

    def at(self, planned: float) -> float:
        if not self.jitter:
            return planned
        after = self.recurrence.next_after(planned)
        room = self.jitter if after is None else min(self.jitter, after - planned)
        return planned + jitter_of(self.schedule_id, planned, room)


def _ahead(
    recurrence: Recurrence,
    spread: _Spread,
    until: float | None,
    decided: float,
    *,
    fire: tuple[float, ...],
    skipped: int,
) -> TickDecision:
    planned = recurrence.next_after(decided)
    if planned is None or (until is not None and planned > until):
        return TickDecision(fire, skipped, None, None, decided)
    return TickDecision(fire, skipped, spread.at(planned), planned, decided)


def _newest(recurrence: Recurrence, after: float, upto: float, count: int) -> list[float]:
    """Return the newest `count` ticks in `(after, upto]`, oldest first, without walking all of a long absence."""
    ticks, ended = _walk(recurrence, after, upto, count)
    span = _FIRST_SPAN
    while not ended:
        start = max(after, upto - span)
        found: deque[float] = deque(maxlen=count)
        tick = recurrence.next_after(start)
        while tick is not None and tick <= upto:
            found.append(tick)
            tick = recurrence.next_after(tick)
        ticks = list(found)
        ended = len(ticks) == count or start == after
        span *= 2
    return ticks


def _walk(recurrence: Recurrence, after: float, upto: float, count: int) -> tuple[list[float], bool]:
    """Return the first `count` ticks, and whether there are no more."""
    ticks: list[float] = []
    tick = recurrence.next_after(after) if after < upto else None
    while tick is not None and tick <= upto:
        if len(ticks) == count:
            return ticks, False
        ticks.append(tick)
        tick = recurrence.next_after(tick)
    return ticks, True


def _check(catch_up: str, window: float, limit: int, jitter: float, grace: float) -> None:
    if catch_up not in ("skip", "one", "all"):
        raise ScheduleError(f'catch_up {catch_up!r}: expected "skip", "one" or "all". Fix: choose one of them.')
    for name, value in (("window", window), ("jitter", jitter), ("grace", grace)):
        if math.isnan(value) or value < 0:
            raise ScheduleError(f"{name} {value!r}: expected seconds, not negative. Fix: 0 turns it off.")
    if limit < 1:
        raise ScheduleError(
            f"limit {limit!r}: expected at least 1. Fix: catch_up='skip' fires nothing that was missed."
        )
