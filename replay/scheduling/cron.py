"""Recurrence rules of schedules: `Cron` and `Every`, pure calculations on instants (seconds since the epoch, UTC).

croniter reads the expression and walks the *wall clock* (naive local times); the change to and from daylight saving
time is decided here. croniter's own walk over aware times loses ticks where the shift is not a whole hour
(Australia/Lord_Howe) and invents some for `*/2` hours in the spring gap. Nothing here reads a clock.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Protocol
from zoneinfo import ZoneInfo

import attrs

from replay.core.errors import ScheduleError

if TYPE_CHECKING:
    from croniter import croniter

Fold = Literal["first", "both"]

_EPOCH = datetime(1970, 1, 1)
"""Naive on purpose: the zero of every wall clock."""
_STEP = 6 * 3600
"""Seconds between two samples of a zone's offset: no zone since 1970 changes it twice within six hours."""
_SHORTEST = 0.001
"""Seconds. Below a millisecond the grid `anchor + n * seconds` is no longer exact in a float of today's size."""

_FIELDS = (
    ("minute", "`30` or `*/15`"),
    ("hour", "`9` or `8-18`"),
    ("day-of-month", "`1`, `1,15` or `L` (the last)"),
    ("month", "`6` or `jan-mar`"),
    ("day-of-week", "`mon-fri`, `0` (Sunday), `mon#2` (the second) or `L5` (the last Friday)"),
    ("second", "`0` or `*/10`; it is the sixth and last field"),
)
_SIZES = (60, 24, 31, 12, 7, 60)
"""Values that each field can have."""
_MACROS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _single_spaced(text: str) -> str:
    return " ".join(text.split()) if isinstance(text, str) else text


class Recurrence(Protocol):
    """A rule that names instants, in order."""

    def next_after(self, instant: float) -> float | None:
        """Return the first tick strictly after `instant`, `None` if there is none."""
        ...

    def count(self, after: float, upto: float, cap: int) -> int:
        """Return the number of ticks in `(after, upto]`. Counting may stop at `cap`."""
        ...


@attrs.frozen
class Every:
    """Ticks on a grid: `anchor`, `anchor + seconds`, `anchor + 2 * seconds`, ... whatever happens in between.

    Attributes:
        seconds: The interval (a `timedelta` is converted).
        anchor: The first tick, an instant.

    Raises:
        ScheduleError: The interval is not a finite number of at least a millisecond, or the anchor is not finite.
    """

    seconds: float = attrs.field(converter=_seconds)
    anchor: float = 0.0

    def __attrs_post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds >= _SHORTEST):
            raise ScheduleError(
                f"interval {self.seconds!r}: expected seconds, finite and at least {_SHORTEST}. "
                "Fix: give e.g. 60 or timedelta(minutes=1)."
            )
        if not math.isfinite(self.anchor):
            raise ScheduleError(
                f"anchor {self.anchor!r}: expected a finite instant. Fix: seconds since the epoch, UTC."
            )

    def next_after(self, instant: float) -> float:
        """Return the first tick strictly after `instant`. The cost does not grow with the distance."""
        return self.anchor + self._index_after(instant) * self.seconds

    def fires(self, after: float, count: int = 5) -> list[float]:
        """Return the next `count` ticks after the instant `after`."""
        first = self._index_after(after)
        return [self.anchor + index * self.seconds for index in range(first, first + count)]

    def count(self, after: float, upto: float, cap: int) -> int:
        """Return the exact number of ticks in `(after, upto]`."""
        return max(0, self._index_after(upto) - self._index_after(after))

    def _index_after(self, instant: float) -> int:
        index = max(0, math.floor((instant - self.anchor) / self.seconds) + 1)
        # The quotient is rounded; the ticks are what counts.
        while index > 0 and self.anchor + (index - 1) * self.seconds > instant:
            index -= 1
        while self.anchor + index * self.seconds <= instant:
            index += 1
        return index


