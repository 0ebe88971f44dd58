"""Durable coverage: each command's arms that tests took, those that they did not with their lines, and a bound for the run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from replay import Branch, Context, Signal, workflow
from replay.core.interpreter import Interpreter
from replay.definition import Workflow
from replay.testing import Simulation, fails
from replay.testing.coverage.arms import sites_of
from replay.testing.coverage.observed import Observed
from replay.testing.coverage.report import Coverage

pytestmark = pytest.mark.slow

SHOP = """
from replay import Branch, Received, Signal, StepFailed, TimedOut, workflow
from helpers import lookup

Go = Signal("go", int)

def book(*args) -> str:
    return "seat"

@workflow
def kid(ctx, n):
    yield ctx.sleep(1)

@workflow(signals=[Go])
def trip(ctx, n):
    try:
        yield ctx.step("seat", book).retry(3).timeout(30).down(book)
        yield from lookup(ctx, "map")
        match (yield ctx.wait_for_signal(Go, timeout=60)):
            case TimedOut():
                yield ctx.rollback()
                return "late"
        yield ctx.switch("size", n, [Branch("small", lambda n: n < 3, 1), Branch("big", lambda n: n > 5, 2)], default=0)
        yield ctx.race(
            go=ctx.wait_for_signal(Go),
            stop=ctx.sleep(10),
        )
        yield from ctx.child("kid", kid, 3)
    except StepFailed:
        yield ctx.rollback()

@workflow
def idle(ctx):
    yield ctx.step("nothing", book)
"""

HELPERS = """
def lookup(ctx, name):
    yield ctx.step(f"look {name}", str)
"""

TESTS = """
import shop

def test_small(replay_sim):
    sim = replay_sim([shop.trip, shop.kid])
    assert sim.settle(sim.start(shop.trip, 1), [(shop.Go, 1)])

def test_late(replay_sim):
    sim = replay_sim([shop.trip, shop.kid])
    handle = sim.start(shop.trip, 1)
    sim.advance(days=1)
    assert handle.result() == "late"
