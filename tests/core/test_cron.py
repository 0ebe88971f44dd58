"""Recurrences against an independent oracle (cronsim) and, where the oracle errs, against a walk minute by minute."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.core.errors import ScheduleError
from replay.scheduling.cron import Cron, Every
from tests.budgets import examples

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(3600)]

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Europe/London",
    "Australia/Sydney",
    "America/St_Johns",
    "Asia/Tehran",
    "UTC",
]
YEARS = (2011, 2018, 2025)  # Apia skips a whole day in 2011; Sao Paulo and Tehran still change in 2018
DAY = 86400

properties = settings(max_examples=examples(60))


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def shown(ticks: list[float], zone: str) -> list[str]:
    return [datetime.fromtimestamp(tick, ZoneInfo(zone)).isoformat() for tick in ticks]


def between(recurrence: Cron, start: float, end: float) -> list[float]:
    ticks: list[float] = []
    tick = recurrence.next_after(start)
    while tick is not None and tick <= end:
        ticks.append(tick)
        tick = recurrence.next_after(tick)
    return ticks


# --- oracles ---------------------------------------------------------------------------------------------------


def cronsim_between(expression: str, zone: str, start: float, end: float) -> list[float]:
    ticks: list[float] = []
    for tick in CronSim(expression, datetime.fromtimestamp(start, ZoneInfo(zone))):
        instant = tick.timestamp()
        if instant > end:
            break
        if not ticks or ticks[-1] != instant:  # cronsim repeats a gap's end once for each time in the gap
            ticks.append(instant)
    return ticks


def minutes_between(expression: str, zone: str, start: float, end: float) -> list[float]:
    """Walk elapsed minutes and keep those whose wall clock matches: obviously right, too slow for a year."""
    fields, place = CronSim(expression, datetime(2020, 1, 1)), ZoneInfo(zone)
    ticks: list[float] = []
    for minute in range(math.floor(start / 60) + 1, math.floor(end / 60) + 1):
        wall = datetime.fromtimestamp(minute * 60, place)
        fits = wall.minute in fields.minutes and wall.hour in fields.hours and wall.month in fields.months
        if fits and fields.match_day(wall.date()):
            ticks.append(float(minute * 60))
    return ticks


def is_fixed_time(expression: str) -> bool:
    minute, hour = expression.split()[:2]
    return not minute.startswith("*") and not hour.startswith("*")


@cache
def changes(zone: str, year: int) -> tuple[float, ...]:
    """The instants of a year at which the zone's clock is changed."""
    place, hours = ZoneInfo(zone), range(round(at(f"{year}-01-02")), round(at(f"{year + 1}-01-03")), 900)
    offsets = [(hour, datetime.fromtimestamp(hour, place).utcoffset()) for hour in hours]
    return tuple(
        float(next(t for t in range(a, b + 1, 60) if datetime.fromtimestamp(t, place).utcoffset() == after))
        for (a, before), (b, after) in pairwise(offsets)
        if before != after
    )


def cronsim_errs(expression: str, zone: str, change: float) -> bool:
    """Where cronsim's walk of elapsed time is known to be wrong: it moves by whole hours and to local midnights.

    So it may err about a change that is not a whole number of hours, or does not happen on the hour, or at midnight.
    """
    if is_fixed_time(expression):
        return False
    before, after = (datetime.fromtimestamp(change + d, ZoneInfo(zone)) for d in (-1, 0))
    shift = after.utcoffset() - before.utcoffset()  # type: ignore[operator]
    return shift % timedelta(hours=1) != timedelta(0) or before.hour == 23 or before.minute != 59


MINUTES = ("0", "30", "15,45", "*/30", "*/7", "*", "0-10", "59", "5/20", "*/59", "1")
HOURS = ("*", "2", "0", "1,2,3", "*/2", "*/3", "0-4", "23", "2-3", "3", "1-23/2", "22/1")
DAYS_OF_MONTH = ("*", "*", "*", "1", "1,15", "*/2", "L", "28-31", "15-20")
MONTHS = ("*", "*", "*", "3-4", "mar,apr,sep,oct,nov", "*/2")
DAYS_OF_WEEK = ("*", "*", "*", "sun", "0", "7", "mon-fri", "sat,sun", "5-7", "*/2")
expressions = st.tuples(*map(st.sampled_from, (MINUTES, HOURS, DAYS_OF_MONTH, MONTHS, DAYS_OF_WEEK))).map(" ".join)


