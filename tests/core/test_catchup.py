"""The laws of catching up: every tick is decided exactly once, none early, none lost outside the rule."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.core.errors import ScheduleError
from replay.scheduling.catchup import GRACE, TickDecision, decide_ticks, jitter_of
from replay.scheduling.cron import Cron, Every
from tests.budgets import examples

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(3600)]

START = 1_761_400_000.0  # 2025-10-25T13:46:40Z: clocks change in Europe that night
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

dense = st.sampled_from([Every(7.0, START), Every(2.5, START)])
sparse = st.sampled_from(
    [
        Every(HOUR, START - 5),
        Cron("*/5 * * * *", "Europe/Berlin"),
        Cron("30 2 * * *", "Europe/Berlin"),
        Cron("0 * * * *", "Australia/Lord_Howe"),
        Cron("0 12 * * sun", "UTC"),
    ]
)
recurrences = dense | sparse
gaps = st.one_of(st.floats(0, 30), st.floats(0, 2 * HOUR), st.floats(0, 2 * DAY))
short_gaps = st.one_of(st.floats(0, 30), st.floats(0, 2 * HOUR))
absences = st.tuples(dense, st.lists(short_gaps, min_size=1, max_size=8)) | st.tuples(
    sparse, st.lists(gaps, min_size=1, max_size=8)
)
"""A recurrence, and how long nobody came, in turn: the naive plan looks at each tick, so many ticks make short absences."""

rules = st.fixed_dictionaries(
    {
        "catch_up": st.sampled_from(["skip", "one", "all"]),
        "window": st.sampled_from([0.0, 300.0, DAY, math.inf]),
        "limit": st.integers(1, 20),
        "jitter": st.sampled_from([0.0, 0.0, 20.0, HOUR]),
        "until": st.sampled_from([None, None, START + HOUR, START + DAY]),
        "grace": st.sampled_from([0.0, 5.0, GRACE]),
    }
)


def ticks_in(recurrence, after: float, upto: float) -> list[float]:
    ticks, tick = [], recurrence.next_after(after)
    while tick is not None and tick <= upto:
        ticks.append(tick)
        tick = recurrence.next_after(tick)
    return ticks


def due_at(recurrence, planned: float, rule: dict) -> float:
    following = recurrence.next_after(planned)
    return planned + jitter_of("s", planned, min(rule["jitter"], following - planned))


def naive_plan(recurrence, last: float, now: float, rule: dict) -> tuple[list[float], int]:
    """The rule, said over the full list of ticks."""
    until = math.inf if rule["until"] is None else rule["until"]
    due = [t for t in ticks_in(recurrence, last, min(now, until)) if due_at(recurrence, t, rule) <= now]
    age = rule["grace"] if rule["catch_up"] == "skip" else max(rule["window"], rule["grace"])
    newest = due[-rule["limit"] :] if rule["catch_up"] == "all" else due[-1:]
    fire = [t for t in newest if now - due_at(recurrence, t, rule) <= age]
    return fire, len(due) - len(fire)


@settings(max_examples=examples(150))
@given(absences, rules)
def test_every_tick_is_decided_exactly_once_and_none_is_early(absence, rule) -> None:
    recurrence, pauses = absence
    last, now, fired, skipped = START, START, [], 0
    exact = True
    for pause in pauses:
        now += pause
        decision = decide_ticks(recurrence, last, now, schedule_id="s", **rule)
        if decision.skipped_exactly:
            assert (list(decision.fire), decision.skipped) == naive_plan(recurrence, last, now, rule)
        exact = exact and decision.skipped_exactly
        assert all(due_at(recurrence, tick, rule) <= now for tick in decision.fire)
        assert decision.decided >= last
        assert decision.next_at is None or decision.next_at > now or now < last
        fired += decision.fire
        skipped += decision.skipped
        last = decision.decided
    assert all(a < b for a, b in pairwise(fired))
    decided = ticks_in(recurrence, START, last)
    assert set(fired) <= set(decided)
    assert len(fired) + skipped == len(decided) or not exact


@given(recurrences, rules)
def test_one_who_comes_whenever_told_to_misses_nothing(recurrence, rule) -> None:
    last, now, fired = START, START, []
    for _ in range(30):
        decision = decide_ticks(recurrence, last, now, schedule_id="s", **rule)
        assert decision.skipped == 0
        fired += decision.fire
        last = decision.decided
        if decision.next_at is None:
            assert rule["until"] is not None
            break
        now = decision.next_at
    assert fired == ticks_in(recurrence, START, last)


@given(recurrences, rules, gaps)
def test_planning_again_at_the_same_time_changes_nothing(recurrence, rule, pause) -> None:
    once = decide_ticks(recurrence, START, START + pause, schedule_id="s", **rule)
    again = decide_ticks(recurrence, once.decided, START + pause, schedule_id="s", **rule)
    assert (again.fire, again.skipped) == ((), 0)
    assert (again.next_at, again.decided) == (once.next_at, once.decided)


def test_skip_gives_up_what_was_missed_and_one_makes_up_for_it_once_and_all_fires_each() -> None:
    hourly, back = Every(HOUR, START), START + 3.5 * HOUR
    decisions = {rule: decide_ticks(hourly, START, back, catch_up=rule, window=DAY) for rule in ("skip", "one", "all")}  # type: ignore[arg-type]
    assert {rule: len(decision.fire) for rule, decision in decisions.items()} == {"skip": 0, "one": 1, "all": 3}
    assert {decision.decided for decision in decisions.values()} == {START + 3 * HOUR}
    assert {decision.next_at for decision in decisions.values()} == {START + 4 * HOUR}


def test_skip_still_fires_a_tick_that_is_merely_late() -> None:
    assert decide_ticks(Every(DAY, START), START, START + DAY + 59, catch_up="skip", window=0).fire == (START + DAY,)
    assert decide_ticks(Every(DAY, START), START, START + DAY + 61, catch_up="skip", window=0).fire == ()


def test_the_newest_ticks_fire_when_there_are_more_than_the_limit() -> None:
    decision = decide_ticks(Every(MINUTE, START), START, START + DAY, catch_up="all", window=DAY, limit=3)
    assert decision.fire == (START + DAY - 120, START + DAY - 60, START + DAY)
    assert decision.skipped == 1437


def test_a_year_of_missed_minutes_is_given_up_without_walking_them() -> None:
    decision = decide_ticks(Cron("* * * * *"), START, START + 365 * DAY, catch_up="all", window=math.inf, limit=2)
    assert len(decision.fire) == 2
    assert decision.skipped >= 1000
    assert not decision.skipped_exactly
    assert decision.next_at is not None
    assert decision.next_at - (START + 365 * DAY) <= MINUTE


def test_an_interval_counts_any_absence_exactly() -> None:
    decision = decide_ticks(Every(1.0, START), START, START + 10 * 365 * DAY, catch_up="one", window=60)
    assert decision == TickDecision(
        (START + 3650 * DAY,), 3650 * 86400 - 1, START + 3650 * DAY + 1, START + 3650 * DAY + 1, START + 3650 * DAY
    )


def test_a_schedule_ends_after_its_last_tick() -> None:
    decision = decide_ticks(Every(HOUR, START), START, START + HOUR, catch_up="all", window=DAY, until=START + HOUR)
    assert decision == TickDecision((START + HOUR,), 0, None, None, START + HOUR)


def test_a_clock_put_back_fires_nothing_twice() -> None:
    decision = decide_ticks(Every(HOUR, START), START + 5 * HOUR, START + HOUR, catch_up="all", window=DAY)
    assert decision == TickDecision((), 0, START + 6 * HOUR, START + 6 * HOUR, START + 5 * HOUR)


def test_jitter_is_the_same_on_every_worker_and_differs_between_schedules() -> None:
    offsets = [jitter_of(f"schedule-{n}", START, 60.0) for n in range(50)]
    assert offsets == [jitter_of(f"schedule-{n}", START, 60.0) for n in range(50)]
    assert jitter_of("nightly", 1_700_000_000.0, 60.0) == pytest.approx(PINNED)  # for ever, whatever the version
    assert all(0 <= offset < 60 for offset in offsets)
    assert len(set(offsets)) == 50


PINNED = 21.400236616228604


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"catch_up": "most"}, "catch_up"),
        ({"window": -1}, "window"),
        ({"limit": 0}, "limit"),
        ({"jitter": math.nan}, "jitter"),
        ({"grace": -0.5}, "grace"),
    ],
)
def test_an_argument_out_of_its_range_is_refused(wrong: dict, named: str) -> None:
    arguments = {"catch_up": "all", "window": 60.0, **wrong}
    with pytest.raises(ScheduleError, match=named) as caught:
        decide_ticks(Every(60), START, START, **arguments)
    assert "Fix:" in str(caught.value)