@attrs.frozen
class Cron:
    """Ticks named by a cron expression, read on the wall clock of a time zone.

    Five fields (minute, hour, day-of-month, month, day-of-week), or six with the **second last**; names, ranges, steps,
    lists, `L`, `mon#2`, `L5`, and `@hourly @daily @weekly @monthly @yearly`. When both day fields are restricted, either
    may match; when one of them begins with `*`, both must (as cron does).

    When clocks change, ticks follow Debian's cron. An expression whose minute and hour both begin with something else than
    `*` is a *fixed time*: in the spring gap it fires at the gap's end, in the repeated autumn hour it fires once
    (`fold="first"`) or in both passes (`fold="both"`). Any other expression follows elapsed time: `*/30 * * * *` fires
    in both passes, and hours that the clock skips have no ticks.

    Attributes:
        expression: The expression, blanks normalised.
        timezone: An IANA zone name.
        fold: Passes of a repeated hour in which a fixed time fires.

    Raises:
        ScheduleError: The expression, the zone or `fold` is invalid, or the date never comes (`0 0 31 2 *`).
    """

    expression: str = attrs.field(converter=_single_spaced)
    timezone: str = "UTC"
    fold: Fold = "first"

    def __attrs_post_init__(self) -> None:
        if self.fold not in ("first", "both"):
            raise ScheduleError(f'fold {self.fold!r}: expected "first" or "both". Fix: leave it out.')
        check_zone(self.timezone)
        _check_expression(self.expression)

    def next_after(self, instant: float) -> float | None:
        """Return the first tick strictly after `instant`, `None` if there is none within fifty years."""
        second = math.floor(instant)  # ticks are whole seconds, so nothing lies in between
        zone = ZoneInfo(self.timezone)
        ticks = [_fixed(self.expression, zone, second)] if self._is_fixed_time else []
        if not ticks or self.fold == "both":
            ticks.append(_elapsed(self.expression, zone, second))
        return min((float(tick) for tick in ticks if tick is not None), default=None)

    def fires(self, after: float, count: int = 5) -> list[float]:
        """Return the next `count` ticks after the instant `after` (fewer if there are no more)."""
        return [tick for _, tick in zip(range(count), self._ticks(after), strict=False)]

    def count(self, after: float, upto: float, cap: int) -> int:
        """Return the number of ticks in `(after, upto]`, at most `cap`."""
        number = 0
        for tick in self._ticks(after):
            if tick > upto or number == cap:
                break
            number += 1
        return number

    def _ticks(self, after: float) -> Iterator[float]:
        tick = self.next_after(after)
        while tick is not None:
            yield tick
            tick = self.next_after(tick)

    @property
    def _is_fixed_time(self) -> bool:
        if self.expression.startswith("@"):
            return self.expression.lower() != "@hourly"
        minute, hour = self.expression.split()[:2]
        return not minute.startswith("*") and not hour.startswith("*")


# --- from wall clock to instants ------------------------------------------------------------------------------


def _offset(zone: ZoneInfo, instant: int) -> int:
    """Return the zone's offset from UTC in seconds."""
    shift = datetime.fromtimestamp(instant, zone).utcoffset()
    assert shift is not None
    return round(shift.total_seconds())


def _change(zone: ZoneInfo, start: int, end: int) -> int | None:
    """Return the first instant in `(start, end]` with another offset of the zone."""
    before = _offset(zone, start)
    low = start
    while low < end:
        high = min(low + _STEP, end)
        if _offset(zone, high) != before:
            while high - low > 1:
                middle = (low + high) // 2
                if _offset(zone, middle) == before:
                    low = middle
                else:
                    high = middle
            return high
        low = high
    return None


def _elapsed(expression: str, zone: ZoneInfo, instant: int) -> int | None:
    """Return the next instant at which the wall clock shows a matching time, in either pass of a repeated hour."""
    start, offset = instant, _offset(zone, instant)
    wall = start + offset
    while (found := _next_wall(expression, wall)) is not None:
        change = _change(zone, start, found - offset)
        if change is None:
            return found - offset
        # The offset changes before that instant: search again from the wall time after the change (inclusive).
        start, offset = change, _offset(zone, change)
        wall = start + offset - 1
    return None


def _fixed(expression: str, zone: ZoneInfo, instant: int) -> int | None:
    """Return the next first occurrence of a matching wall-clock time. A skipped time occurs at the gap's end."""
    wall = instant + _offset(zone, instant)
    while (found := _next_wall(expression, wall)) is not None:
        wall, tick = found, _first_occurrence(zone, found)
        if tick > instant:  # otherwise the instant is in the second pass, and this occurrence was in the first
            return tick
    return None