# --- the properties -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ZONES)
def test_ticks_around_every_clock_change_equal_the_oracles(zone: str) -> None:
    @settings(properties)
    @given(expressions, st.sampled_from(YEARS))
    def check(expression: str, year: int) -> None:
        for change in changes(zone, year) or (at(f"{year}-03-30"),):
            start, end = change - 1.5 * DAY, change + 1.5 * DAY
            ticks = between(Cron(expression, zone), start, end)
            assert all(a < b for a, b in pairwise(ticks))
            if not cronsim_errs(expression, zone, change):
                assert shown(ticks, zone) == shown(cronsim_between(expression, zone, start, end), zone)
            if not is_fixed_time(expression):
                assert shown(ticks, zone) == shown(minutes_between(expression, zone, start, end), zone)

    check()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", ["30 2 * * *", "0 0 1 * *", "15,45 1-3 * * sun", "0 12 * * mon#2", "0 3 L * *"])
def test_fixed_times_equal_cronsim_for_whole_years(zone: str, expression: str) -> None:
    for year in YEARS:
        start, end = at(f"{year}-01-01"), at(f"{year + 1}-01-02")
        expected = cronsim_between(expression, zone, start, end)
        assert shown(between(Cron(expression, zone), start, end), zone) == shown(expected, zone)


@properties
@given(expressions, st.sampled_from(ZONES), st.sampled_from(YEARS), st.sampled_from(["first", "both"]), st.data())
def test_the_next_tick_does_not_depend_on_where_one_starts(expression, zone, year, fold, data) -> None:
    cron = Cron(expression, zone, fold)
    for change in changes(zone, year)[:2]:
        start, end = change - 0.5 * DAY, change + 0.5 * DAY
        ticks = between(cron, start, end)
        for instant in data.draw(st.lists(st.floats(start, end), max_size=20)) + [t - 1e-4 for t in ticks[:50]]:
            expected = next((tick for tick in ticks if tick > instant), None)
            found = cron.next_after(instant)
            assert found is not None
            assert found > instant
            assert found == expected if expected is not None else found > end


@properties
@given(expressions.filter(is_fixed_time), st.sampled_from(ZONES), st.sampled_from(YEARS))
def test_fold_both_adds_exactly_the_second_pass(expression: str, zone: str, year: int) -> None:
    for change in changes(zone, year):
        start, end = change - 1.5 * DAY, change + 1.5 * DAY
        once = set(between(Cron(expression, zone), start, end))
        every = set(minutes_between(expression, zone, start, end))
        assert set(between(Cron(expression, zone, "both"), start, end)) == once | every
        assert all(datetime.fromtimestamp(tick, ZoneInfo(zone)).fold == 1 for tick in every - once)


@properties
@given(
    st.sampled_from(["*", "*/20", "0", "7,59"]),
    expressions.filter(lambda e: not is_fixed_time(e)),
    st.sampled_from(ZONES),
)
def test_six_fields_put_the_second_last_and_follow_elapsed_time(second: str, expression: str, zone: str) -> None:
    start = at("2024-03-31T00:10:00")
    cron = Cron(f"{expression} {second}", zone)
    ticks = [cron.next_after(start)]
    for _ in range(50):
        ticks.append(cron.next_after(ticks[-1]))
    oracle = CronSim(f"{second} {expression}", datetime.fromtimestamp(start, ZoneInfo(zone)))
    if (
        zone != "Africa/Casablanca" and zone != "Australia/Lord_Howe"
    ):  # their changes fall into the walk; see cronsim_errs
        assert ticks == [next(oracle).timestamp() for _ in ticks]


# --- daylight saving time, pinned ---------------------------------------------------------------------------


def test_a_fixed_hour_in_the_repeated_autumn_hour_fires_once() -> None:
    ticks = Cron("30 2 * * *", "Europe/Berlin").fires(at("2025-10-25T12:00", "Europe/Berlin"), 2)
    assert shown(ticks, "Europe/Berlin") == ["2025-10-26T02:30:00+02:00", "2025-10-27T02:30:00+01:00"]


def test_a_fixed_hour_fires_in_both_passes_when_asked_to() -> None:
    ticks = Cron("30 2 * * *", "Europe/Berlin", fold="both").fires(at("2025-10-25T12:00", "Europe/Berlin"), 2)
    assert shown(ticks, "Europe/Berlin") == ["2025-10-26T02:30:00+02:00", "2025-10-26T02:30:00+01:00"]


