"""Schedules (DESIGN 4.12) in a simulated cluster with a virtual clock, crashes included."""

from __future__ import annotations

import datetime as dt
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from replay import Context, Engine, ScheduleError, UnknownSchedule, workflow
from replay.cron import Cron
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
