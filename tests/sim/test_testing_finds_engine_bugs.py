"""The kit can fail: bugs planted in the engine are found, and without them the same checks pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from replay import Branch, Context, Event, Received, Retry, Signal, workflow
from replay.backends.memory import MemoryStore
from replay.core.errors import ReplayError
from replay.testing import Simulation, VirtualClock, assert_recovers, assert_replay_equivalent, fails, takes
from replay.testing.checks.recovery import wrong
from replay.testing.checks.sweep import try_seeds
from replay.testing.contracts.asking import Asking
from replay.testing.contracts.cancels import CancelPromises
from replay.testing.contracts.leases import LeasePromises
from tests.sim.mutants import MUTANTS

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(3600)]

SEEDS = 100
"""Within so many seeds each bug must be found (the product's promise is 2,000)."""

Go = Signal("go", str)
Never = Signal("never", str)
Happened = Event("happened", int)


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
    """Ends with what it saw, so that a wrong value anywhere shows; what it sees does not hang on how fast the cluster is."""
    seen: list[Any] = []
    seen.append((yield ctx.step("first", text).down(undo)))
    seen.append((yield ctx.step("flaky", text).retry(Retry(attempts=3, initial=3.0, jitter=0))))
    seen.append((yield ctx.child("child", small, 7)))
    match (yield ctx.wait_for_signal(Go, timeout=timedelta(hours=1))):
        case Received(payload):
            seen.append(payload)
        case timed_out:
            seen.append(timed_out.kind)
    never = ctx.wait_for_signal(Never)
    won = yield ctx.race(slow=ctx.sleep(timedelta(days=30)), quick=ctx.step("quick", text), other=never)
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


@workflow
def one_signal(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", text)
    return (yield ctx.wait_for_signal(Go))


@workflow
def sleeper(ctx: Context) -> Iterator[Any]:
    yield ctx.sleep(timedelta(days=1))


@workflow
def with_a_child(ctx: Context) -> Iterator[Any]:
    yield ctx.child("child", sleeper)


@workflow(timeout=60)
def hurried(ctx: Context) -> Iterator[Any]:
    yield ctx.sleep(timedelta(days=1))


@workflow
def told(ctx: Context) -> Iterator[Any]:
    yield ctx.emit(Happened, 1)
    yield ctx.sleep(1)


@workflow
def paged(ctx: Context, page: int) -> Iterator[Any]:
    got = yield ctx.wait_for_signal(Go)
    return ctx.continue_as_new(page + 1) if page < 3 else got


WEATHER = {"fine": False}


@workflow
def chooses_by_the_weather(ctx: Context) -> Iterator[Any]:
    chosen = yield ctx.switch("weather", 1, [Branch("fine", lambda _: WEATHER["fine"], "out")], default="in")
    yield ctx.sleep(60)
    return [chosen, str(ctx.uuid())]


@workflow
def tells_the_time_to_a_step(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", text)
    yield ctx.step("told", lambda at: None, time.time())


EVERYTHING = {"signals": [(Go, "x")], "steps": {"flaky": fails(ValueError, times=2, then="late")}, "others": [small]}
EXPECTED = ["text", "late", 7, "x", "quick", ("second", "first")]


def it_recovers() -> None:
    assert_recovers(everything, **EVERYTHING)


def it_replays() -> None:
    assert_replay_equivalent(everything, **EVERYTHING)


def it_ends_as_written() -> None:
    with Simulation([everything, small], steps=EVERYTHING["steps"]) as sim:
        handle, began = sim.start(everything), sim.now()
        assert sim.settle(handle, EVERYTHING["signals"]), "it does not end"
        assert sim.now() - began == pytest.approx(11), "it does not end in its time"
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


def a_cancel_ends_it_at_once_and_its_children_with_it() -> None:
    with Simulation([cancellable, with_a_child, sleeper]) as sim:
        for workflow, children in ((cancellable, 0), (with_a_child, 1)):
            handle = sim.start(workflow)
            sim.run()
            sim.cancel(handle, "no more")
            sim.run()
            assert handle.status() == "cancelled", f"it is {handle.status()}"
            tree = sim.engine.execution_tree(handle.id)
            assert [child.execution.status for child in tree.children] == ["cancelled"] * children, "a child goes on"


def a_deadline_ends_it_in_time() -> None:
    with Simulation([hurried, sleeper]) as sim:
        handles = [sim.start(hurried), sim.start(sleeper, timeout=60)]
        sim.advance(seconds=59)
        assert [handle.status() for handle in handles] == ["sleeping"] * 2
        sim.advance(seconds=2)
        assert all(handle.status().ended for handle in handles), "it sleeps beyond its deadline"


def an_event_is_published_once() -> None:
    with Simulation([told]) as sim:
        heard: list[int] = []
        sim.engine.on(Happened, heard.append)
        assert sim.settle(sim.start(told))
        assert heard == [1]


def a_signal_that_comes_while_a_step_runs_is_received() -> None:
    for seed in range(20):
        with Simulation([one_signal], seed=seed, workers=2, steps={"first": takes(0.05)}) as sim:
            handle = sim.start(one_signal)
            sim.run()
            sim.signal(handle, Go, "x")
            assert sim.settle(handle), "a signal was lost"


def signals_outlive_continue_as_new_in_their_order() -> None:
    for seed in range(5):
        with Simulation([paged], seed=seed) as sim:
            handle = sim.start(paged, 1)
            for payload in "abc":
                sim.signal(handle, Go, payload)
            assert sim.settle(handle), "a signal was lost"
            assert handle.result() == "c"


def a_choice_is_recorded() -> None:
    for cache_size in (0, 100):
        WEATHER["fine"] = False
        with Simulation([chooses_by_the_weather], cache_size=cache_size) as sim:
            handle = sim.start(chooses_by_the_weather)
            sim.run()
            WEATHER["fine"] = True
            assert sim.settle(handle)
            assert handle.result()[0] == "in"
            problem = wrong(sim, handle)
            assert problem is None, problem


def a_hidden_input_is_found() -> None:
    try:
        assert_replay_equivalent(tells_the_time_to_a_step)
    except AssertionError:
        return
    raise AssertionError("a step that is told the wall clock passes as replay-safe")


def the_store_keeps_its_promises_about_leases_and_cancels() -> None:
    for promises in (LeasePromises(), CancelPromises()):
        for promise in (name for name in dir(promises) if name.startswith("test_")):
            clock = VirtualClock()
            getattr(promises, promise)(Asking(MemoryStore(clock), clock))


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
    for run in try_seeds(everything, seeds=range(SEEDS), **EVERYTHING):
        assert run.problem is None, f"seed {run.seed}: {run.problem}\n{run.timeline}"


CHECKS = [
    it_ends_as_written,
    a_cancel_ends_it_at_once_and_its_children_with_it,
    a_deadline_ends_it_in_time,
    an_event_is_published_once,
    a_choice_is_recorded,
    a_hidden_input_is_found,
    the_store_keeps_its_promises_about_leases_and_cancels,
    a_long_step_of_a_living_worker_runs_once,
    a_signal_that_comes_while_a_step_runs_is_received,
    signals_outlive_continue_as_new_in_their_order,
    an_early_signal_and_its_double_are_received_once,
    an_at_most_once_step_is_at_most_run_once,
    it_replays,
    it_recovers,
    every_tick_starts_one_execution,
    it_survives_faults,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_without_a_planted_bug(check: Any) -> None:
    """The same seeds and the same budget as with one: an alarm here would make each of the tests below worthless."""
    check()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_bug_is_found(mutant: str, record_property: Any) -> None:
    with MUTANTS[mutant]():
        for check in CHECKS:
            try:
                check()
            except (AssertionError, ReplayError, pytest.fail.Exception) as found:
                record_property("found by", f"{check.__name__}: {str(found)[:200]}")
                return
    pytest.fail(f"not found: {mutant}")