def test_every_half_hour_fires_in_both_passes_of_the_repeated_hour() -> None:
    ticks = Cron("*/30 * * * *", "Europe/Berlin").fires(at("2025-10-26T01:45", "Europe/Berlin"), 5)
    assert [b - a for a, b in pairwise(ticks)] == [1800.0] * 4


def test_a_time_in_the_spring_gap_fires_at_its_end() -> None:
    ticks = Cron("30 2 * * *", "Europe/Berlin").fires(at("2025-03-29T12:00", "Europe/Berlin"), 2)
    assert shown(ticks, "Europe/Berlin") == ["2025-03-30T03:00:00+02:00", "2025-03-31T02:30:00+02:00"]


def test_several_times_in_one_gap_fire_once_together() -> None:
    ticks = Cron("0,15,30 2,3 * * *", "Europe/Berlin").fires(at("2025-03-30T01:00", "Europe/Berlin"), 3)
    assert shown(ticks, "Europe/Berlin")[:2] == ["2025-03-30T03:00:00+02:00", "2025-03-30T03:15:00+02:00"]


def test_a_wildcard_hour_has_no_tick_in_the_gap() -> None:
    ticks = Cron("0 */2 * * *", "Europe/Berlin").fires(at("2025-03-30T00:30", "Europe/Berlin"), 1)
    assert shown(ticks, "Europe/Berlin") == ["2025-03-30T04:00:00+02:00"]


def test_a_skipped_calendar_day_fires_at_the_start_of_the_next_one() -> None:
    ticks = Cron("0 12 * * *", "Pacific/Apia").fires(at("2011-12-29T13:00", "Pacific/Apia"), 2)
    assert shown(ticks, "Pacific/Apia") == ["2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]


def test_a_half_hour_shift_loses_no_tick_where_cronsim_does() -> None:
    zone, start, end = "Australia/Lord_Howe", at("2025-04-05T14:00"), at("2025-04-05T16:00")
    assert shown(between(Cron("30 * * * *", zone), start, end), zone) == [
        "2025-04-06T01:30:00+11:00",
        "2025-04-06T01:30:00+10:30",
        "2025-04-06T02:30:00+10:30",
    ]
    assert len(cronsim_between("30 * * * *", zone, start, end)) == 2


def test_six_field_fixed_times_fire_once_where_cronsim_fires_in_both_passes() -> None:
    zone, start, end = "Europe/Berlin", at("2025-10-25T12:00"), at("2025-10-26T12:00")
    assert shown(between(Cron("30 2 * * * 0", zone), start, end), zone) == ["2025-10-26T02:30:00+02:00"]
    assert len(cronsim_between("0 30 2 * * *", zone, start, end)) == 2


def test_a_day_of_week_step_from_a_start_ends_on_saturday_where_cronsim_reaches_sunday() -> None:
    week = at("2025-06-01"), at("2025-06-08T23:00")  # Sunday to Sunday
    assert len(between(Cron("0 12 * * 1/2"), *week)) == 3
    assert len(cronsim_between("0 12 * * 1/2", "UTC", *week)) == 5


# --- the language -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "first", "second"),
    [
        ("@hourly", "2025-06-15T13:00", "2025-06-15T14:00"),
        ("@daily", "2025-06-16T00:00", "2025-06-17T00:00"),
        ("@weekly", "2025-06-22T00:00", "2025-06-29T00:00"),
        ("@monthly", "2025-07-01T00:00", "2025-08-01T00:00"),
        ("@yearly", "2026-01-01T00:00", "2027-01-01T00:00"),
        ("0 9 * * mon-fri", "2025-06-16T09:00", "2025-06-17T09:00"),
        ("0 0 L * *", "2025-06-30T00:00", "2025-07-31T00:00"),
        ("0 0 * * L5", "2025-06-27T00:00", "2025-07-25T00:00"),
        ("0 0 * * mon#2", "2025-07-14T00:00", "2025-08-11T00:00"),
        ("0 0 29 feb *", "2028-02-29T00:00", "2032-02-29T00:00"),
        ("  0   0 1 jan  *  ", "2026-01-01T00:00", "2027-01-01T00:00"),
        ("0 0 13 * fri", "2025-06-20T00:00", "2025-06-27T00:00"),
        ("0 0 */2 * mon", "2025-06-23T00:00", "2025-07-07T00:00"),
        ("20,40 * * * * 0-1", "2025-06-15T12:20:00", "2025-06-15T12:20:01"),
    ],
)
def test_the_language_reads_as_documented(expression: str, first: str, second: str) -> None:
    assert Cron(expression).fires(at("2025-06-15T12:00:30"), 2) == [at(first), at(second)]


