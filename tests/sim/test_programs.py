"""Invariants I3, I4, I6-I9: a run, a replay, a crashed run and the naive meaning of a workflow agree."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay import Context, ExecutionEnded, workflow
from replay.backends.redis import open_store
from replay.backends.sqlite import SqliteStore
from replay.core.requests import Header
from replay.testing import CrashPoint, Simulation
from replay.testing.checks.recovery import record
from replay.testing.checks.replaying import replay
from replay.testing.checks.shifted_environment import shifted_environment
from replay.worker.sources import ExecutionSources
from tests.budgets import examples
from tests.sim.programs import Blocked, Naive, child, inboxes, program, programs, run_nodes

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(3600)]

HEADER = Header("x-1", "program", "", "default", "pending", b"null", 0.0, 0.0)


def meaning(nodes: Any, inbox: dict[str, int]) -> tuple[str, Any]:
    sources = ExecutionSources(HEADER)
    naive = Naive(inbox, sources)
    try:
        return "completed", naive.run(program(naive.ctx, nodes))
    except Blocked:
        return "sleeping", None
    except Exception:
        return "failed", "error"  # which of two failing members is first is the log's to say


def simulate(nodes: Any, inbox: dict[str, int], **options: Any) -> Simulation:
    sim = Simulation([program, child], **options)
    handle = sim.start(program, nodes, id="x-1")
    for name, count in inbox.items():
        for _ in range(count):
            sim.signal(handle, name, "p")
    sim.settle(handle)
    return sim


def ending(sim: Simulation) -> tuple[str, Any]:
    execution = sim.engine.get_execution("x-1")
    assert not sim.problems, sim.problems
    assert execution.status != "stuck", execution.current
    return str(execution.status), "error" if execution.error is not None else execution.result


SETTINGS = settings(
    max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SETTINGS
@given(programs, inboxes)
def test_a_run_means_what_the_naive_runner_says(nodes: Any, inbox: dict[str, int]) -> None:
    with simulate(nodes, inbox) as sim:
        assert ending(sim) == meaning(nodes, inbox)


@SETTINGS
@given(programs, inboxes)
def test_replay_from_every_prefix_of_the_log_wants_what_the_log_says(nodes: Any, inbox: dict[str, int]) -> None:
    with simulate(nodes, inbox) as sim:
        recorded = record(sim, "x-1")
        status, result = ending(sim)
    for upto in range(len(recorded.rows) + 1):
        with shifted_environment(upto):
            interpreter = replay(program, recorded, upto=upto)
        if upto == len(recorded.rows) and status == "completed":
            assert interpreter.outcome is not None
            assert interpreter.outcome.value == result
        interpreter.close()


@SETTINGS
@given(programs, inboxes, st.integers(1, 30), st.booleans())
def test_a_run_with_a_crash_anywhere_ends_as_without(
    nodes: Any, inbox: dict[str, int], number: int, before: bool
) -> None:
    with simulate(nodes, inbox) as sim:
        expected = ending(sim)
    with simulate(nodes, inbox, crash_at=CrashPoint(number, before)) as crashed:
        assert ending(crashed) == expected


@SETTINGS
@given(programs, inboxes, st.integers(0, 10**6))
def test_runs_with_faults_of_all_kinds_end_as_without(nodes: Any, inbox: dict[str, int], seed: int) -> None:
    with simulate(nodes, inbox) as sim:
        expected = ending(sim)
    with simulate(nodes, inbox, seed=seed, workers=3, faults=True) as faulty:
        execution = faulty.engine.get_execution("x-1")
        found = "error" if execution.error is not None else execution.result
        assert (str(execution.status), found) == expected, faulty.timeline()


@SETTINGS
@given(programs, inboxes)
def test_without_live_generators_every_visit_replays_and_ends_alike(nodes: Any, inbox: dict[str, int]) -> None:
    with simulate(nodes, inbox) as sim:
        expected = ending(sim)
    with simulate(nodes, inbox, cache_size=0) as cold:
        assert ending(cold) == expected


@settings(SETTINGS, max_examples=examples(25))
@given(nodes=programs, inbox=inboxes, number=st.integers(1, 20), before=st.booleans())
def test_sqlite_gives_the_same_endings_with_and_without_crash(
    tmp_path_factory: pytest.TempPathFactory, nodes: Any, inbox: dict[str, int], number: int, before: bool
) -> None:
    with simulate(nodes, inbox) as sim:
        expected = ending(sim)
    folder: Path = tmp_path_factory.mktemp("sim")
    stores: list[SqliteStore] = []

    def store(clock: Any) -> SqliteStore:
        stores.append(SqliteStore(folder / f"{len(stores)}.db", clock=clock, synchronous="NORMAL"))
        return stores[-1]

    for point in (None, CrashPoint(number, before)):
        with simulate(nodes, inbox, store=store, crash_at=point) as run:
            assert ending(run) == expected
    for each in stores:
        each.close()


@settings(SETTINGS, max_examples=examples(25), suppress_health_check=[*HealthCheck])
@given(nodes=programs, inbox=inboxes, number=st.integers(1, 20), before=st.booleans())
def test_redis_gives_the_same_endings_with_and_without_crash(
    redis_server: Any, nodes: Any, inbox: dict[str, int], number: int, before: bool
) -> None:
    with simulate(nodes, inbox) as sim:
        expected = ending(sim)
    stores: list[Any] = []

    def store(clock: Any) -> Any:
        stores.append(open_store(redis_server.url, namespace=uuid.uuid4().hex, clock=clock))
        return stores[-1]

    for point in (None, CrashPoint(number, before)):
        with simulate(nodes, inbox, store=store, crash_at=point) as run:
            assert ending(run) == expected
    for each in stores:
        each.close()


@workflow("again")
def again(ctx: Context, left: list[Any]) -> Any:
    """Run a program, and then begin anew with it, as often as said."""
    count, nodes = left
    trace: list[Any] = []
    yield from run_nodes(ctx, nodes, trace)
    return trace if not count else ctx.continue_as_new([count - 1, nodes])


@settings(SETTINGS, max_examples=examples(60))
@given(programs, st.integers(0, 2), st.integers(1, 40), st.booleans())
def test_a_program_that_begins_anew_ends_alike_with_a_crash_anywhere(
    nodes: Any, count: int, number: int, before: bool
) -> None:
    def run(point: CrashPoint | None) -> tuple[str, Any]:
        with Simulation([again, child], crash_at=point) as sim:
            sim.settle(sim.start(again, [count, nodes], id="x-1"))
            return ending(sim)

    assert run(CrashPoint(number, before)) == run(None)


@settings(SETTINGS, max_examples=examples(60))
@given(programs, st.integers(0, 25), st.integers(1, 40), st.booleans())
def test_a_program_cancelled_at_any_moment_ends_cancelled_or_as_without_and_its_log_replays(
    nodes: Any, moment: int, number: int, before: bool
) -> None:
    with simulate(nodes, {"s": 0, "t": 0}) as sim:
        undisturbed = ending(sim)
    with Simulation([program, child], crash_at=CrashPoint(number, before)) as sim:
        handle = sim.start(program, nodes, id="x-1")
        for _ in range(moment):
            sim.step()
        with contextlib.suppress(ExecutionEnded):
            sim.cancel(handle)
            sim.cancel(handle)
        assert sim.settle(handle), "a cancelled execution ends"
        found = ending(sim)
        assert found[0] == "cancelled" or found == undisturbed
        assert sim.violation("x-1") is None
        replay(program, record(sim, "x-1")).close()
