"""The kit can fail: bugs planted in the engine are found, and without them the same checks pass."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from replay import Context, Received, Retry, Signal, workflow
from replay.core.errors import ReplayError
from replay.testing import Simulation, assert_recovers, assert_replay_equivalent, fails, takes
from replay.testing.checks import wrong
from replay.testing.seeds import try_seeds
from tests.sim.mutants import MUTANTS

SEEDS = 2_000
"""Within so many seeds each bug must be found."""

Go = Signal("go", str)


def text() -> str:
    return "text"


def undo(result: Any) -> None:
    return None


@workflow
def small(ctx: Context, n: int) -> Iterator[Any]:
    yield ctx.sleep(2)
    yield ctx.step("small", text)
    return n


@workflow
def everything(ctx: Context) -> Iterator[Any]:
    """Ends with what it saw, so that a wrong value anywhere shows."""
    seen: list[Any] = []
    seen.append((yield ctx.step("first", text).down(undo)))
    seen.append((yield ctx.step("flaky", text).retry(Retry(attempts=3, initial=3.0, jitter=0))))
    seen.append((yield ctx.child("child", small, 7)))
    match (yield ctx.wait_for_signal(Go, timeout=timedelta(hours=1))):
        case Received(payload):
            seen.append(payload)
        case timed_out:
            seen.append(timed_out.kind)
    won = yield ctx.race(slow=ctx.sleep(30), quick=ctx.step("quick", text), other=ctx.sleep(20))
    seen.append(won.name)
    seen.append((yield ctx.step("draw", text)) + str(ctx.random().random()))
    if ctx.now() > 1e9:
        yield ctx.step("second", text).down(undo)
    report = yield ctx.rollback()
    return [*seen[:-1], report.undone]


@workflow
def two_signals(ctx: Context) -> Iterator[Any]:
    first = yield ctx.wait_for_signal(Go)
    second = yield ctx.wait_for_signal(Go)
    return [first, second]


@workflow
def at_most_once(ctx: Context) -> Iterator[Any]:
    yield ctx.sleep(1)
    yield ctx.step("charge", text).at_most_once().settled()


@workflow
def cancellable(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", text)
    yield ctx.sleep(timedelta(days=1))


EVERYTHING = {"signals": [(Go, "x")], "steps": {"flaky": fails(ValueError, times=2, then="late")}, "others": [small]}
EXPECTED = ["text", "late", 7, "x", "quick", ("second", "first")]


def it_recovers() -> None:
    assert_recovers(everything, same=False, **EVERYTHING)


def it_replays() -> None:
    assert_replay_equivalent(everything, **EVERYTHING)


def it_ends_as_written() -> None:
    with Simulation([everything, small], steps=EVERYTHING["steps"]) as sim:
        handle = sim.start(everything)
        assert sim.settle(handle, EVERYTHING["signals"]), "it does not end"
        assert handle.result() == EXPECTED
        problem = wrong(sim, handle)
        assert problem is None, problem


def an_early_signal_and_its_double_are_received_once() -> None:
    for seed in range(20):
        with Simulation([two_signals], seed=seed, workers=2) as sim:
            handle = sim.start(two_signals, idempotency_key="k")
            again = sim.start(two_signals, idempotency_key="k")
            assert again.id == handle.id
            assert len(sim.engine.find_executions()) == 1, "a keyed start made two executions"
            for payload in ("a", "a"):
                sim.signal(handle, Go, payload, dedupe_id="1")
            for _ in range(seed % 7):
                sim.step()
            sim.signal(handle, Go, "b", dedupe_id="2")
            sim.signal(handle, Go, "b", dedupe_id="2")
            assert sim.settle(handle), "a signal was lost"
            assert handle.result() == ["a", "b"]


def an_at_most_once_step_is_at_most_run_once() -> None:
    for number in range(1, 14):
        for before in (True, False):
            with Simulation([at_most_once]) as sim:
                sim.crash_in(number, before=before)
                assert sim.settle(sim.start(at_most_once))
                assert len([id for _, id, _ in sim.executed if id == "charge"]) <= 1, "charged twice"


def a_cancel_ends_it() -> None:
    with Simulation([cancellable]) as sim:
        handle = sim.start(cancellable)
        sim.run()
        sim.cancel(handle, "no more")
        sim.settle(handle)
        assert handle.status() == "cancelled"


def a_long_step_of_a_living_worker_runs_once() -> None:
    with Simulation([small], workers=2, steps={"small": takes(10.0, "x")}) as sim:
        handle = sim.start(small, 1)
        assert sim.settle(handle)
        assert len(sim.executed) == 1, "a step ran twice although its worker lived"


def every_tick_starts_one_execution() -> None:
    for seed in range(40):
        with Simulation([small], workers=3, seed=seed, faults=True) as sim:
            sim.engine.ensure_schedule(small, 1, id="s", interval=60, catch_up="all")
            sim.advance(seconds=600)
            sim.stop_faults()
            sim.advance(seconds=30)
            found = len(sim.engine.find_executions(id_prefix="s~"))
            assert found == 10, f"{found} executions of 10 ticks (seed {seed})"


def it_survives_faults() -> None:
    for run in try_seeds(everything, seeds=range(SEEDS if hunting else 60), **EVERYTHING):
        assert run.problem is None, f"seed {run.seed}: {run.problem}\n{run.timeline}"


CHECKS = [
    it_ends_as_written,
    a_cancel_ends_it,
    a_long_step_of_a_living_worker_runs_once,
    an_early_signal_and_its_double_are_received_once,
    an_at_most_once_step_is_at_most_run_once,
    it_replays,
    it_recovers,
    every_tick_starts_one_execution,
    it_survives_faults,
]
hunting = False


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_without_a_planted_bug(check: Any) -> None:
    check()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_bug_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch, record_property: Any) -> None:
    monkeypatch.setattr(f"{__name__}.hunting", True)
    with MUTANTS[mutant]():
        for check in CHECKS:
            try:
                check()
            except (AssertionError, ReplayError) as found:
                record_property("found by", f"{check.__name__}: {str(found)[:200]}")
                return
    pytest.fail(f"not found: {mutant}")