@pytest.mark.parametrize(
    ("expression", "culprit"),
    [
        ("61 * * * *", "minute field '61'"),
        ("* 25 * * *", "hour field '25'"),
        ("0 0 32 * *", "day-of-month field '32'"),
        ("* * * foo *", "month field 'foo'"),
        ("* * * * mon#9", "day-of-week field 'mon#9'"),
        ("* * * * * 99", "second field '99'"),
        ("*/0 * * * *", "minute field '*/0'"),
        ("*/70 * * * *", "minute field '*/70' has a step beyond its 60 values"),
        ("0 8-18/30 * * *", "hour field '8-18/30' has a step beyond its 24 values"),
        ("H * * * *", "workers would disagree"),
        ("0 0 * * R", "workers would disagree"),
        ("* * * *", "found 4"),
        ("0 0 * * * * 2030", "found 7"),
        ("", "found 0"),
        ("@reboot", "unknown macro"),
        ("0 0 31 2 *", "no such date ever comes"),
        ("0 0 30 feb mon", "no such date ever comes"),
        ("0 0 1 * mon#2", "cannot be combined"),
        ("0 0 15W * fri", "cannot be combined"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name_and_with_a_remedy(expression: str, culprit: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Cron(expression)
    assert culprit in str(caught.value)
    assert "Fix:" in str(caught.value)


@pytest.mark.parametrize("zone", ["CEST", "Europe", "", "../UTC", "/etc/localtime", "Mars/Phobos", None])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ScheduleError, match="time zone"):
        Cron("@daily", zone)


def test_an_unknown_fold_and_an_expression_that_is_not_text_are_refused() -> None:
    with pytest.raises(ScheduleError, match="fold"):
        Cron("@daily", fold="second")  # type: ignore[arg-type]
    with pytest.raises(ScheduleError, match="expected text"):
        Cron(5)  # type: ignore[arg-type]


def test_recurrences_are_values() -> None:
    assert Cron("0 0  * * *") == Cron("0 0 * * *")
    assert hash(Every(timedelta(minutes=1))) == hash(Every(60.0))


def test_an_instant_with_a_fraction_is_followed_by_the_very_next_second() -> None:
    midnight = at("2025-06-16")
    assert Cron("@daily").next_after(midnight - 1e-6) == midnight
    assert Cron("@daily").next_after(midnight) == midnight + DAY
    assert Cron("@daily").next_after(midnight + 1e-6) == midnight + DAY


def test_importing_recurrences_does_not_import_croniter() -> None:
    program = "import sys, replay.scheduling.cron, replay.scheduling.catchup; sys.exit('croniter' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- intervals --------------------------------------------------------------------------------------------


@given(
    st.floats(0.001, 1e8),
    st.floats(0, 4e9),
    st.floats(-1e9, 8e9),
)
def test_an_interval_stays_on_its_grid(seconds: float, anchor: float, instant: float) -> None:
    every = Every(seconds, anchor)
    tick = every.next_after(instant)
    index = round((tick - anchor) / seconds)
    assert tick > instant
    assert tick == anchor + index * seconds
    assert index == 0 or anchor + (index - 1) * seconds <= instant


@given(st.floats(0.5, 1e6), st.floats(0, 4e9), st.floats(0, 4e9), st.integers(0, 30))
def test_an_intervals_ticks_do_not_drift(seconds: float, anchor: float, instant: float, steps: int) -> None:
    every, tick = Every(seconds, anchor), instant
    for _ in range(steps):
        tick = every.next_after(tick)
    assert every.fires(instant, steps)[-1:] == ([tick] if steps else [])
    assert every.count(instant, tick, 0) == steps


def test_an_interval_begins_with_its_anchor() -> None:
    assert Every(60, anchor=1000).next_after(-5.0) == 1000.0
    assert Every(60, anchor=1000).fires(1000, 2) == [1060.0, 1120.0]


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 1e-9])
def test_an_interval_that_is_no_interval_is_refused(seconds: float) -> None:
    with pytest.raises(ScheduleError, match="Fix:"):
        Every(seconds)


def test_an_anchor_that_is_no_instant_is_refused() -> None:
    with pytest.raises(ScheduleError, match="anchor"):
        Every(60, anchor=math.nan)
