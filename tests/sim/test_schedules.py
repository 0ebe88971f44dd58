"""Schedules in a simulated cluster with a virtual clock, crashes included."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from cronsim import CronSim

from replay import Context, Engine, ScheduleError, UnknownSchedule, workflow
from replay.core import requests as r
from replay.scheduling.cron import Cron
from replay.testing import Faults, Simulation

START = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def act() -> int:
    return 1


@workflow
def job(ctx: Context, seconds: float) -> Any:
    yield ctx.step("act", act)
    if seconds:
        yield ctx.sleep(seconds)
    return seconds


@workflow
def other(ctx: Context) -> Any:
    yield ctx.step("act", act)


def ticks(sim: Simulation, id: str = "s") -> list[float]:
    """Return the planned instants of all executions that a schedule started."""
    found: list[float] = []
    cursor = None
    while True:
        page = sim.engine.find_executions(id_prefix=f"{id}~", limit=1000, cursor=cursor)
        found += [execution.metadata["planned"] for execution in page]
        cursor = page.cursor
        if cursor is None:
            return sorted(found)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
def test_every_tick_of_weeks_around_a_clock_change_fires_once_and_never_early_despite_crashes(zone: str) -> None:
    faults = Faults(crash=0.02, unavailable=0.02)
    with Simulation([job], seed=5, workers=2, start=START, faults=faults) as sim:
        sim.engine.ensure_schedule(job, 0, id="s", cron="30 */6 * * *", timezone=zone, catch_up="all")
        began = sim.now()
        sim.advance(days=40)
        expected = []
        at: float | None = began
        while (at := Cron("30 */6 * * *", zone).next_after(at)) is not None and at <= sim.now() - 60:  # type: ignore[arg-type]
            expected.append(at)
        fired = ticks(sim)
        assert fired[: len(expected)] == expected
        assert len(set(fired)) == len(fired)
        for execution in sim.engine.find_executions(id_prefix="s~", limit=1000):
            assert execution.created_at >= execution.metadata["planned"]


def test_ensure_with_unchanged_arguments_changes_nothing_and_intervals_stay_on_their_grid() -> None:
    with Simulation([job], start=START) as sim:
        first = sim.engine.ensure_schedule(job, 0, id="s", interval=3600)
        for _ in range(20):
            sim.advance(minutes=7)
            sim.engine.ensure_schedule(job, 0, id="s", interval=3600)
        again = sim.engine.get_schedule("s")
        assert again.next_at == first.next_at + 2 * 3600  # type: ignore[operator]
        assert ticks(sim) == [START.timestamp() + 3600, START.timestamp() + 7200]


def test_rebinding_to_another_workflow_is_refused_and_bad_specs_name_the_problem() -> None:
    with Simulation([job, other]) as sim:
        sim.engine.ensure_schedule(job, 0, id="s", interval=60)
        with pytest.raises(ScheduleError, match="belongs to workflow"):
            sim.engine.ensure_schedule(other, id="s", interval=60)
        for options in (
            {}, {"cron": "* * *"}, {"cron": "0 0 31 2 *"}, {"cron": "* * * * *", "interval": 5}, {"interval": 0},
            {"cron": "* * * * *", "timezone": "Mars/Base"}, {"interval": 60, "overlap": "sometimes"},
        ):  # fmt: skip
            with pytest.raises(ScheduleError):
                sim.engine.ensure_schedule(job, 0, id="t", **options)  # type: ignore[arg-type]
        with pytest.raises(UnknownSchedule):
            sim.engine.get_schedule("t")


def test_pause_resume_trigger_update_and_remove() -> None:
    with Simulation([job], start=START) as sim:
        engine = sim.engine
        engine.ensure_schedule(job, 0, id="s", interval=3600)
        sim.advance(hours=1)
        assert engine.pause_schedule("s").paused
        sim.advance(hours=5)
        assert len(ticks(sim)) == 1
        engine.resume_schedule("s")
        sim.advance(hours=1)
        assert len(ticks(sim)) == 2
        assert sim.handle(engine.trigger_schedule("s").id).status() == "pending"
        record = engine.update_schedule("s", interval=600)
        assert record.interval == 600
        assert len(record.next_fires) == 5
        assert record.runs[0][0] == ticks_of(record)
        engine.remove_schedule("s")
        sim.advance(hours=5)
        assert engine.list_schedules() == ()


def ticks_of(record: Any) -> float:
    return float(record.last_at)


@pytest.mark.parametrize(
    ("overlap", "started", "cancelled"),
    [("allow", 6, 0), ("skip", 2, 0), ("buffer_one", 2, 0), ("cancel_previous", 6, 5)],
)
def test_overlap_policies(overlap: Any, started: int, cancelled: int) -> None:
    with Simulation([job], start=START) as sim:
        sim.engine.ensure_schedule(job, 250.0, id="s", interval=60, overlap=overlap)
        sim.advance(seconds=6 * 60 + 30)
        found = sim.engine.find_executions(id_prefix="s~").items
        assert len(found) == started
        assert sum(x.status == "cancelled" for x in found) == cancelled
        if overlap in (
            "skip",
            "buffer_one",
        ):  # the second run is the tick at which the first had ended, or the kept one
            assert ticks(sim)[1] - START.timestamp() == (360 if overlap == "skip" else 120)


@pytest.mark.parametrize(("catch_up", "expected"), [("skip", 0), ("one", 1), ("all", 5)])
def test_missed_ticks_follow_the_catch_up_rule(catch_up: Any, expected: int) -> None:
    with Simulation([job], start=START) as sim:
        sim.engine.ensure_schedule(job, 0, id="s", interval=3600, catch_up=catch_up)
        sim.clock.move_to(sim.now() + 5 * 3600 + 1800)  # nobody worked for five and a half hours
        sim.run()
        assert len(ticks(sim)) == expected


def test_a_one_time_schedule_is_an_execution_that_waits() -> None:
    with Simulation([job], start=START) as sim:
        handle = sim.handle(sim.engine.schedule(job, 0, delay=3600).id)
        sim.advance(minutes=59)
        assert handle.status() == "pending"
        sim.advance(minutes=2)
        assert handle.result() == 0
        later = sim.handle(sim.engine.schedule(job, 0, at=START + dt.timedelta(days=2)).id)
        sim.engine.cancel(later)
        assert later.status() == "cancelled"
        with pytest.raises(ValueError, match="exactly one"):
            sim.engine.schedule(job, 0)


ENSURE = """
import sys
from replay import Engine, workflow

