"""Times as users give them: lengths in seconds or as `timedelta`, instants in seconds since the epoch or as aware `datetime`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # the core reads no clock; a length of time is a value like others
    from datetime import datetime, timedelta

Seconds: TypeAlias = "float | timedelta"
"""A length of time: seconds, or a `timedelta`."""

Instant: TypeAlias = "float | datetime"
"""A point in time: seconds since the epoch, or an aware `datetime`."""

LONGEST = 1000 * 366 * 86400.0
"""Longest duration, seconds: 1,000 years, so that each due time can be shown as a date."""

_FIRST, _END = -62_135_596_800.0, 253_402_300_800.0
"""Range of a `datetime`, seconds since the epoch: nothing outside could be shown."""


def duration(value: Any, what: str) -> float:
    """Return a duration (seconds or `timedelta`) as seconds, or refuse it.

    Raises:
        TypeError: It is neither a number nor a `timedelta`.
        ValueError: It is negative, NaN or too large to be a date.
    """
    seconds = value.total_seconds() if hasattr(value, "total_seconds") else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{what} takes seconds or a timedelta, not {value!r}")
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"{what} takes 0 to {LONGEST:.0f} seconds (1,000 years), not {value!r}")
    return float(seconds)


def time_limit(value: Any, what: str) -> float:
    """Return a timeout (seconds or `timedelta`) as seconds.

    Raises:
        TypeError: It is neither a number nor a `timedelta`.
        ValueError: It is no duration, or zero: nothing could ever be in time.
    """
    seconds = duration(value, what)
    if not seconds:
        raise ValueError(f"{what} takes more than 0 seconds, not {value!r}. Fix: leave it out for no limit")
    return seconds


def instant(value: Any, what: str) -> float:
    """Return an instant (seconds since the epoch, or an aware `datetime`) as seconds since the epoch, UTC.

    Raises:
        TypeError: It is neither, or a `datetime` without a zone.
        ValueError: It is not finite, or not of the years 1 to 9999.
    """
    if hasattr(value, "timestamp"):
        if value.tzinfo is None:
            raise TypeError(f"{what} takes an aware datetime; {value!r} has no time zone. Fix: add tzinfo=timezone.utc")
        value = value.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} takes an aware datetime or seconds since the epoch, not {value!r}")
    if not _FIRST <= value < _END:
        raise ValueError(
            f"{what}: {value!r} are no seconds since the epoch of the years 1 to 9999. Fix: divide milliseconds by 1000"
        )
    return float(value)