"""

MISSED = [
    "workflow  arms  missed  cover",
    "kid          1       0   100%",
    "trip        18       9    50%",
    "  helpers.py:2 step f'look {name}': never failed",
    "  shop.py:16 step 'seat': never failed, retried, timed out",
    "  shop.py:22 switch 'size': never branch big, branch default",
    "  shop.py:23 race: never won by go",
    "  shop.py:24 wait_for_signal Go: never received",
    "  shop.py:27 child 'kid': never failed",
    "TOTAL       19       9    52%",
]


@pytest.fixture
def shop(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(shop=SHOP, helpers=HELPERS, test_shop=TESTS)
    return pytester


def report(result: pytest.RunResult) -> list[str]:
    said = str(result.stdout)
    lines = said.partition("durable coverage ====")[2].splitlines()[1:]
    return [line for line in lines[: next(n for n, line in enumerate(lines) if " passed" in line)] if line]


@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_report_names_the_arms_that_no_test_took(shop: pytest.Pytester, processes: str) -> None:
    result = shop.runpytest_subprocess("-p", "no:cacheprovider", "--rw-coverage", "-n", processes)
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert report(result) == MISSED


def test_a_bound_fails_the_run(shop: pytest.Pytester) -> None:
    low = shop.runpytest_subprocess("-p", "no:cacheprovider", "--rw-coverage-min", "52.5")
    assert low.ret == 0
    assert report(low) == MISSED
    for processes in ("0", "2"):
        high = shop.runpytest_subprocess("-p", "no:cacheprovider", "--rw-coverage-min", "53", "-n", processes)
        high.assert_outcomes(passed=2)
        assert high.ret == pytest.ExitCode.TESTS_FAILED
        assert report(high)[-1] == "FAIL: durable coverage is 52.6 %, less than 53 %"


def test_named_workflows_are_reported_even_if_no_test_runs_them(shop: pytest.Pytester) -> None:
    result = shop.runpytest_subprocess("-p", "no:cacheprovider", "--rw-coverage-of", "shop:idle", "-n", "2")
    assert report(result)[1:] == [
        "idle         2       2     0%",
        "  shop.py:33 step 'nothing': never done, failed",
        "TOTAL        2       2     0%",
    ]
    every = report(shop.runpytest_subprocess("-p", "no:cacheprovider", "--rw-coverage-of", "shop"))
    assert [line.split()[0] for line in every if not line.startswith(" ")] == [
        "workflow",
        "idle",
        "kid",
        "trip",
        "TOTAL",
    ]


@pytest.mark.parametrize("target", ["nowhere", "shop:missing", "helpers", "shop:book"])
def test_a_target_without_workflows_is_a_usage_error(shop: pytest.Pytester, target: str) -> None:
    result = shop.runpytest_subprocess("-p", "no:cacheprovider", "--rw-coverage-of", target)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--rw-coverage-of {target}" in str(result.stderr)


@pytest.mark.parametrize("percent", ["101", "-1", "most"])
def test_a_bound_is_a_percentage(shop: pytest.Pytester, percent: str) -> None:
    result = shop.runpytest_subprocess("-p", "no:cacheprovider", f"--rw-coverage-min={percent}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is not a percentage from 0 to 100" in str(result.stderr)


def test_scenarios_take_every_arm_and_a_worker_counts_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        shop=SHOP,
        helpers=HELPERS,
        test_shop="""
        import shop
        from hypothesis import given, settings, strategies as st
        from replay.testing import scenarios

        @settings(max_examples=400, database=None, derandomize=True, deadline=None)
        @given(scenarios(shop.trip, st.sampled_from([1, 4, 9]), others=[shop.kid]))
        def test_trip(run):
            pass

        def test_idle(replay_engine):
            engine = replay_engine([shop.idle])
            engine.start_and_wait(shop.idle, wait_timeout=300)
        """,
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--rw-coverage")
    result.assert_outcomes(passed=2)
    lines = report(result)
    assert "  shop.py:33 step 'nothing': never failed" in lines
    trip = next(line for line in lines if line.startswith("trip"))
    # A child fails only by its own failure or by an operator.
    assert trip.split()[1:3] == ["18", "1"], lines


# --- arms and their places --------------------------------------------------------------------------------------------

Go = Signal("go", int)


def body(*args: Any) -> int:
    return 1


@workflow
def every_kind(ctx: Context, n: int) -> Iterator[Any]:
    ways = [Branch("a", lambda n: n > 0, "a"), Branch("b", lambda n: n < 0, "b")]
    yield ctx.step("plain", body)
    yield ctx.step("full", body).retry(2).timeout(5).down(body).settled()
    yield ctx.sleep(1)
    yield ctx.sleep_until(1)
    yield ctx.wait_for_signal(Go)
    yield ctx.wait_for_signal(Go, timedelta(1))
    yield ctx.switch("way", n, ways)
    yield ctx.emit("event")
    yield ctx.note("note")
    id = yield ctx.start("kid", every_kind, 1)
    yield ctx.wait_for_execution(every_kind, id)
    yield ctx.wait_for_execution(every_kind, id, timeout=5)
    yield ctx.child("child", every_kind, 1)
    yield ctx.map("mapped", body, [1])
    yield ctx.race({"x": ctx.sleep(1), "y": ctx.sleep(2)})
    yield ctx.all(ctx.sleep(1))
    yield ctx.rollback()


def test_each_kind_of_command_has_its_arms() -> None:
    sites = sites_of(every_kind)
    first = every_kind.fn.__code__.co_firstlineno
    assert {(site.line - first - 1, site.kind): site.arms for site in sites} == {
        (2, "step"): ("done", "failed"),
        (3, "step"): ("done", "failed", "retried", "timed out", "undone"),
        (4, "sleep"): ("passed",),
        (5, "sleep_until"): ("passed",),
        (6, "wait_for_signal"): ("received",),
        (7, "wait_for_signal"): ("received", "timed out"),
        (8, "switch"): ("branch a", "branch b"),
        (9, "emit"): ("done",),
        (10, "note"): ("done",),
        (11, "start"): ("started",),
        (12, "wait_for_execution"): ("completed", "failed"),
        (13, "wait_for_execution"): ("completed", "failed", "timed out"),
        (14, "child"): ("completed", "failed"),
        (15, "map"): ("done", "failed"),
        (16, "race"): ("won by x", "won by y"),
        (16, "sleep"): ("passed",),
        (17, "sleep"): ("passed",),
    }


@workflow
def look_alikes(ctx: Context, first: bool) -> Iterator[Any]:
    if first:
        yield ctx.step("same", body)
    else:
        yield ctx.step("same", body)
    steps = []
    for number in range(2):
        steps.append(ctx.step(f"n{number}", body))
    yield ctx.all(steps)
    yield ctx.all(
        ctx.step("left", body),
        ctx.step("right", body),
    )


def taken_by(flow: Workflow[Any, Any], *inputs: Any, steps: Any = None) -> list[str]:
    observed = Observed()
    with observed.recording():
        for input in inputs:
            with Simulation([flow], steps=steps) as sim:
                assert sim.settle(sim.start(flow, input))
    coverage = Coverage()
    coverage.add(flow, observed.taken.get(flow, ()))
    places = coverage.workflows[flow.key]
    start = flow.fn.__code__.co_firstlineno + 1
    line = {place: int(re.findall(r":(\d+) ", place)[0]) - start for place in places}
    return [f"{line[place]}: {', '.join(sorted(each.taken))}" for place, each in places.items()]


def test_commands_that_look_alike_are_told_apart_by_their_lines() -> None:
    assert taken_by(look_alikes, True) == ["2: done", "4: ", "7: done", "10: done", "11: done"]
    assert taken_by(look_alikes, False) == ["2: ", "4: done", "7: done", "10: done", "11: done"]
    failing = {"right": fails(ValueError), "n1": fails(ValueError)}
    assert taken_by(look_alikes, False, steps={"n1": failing["n1"]})[2:] == ["7: done, failed", "10: ", "11: "]
    assert taken_by(look_alikes, False, steps={"right": failing["right"]})[2:] == ["7: done", "10: done", "11: failed"]


@workflow(rollback_on_failure=True)
def undoing(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body).down(body)
    yield ctx.step("second", body).retry(2)


def test_compensations_and_retries_belong_to_their_step() -> None:
    assert taken_by(undoing, None, steps={"second": fails(ValueError)}) == ["1: done, undone", "2: failed, retried"]
    assert taken_by(undoing, None, steps={"second": fails(ValueError, times=1)}) == ["1: done", "2: done, retried"]


def test_without_the_option_the_engine_is_as_it_was() -> None:
    before = Interpreter.feed_entry, Workflow.generator
    with Observed().recording():
        assert (Interpreter.feed_entry, Workflow.generator) != before
    assert (Interpreter.feed_entry, Workflow.generator) == before