@workflow
def report(ctx):
    yield ctx.sleep(0)

with Engine(sys.argv[1], workflows=[report]) as engine:
    for _ in range(250):
        engine.ensure_schedule(report, id="nightly", interval=86_400)
    print(engine.get_schedule("nightly").next_at)
"""


@pytest.mark.slow
def test_ensuring_a_thousand_times_from_four_processes_leaves_one_schedule_that_has_not_moved(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    command = [sys.executable, "-c", ENSURE, url]
    first = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {process.communicate()[0] for process in running} == {first}
    with Engine(url) as engine:
        assert [row.id for row in engine.list_schedules()] == ["nightly"]


ZONES = [
    "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Sao_Paulo", "America/St_Johns",
    "Australia/Lord_Howe", "Australia/Sydney", "Africa/Casablanca", "Asia/Kolkata", "Pacific/Auckland", "Pacific/Chatham",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_a_year_of_ticks_is_what_an_independent_library_says_while_workers_crash(zone: str) -> None:
    spec = "30 2 * * *"
    with Simulation([job], seed=len(zone), workers=2, start=START, faults=Faults(crash=0.01, unavailable=0.01)) as sim:
        sim.engine.ensure_schedule(job, 0, id="s", cron=spec, timezone=zone, catch_up="all")
        sim.advance(days=366)
        fired = ticks(sim)
        until = sim.now() - 86_400
        executions = sim.engine.find_executions(id_prefix="s~", limit=1000)
        assert all(execution.created_at >= execution.metadata["planned"] for execution in executions), "never early"
    oracle = CronSim(spec, START.astimezone(ZoneInfo(zone)))
    expected = [at.timestamp() for at in itertools.islice(oracle, 370)]
    expected = [at for at in expected if at <= until]
    assert len(expected) > 360
    assert fired[: len(expected)] == expected, "every tick once, and no other"


def test_update_is_checked_as_ensure_is_and_refusals_name_the_option() -> None:
    with Simulation([job, other], start=START) as sim:
        engine = sim.engine
        record = engine.ensure_schedule(job, 0, id="s", interval=3600)
        for options, message in (
            ({"catch_up_limit": 0}, "catch_up_limit"), ({"catch_up_limit": "x"}, "catch_up_limit"),
            ({"timezone": "X/Y"}, "time zone"), ({"until": "tomorrow"}, "until takes"), ({"jitter": -1}, "jitter takes"),
            ({"catch_up": "never"}, "catch_up is one of"), ({"workflow": other}, "another workflow"),
            ({"colour": 1}, "unknown schedule option 'colour'"), ({"queue": "q"}, "unknown schedule option 'queue'"),
        ):  # fmt: skip
            with pytest.raises(ScheduleError, match=message):
                engine.update_schedule("s", **options)  # type: ignore[arg-type]
            if options.keys().isdisjoint({"workflow", "colour", "queue"}):
                with pytest.raises(ScheduleError, match=message):
                    engine.ensure_schedule(job, 0, id="t", **{"interval": 60, **options})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="takes no input"):
            engine.ensure_schedule(other, 5, id="t", interval=60)  # type: ignore[arg-type]
        assert engine.list_schedules() == (record,)
        assert engine.update_schedule("s", catch_up_limit=7, until=sim.now() + 1e6).catch_up_limit == 7
        assert engine.ensure_schedule(job, 0, id="s", interval=3600, catch_up_limit=7).catch_up_limit == 7
        assert engine.update_schedule("s", cron="@daily").interval is None


def test_a_schedule_that_a_worker_cannot_read_is_named_once_and_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Simulation([job], start=START, cache_size=0) as sim:
        for id in ("limit", "zone", "rule", "text", "newer", "good"):
            sim.engine.ensure_schedule(job, 0, id=id, cron="* * * * *")
        for id, damage in (
            ("limit", {"catch_up_limit": 0}), ("zone", {"timezone": "Mars/Base"}), ("rule", {"overlap": "newest"}),
            ("newer", {"colour": "red"}),
        ):  # fmt: skip
            row = sim.engine.ask(r.GetSchedule(id))
            assert row is not None
            sim.engine.ask(
                r.PutSchedule(
                    msgspec.structs.replace(row, spec=json.dumps({**json.loads(row.spec), **damage}).encode()), 1
                )
            )
        row = sim.engine.ask(r.GetSchedule("text"))
        assert row is not None
        sim.engine.ask(r.PutSchedule(msgspec.structs.replace(row, spec=b"?"), 1))
        sim.advance(minutes=3)
        sim.engine.ensure_schedule(job, 0, id="late", interval=60)
        sim.advance(minutes=3)
        assert len(ticks(sim, "good")) == len(ticks(sim, "newer")) == 6
        problems = {record.id: record.problem for record in sim.engine.list_schedules() if record.problem}
        assert problems.keys() == {"limit", "zone", "rule", "text"}, "a look at it says so, too"
        for id in ("limit", "zone", "rule", "text"):
            assert ticks(sim, id) == []
            assert caplog.text.count(f"schedule {id!r} cannot be fired here") == 1
        sim.engine.pause_schedule("text")
        sim.engine.remove_schedule("text")
        sim.engine.update_schedule("zone", timezone="UTC")
        sim.advance(minutes=1)
        assert len(ticks(sim, "zone")) == 1, "mended, it goes on"


def test_a_paused_schedule_shows_no_coming_ticks_and_a_buffered_one_those_of_its_grid() -> None:
    with Simulation([job], start=START) as sim:
        engine = sim.engine
        engine.ensure_schedule(job, 10_000.0, id="s", interval=600, overlap="buffer_one")
        sim.advance(minutes=25)
        record = engine.get_schedule("s")
        assert (record.next_at, record.next_fires[0]) == (START.timestamp() + 1800,) * 2
        sim.advance(minutes=120)
        row = engine.ask(r.GetSchedule("s"))
        assert row is not None
        assert row.version < 250, "it is not written every second while it waits"
        sim.advance(minutes=60)
        assert len(ticks(sim)) == 2, "the kept one has started"
        paused = engine.pause_schedule("s")
        assert (paused.next_at, paused.next_fires) == (None, ())


def test_a_triggered_execution_is_a_run_and_counts_for_overlap() -> None:
    with Simulation([job], start=START) as sim:
        engine = sim.engine
        engine.ensure_schedule(job, 5000.0, id="s", interval=3600, overlap="skip")
        sim.advance(minutes=50)
        triggered = engine.trigger_schedule("s")
        sim.advance(minutes=30)
        record = engine.get_schedule("s")
        assert [id for _, id in record.runs] == [triggered.id]
        assert record.skipped == 1
        engine.update_schedule("s", overlap="cancel_previous")
        sim.advance(minutes=60)
        assert sim.handle(triggered.id).status() == "cancelled"


def test_what_is_done_to_schedules_is_logged_with_who_and_what(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "replay.audit")
    with Simulation([job], start=START) as sim:
        engine = sim.engine
        engine.ensure_schedule(job, 0, id="s", interval=3600)
        engine.ensure_schedule(job, 0, id="s", interval=3600)
        engine.pause_schedule("s")
        engine.resume_schedule("s")
        engine.update_schedule("s", interval=60)
        engine.trigger_schedule("s")
        engine.remove_schedule("s")
    told = [(each.action, each.schedule_id, bool(each.by)) for each in caplog.records if each.name == "replay.audit"]  # type: ignore[attr-defined]
    assert told == [(action, "s", True) for action in ("ensure", "pause", "resume", "update", "trigger", "remove")]


@pytest.mark.parametrize(
    "change",
    [
        lambda engine: engine.resume_schedule("s") if engine.pause_schedule("s") else None,
        lambda engine: engine.update_schedule("s", cron="0 0 1 1 *"),
        lambda engine: engine.update_schedule("s", until=START + dt.timedelta(hours=32)),
    ],
    ids=["paused and resumed", "other times", "an end"],
)
def test_a_buffered_tick_starts_soon_after_the_run_before_it_whatever_changed_meanwhile(change: Any) -> None:
    with Simulation([job], start=START) as sim:
        sim.engine.ensure_schedule(job, 86_400.0 + 7200.0, id="s", cron="0 6 * * *", overlap="buffer_one")
        sim.advance(hours=31)  # the run of the first day goes on for another hour, the tick of the second waits for it
        change(sim.engine)
        sim.advance(hours=2)
        assert [(at - START.timestamp()) / 3600 for at in ticks(sim)] == [6, 30]


def test_the_longest_id_of_a_schedule_leaves_room_for_the_ids_of_its_executions() -> None:
    with Simulation([job], start=START + dt.timedelta(microseconds=123)) as sim:
        engine = sim.engine
        with pytest.raises(ScheduleError, match=r"173 characters.*leave room for 172.*Fix: choose a shorter one"):
            engine.ensure_schedule(job, 0, id="s" * 173, interval=60)
        engine.ensure_schedule(job, 0, id="s" * 172, interval=60)
        sim.advance(minutes=1)
        triggered = engine.trigger_schedule("s" * 172)
        for _, execution in engine.get_schedule("s" * 172).runs:
            assert engine.get_execution(execution).workflow == "job"
        assert engine.get_execution(triggered).status == "pending"


def test_a_record_tells_all_that_was_said_about_a_schedule() -> None:
    with Simulation([job], start=START) as sim:
        until = START + dt.timedelta(days=9)
        record = sim.engine.ensure_schedule(
            job, 0, id="s", cron="@daily", jitter=dt.timedelta(minutes=1), until=until, timeout=90, catch_up_window=3600
        )
        assert (record.jitter, record.until, record.timeout, record.catch_up_window) == (
            60,
            until.timestamp(),
            90,
            3600,
        )