def _first_occurrence(zone: ZoneInfo, wall: int) -> int:
    shown = (_EPOCH + timedelta(seconds=wall)).replace(tzinfo=zone)
    early, late = sorted(round(shown.replace(fold=fold).timestamp()) for fold in (0, 1))
    if early == late or early + _offset(zone, early) == wall:
        return early
    change = _change(zone, early, late)
    return late if change is None else change


def _next_wall(expression: str, wall: int) -> int | None:
    """Return the first matching reading of the wall clock after `wall` (both as if the wall clock showed UTC)."""
    from croniter import CroniterBadDateError

    walk = copy(_parsed(expression))  # the parsed fields are shared and never changed, the position is the copy's own
    try:
        found: datetime = walk.get_next(datetime, start_time=_EPOCH + timedelta(seconds=wall))
    except (CroniterBadDateError, OverflowError):
        return None
    return round(found.replace(tzinfo=UTC).timestamp())


@lru_cache(maxsize=1024)
def _parsed(expression: str) -> croniter:
    from croniter import croniter

    return croniter(expression, _EPOCH, implement_cron_bug=True)


# --- refusals ---------------------------------------------------------------------------


def check_zone(name: str) -> None:
    """Refuse an unknown time zone. Raises `ScheduleError`."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError, AttributeError):
        raise ScheduleError(
            f"time zone {name!r}: no such zone in the IANA database. "
            'Fix: give a name such as "Europe/Berlin" or "UTC" (not "CEST" or "+02:00").'
        ) from None


def _check_expression(expression: str) -> None:
    from croniter import croniter

    if not isinstance(expression, str):
        raise ScheduleError(f"cron expression {expression!r}: expected text. Fix: give e.g. '0 9 * * mon-fri'.")
    if expression.startswith("@"):
        if expression.lower() not in _MACROS:
            raise ScheduleError(f"cron expression {expression!r}: unknown macro. Fix: one of {', '.join(_MACROS)}.")
        return
    fields = expression.split()
    if len(fields) not in (5, 6):
        raise ScheduleError(
            f"cron expression {expression!r}: expected 5 fields (minute hour day-of-month month day-of-week) "
            f"or 6 (with the second last), found {len(fields)}. Fix: e.g. '0 9 * * mon-fri'."
        )
    for position, ((name, example), field) in enumerate(zip(_FIELDS, fields, strict=False)):
        problem = _field_problem(position, field, len(fields))
        if problem:
            raise ScheduleError(
                f"cron expression {expression!r}: {name} field {field!r} {problem}. Fix: e.g. {example}."
            )
    _check_days(expression, fields[2].lower(), fields[4].lower())
    if not croniter.is_valid(expression, strict=True) or _next_wall(expression, 0) is None:
        raise ScheduleError(
            f"cron expression {expression!r}: no such date ever comes (day-of-month {fields[2]!r}, month {fields[3]!r}, "
            f"day-of-week {fields[4]!r}). Fix: e.g. '0 0 L 2 *' for the last day of February."
        )


def _check_days(expression: str, of_month: str, of_week: str) -> None:
    """Refuse a counted day beside another day field: crons disagree whether either or both must match."""
    counted = "#" in of_week or re.search(r"l\d|\bl[a-z]", of_week) or "w" in of_month
    if counted and of_month[0] not in "*?" and of_week[0] not in "*?":
        raise ScheduleError(
            f"cron expression {expression!r}: day-of-month {of_month!r} and day-of-week {of_week!r} cannot be combined "
            "(`#`, `L5` and `W` count days of the month themselves). Fix: put * in one of them, or make two schedules."
        )


def _field_problem(position: int, field: str, fields: int) -> str | None:
    from croniter import croniter

    if set(re.sub("[a-z]{3}", "", field.lower())) & {"h", "r"}:  # names of months and days have three letters
        return "is random (H, R), so that workers would disagree; use the schedule's jitter for spreading"
    alone = ["*"] * fields
    alone[position] = field
    if not croniter.is_valid(" ".join(alone)):
        return "is not valid"
    most = _SIZES[position]
    steps = [int(step) for step in re.findall(r"/(\d+)", field)]
    return (
        f"has a step beyond its {most} values, and would match one of them alone"
        if max(steps, default=0) > most
        else None
    )
