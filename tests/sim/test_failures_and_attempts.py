"""Failures among members and over attempts: who is cancelled, what is kept, which attempts count. One worker, step by step."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from replay import Cancelled, Context, ExecutionFailed, Flow, NotACommand, Retry, StepFailed, workflow
from replay.core import requests as r
from replay.core.errors import CompensationFailed
from replay.core.failures import MAX_CAUSES, FailureTrace, FailureTraces
from replay.worker.steps import run_call
from tests.sim.one_worker import OneWorker

TRIES: Counter[str] = Counter()
SEEN: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    TRIES.clear()
    SEEN.clear()


def act(value: Any = 1) -> Any:
    return value


def first_fails(name: str) -> str:
    TRIES[name] += 1
    if TRIES[name] == 1:
        raise ValueError(f"{name} fails once")
    return name


def fail(value: Any = None) -> None:
    raise ValueError("no")


# --- members ----------------------------------------------------------------------------------------------------------


def member(ctx: Context) -> Any:
    try:
        yield from ctx.step("first", act)
    except Cancelled as cancelled:
        SEEN.append(str(cancelled))
        raise


def raises_at_once(ctx: Context) -> Any:
    raise LookupError("at once")
    yield


@pytest.mark.parametrize("join", ["all", "race"])
def test_a_member_that_has_not_run_yet_is_cancelled_at_its_first_yield(join: str) -> None:
    @workflow
    def joining(ctx: Context) -> Flow[str]:
        members: Any = {"bad": raises_at_once(ctx), "good": member(ctx)}
        try:
            yield from ctx.all(members) if join == "all" else ctx.race(members)
        except LookupError as error:
            return str(error)
        return "joined"

    world = OneWorker(joining)
    world.create("x", "joining")
    world.settle()
    assert world.result("x") == "at once"
    assert ["member bad/ failed" if join == "all" else "another member won the race"] == SEEN


@pytest.mark.parametrize("how", ["fails", "is cancelled", "is lost"])
def test_generators_of_members_that_never_begin_are_closed(how: str) -> None:
    generators: list[Any] = []

    @workflow
    def limited(ctx: Context) -> Flow[Any]:
        generators[:] = [member(ctx), member(ctx)]
        first = ctx.step("first", fail) if how == "fails" else ctx.sleep(1000)
        yield from ctx.all([first, *generators], limit=1)

    world = OneWorker(limited)
    world.create("x", "limited")
    world.settle()
    if how == "is cancelled":
        world.deliver("x", "cancel")
        world.settle()
    elif how == "is lost":
        world.worker.close()
    assert [generator.gi_frame for generator in generators] == [None, None]


def test_a_member_that_returns_a_generator_is_told_to_delegate_to_it() -> None:
    def returning(ctx: Context) -> Any:
        yield from ctx.note("x")
        return member(ctx)

    @workflow
    def joining(ctx: Context) -> Flow[Any]:
        return (yield from ctx.all(returning(ctx)))

    world = OneWorker(joining)
    world.create("x", "joining")
    world.settle()
    error = world.error("x")
    assert isinstance(error, NotACommand)
    assert "returned a generator. Fix: write `return (yield from member(...))`" in str(error)


def test_the_compensation_of_a_loser_that_ended_well_is_kept_and_of_one_that_failed_is_none() -> None:
    @workflow
    def racing(ctx: Context) -> Flow[Any]:
        won = yield from ctx.race(quick=ctx.step("quick", act), slow=ctx.step("slow", act).down(SEEN.append))
        report = yield from ctx.rollback()
        return [won.name, list(report.undone)]

    for body, undone in ((act, ["slow/slow"]), (fail, [])):
        world = OneWorker(racing)
        world.create("x", "racing")
        quick, slow = world.turn()
        slow.fn = body
        world.returns(quick)
        assert world.turn() == []  # the loser has an undo: how its step ends decides what a rollback must do
        world.returns(slow)
        world.settle()
        assert world.result("x") == ["quick", undone]


@workflow
def racing_for_ever(ctx: Context) -> Flow[Any]:
    won = yield from ctx.race(quick=ctx.step("quick", act), slow=ctx.step("slow", act).down(SEEN.append))
    return won.name


@workflow
def failing_for_ever(ctx: Context) -> Flow[Any]:
    def nested() -> Any:
        yield from ctx.all(ctx.step("slow", act))

    yield from ctx.all(ctx.step("quick", fail), nested())


@pytest.mark.parametrize("flow", [racing_for_ever, failing_for_ever], ids=lambda flow: flow.key)
@pytest.mark.parametrize("how", ["cancel", "timeout", "cancel while no worker runs"])
def test_a_loser_whose_step_hangs_does_not_hold_up_the_end_of_its_execution(flow: Any, how: str) -> None:
    world = OneWorker(flow, lease=1000.0)
    world.create("x", flow.key, timeout=100.0)
    quick, slow = world.turn()
    world.returns(quick)
    world.turn()
    assert not slow.abandoned, "a retry or rollback must know what became of it"
    if how == "cancel":
        world.deliver("x", "cancel", notice=True)
        world.turn()
        assert slow.cancelled.is_set()
        world.wait(10)  # longer than `cancel_grace`
    elif how == "timeout":
        world.wait(200)
    else:
        world.deliver("x", "cancel")
        world.wait(2000)
        world = OneWorker(flow, beside=world)
        world.worker.post(run_call(slow, world.codec, 1000))  # nobody's
    assert world.turn() == []
    assert world.status("x") == ("failed" if how == "timeout" else "cancelled")
    assert slow.abandoned or how.endswith("runs")


# --- attempts of the workflow -------------------------------------------------------------------------------------------


def settle_attempts(world: OneWorker) -> None:
    for _ in range(5):
        world.settle()
        world.wait(10)


def test_an_attempt_that_fails_by_an_earlier_ones_failure_does_not_count() -> None:
    @workflow(retry=Retry(2, initial=1, jitter=0))
    def handling(ctx: Context) -> Flow[str]:
        try:
            return (yield from ctx.step("a", first_fails, "a"))
        except StepFailed as failed:
            yield from ctx.step("b", first_fails, "b")
            raise failed

    world = OneWorker(handling)
    world.create("x", "handling")
    settle_attempts(world)
    assert world.result("x") == "a"
    assert world.header("x").attempt == 3  # of which the second failed by the first one's failure


def test_members_of_an_abandoned_branch_leave_their_numbers_unused() -> None:
    @workflow(retry=Retry(2, initial=1, jitter=0))
    def branching(ctx: Context) -> Flow[list[Any]]:
        try:
            yield from ctx.step("a", first_fails, "a")
        except StepFailed as failed:
            yield from ctx.all(ctx.step("clean", act, 1), ctx.step("up", act, 2))
            raise failed
        return (yield from ctx.all([ctx.step("b", act, 3), ctx.step("c", act, 4)]))

    for cache_size in (0, 100):
        TRIES.clear()
        world = OneWorker(branching, cache_size=cache_size)
        world.create("x", "branching")
        settle_attempts(world)
        assert world.result("x") == [3, 4]
        fibers = [row[2] for row in world.log("x") if row[0] == "StepDone" and row[2]]
        assert fibers == [1, 2, 3, 4]


def test_a_sibling_that_waited_for_its_next_try_begins_anew_with_the_next_attempt() -> None:
    @workflow(retry=Retry(2, initial=1, jitter=0))
    def siblings(ctx: Context) -> Flow[list[str]]:
        retried = ctx.step("b", first_fails, "b").retry(Retry(2, initial=100, jitter=0))
        return (yield from ctx.all([ctx.step("a", first_fails, "a"), retried]))

    world = OneWorker(siblings)
    world.create("x", "siblings")
    first, second = world.turn()
    world.returns(second)
    world.turn()
    world.returns(first)
    settle_attempts(world)
    assert world.result("x") == ["a", "b"]
    done = {row[3]: row[6] for row in world.log("x") if row[0] == "StepDone"}
    assert done == {"0/a": 1, "1/b": 1}  # tries of the last attempt


@workflow
def child(ctx: Context) -> Flow[str]:
    return (yield from ctx.step("c", first_fails, "c"))


@workflow(retry=Retry(2, initial=1, jitter=0))
def keyed(ctx: Context) -> Flow[Any]:
    return (yield from ctx.child("kid", child, idempotency_key="one"))


@workflow
def owner(ctx: Context) -> Flow[str]:
    try:
        return (yield from ctx.child("kid", child, idempotency_key="one"))
    except ExecutionFailed:
        return "mine failed"


def test_a_failed_child_with_a_key_is_replaced_for_the_one_that_created_it() -> None:
    world = OneWorker(keyed, child)
    world.create("x", "keyed")
    settle_attempts(world)
    assert world.result("x") == "c"
    assert [found.status for found in world.store.apply([r.Find(workflow="child")])[0].headers] == [
        "completed",
        "failed",
    ]


def test_a_keyed_child_that_failed_is_replaced_also_where_its_start_is_void() -> None:
    @workflow(retry=Retry(2, initial=1, jitter=0))
    def rolls_back(ctx: Context) -> Flow[Any]:
        try:
            yield from ctx.step("a", act, 1).down(SEEN.append)
            return (yield from ctx.child("kid", child, idempotency_key="one"))
        except ExecutionFailed:
            yield from ctx.rollback()
            raise

    world = OneWorker(rolls_back, child)
    world.create("x", "rolls_back")
    settle_attempts(world)
    assert world.result("x") == "c"
    assert SEEN == [1]


def test_rollbacks_of_two_members_undo_a_step_once_and_go_on_in_another_process() -> None:
    @workflow
    def both(ctx: Context) -> Flow[Any]:
        def rolls_back() -> Any:
            report = yield from ctx.rollback()
            return report.undone

        yield from ctx.step("a", act, "a").down(first_fails).retry(Retry(2, initial=50, jitter=0))
        return (yield from ctx.all([rolls_back(), rolls_back()]))

    world = OneWorker(both, cache_size=0)
    world.create("x", "both")
    world.settle()
    assert world.status("x") == "retrying"
    world.deliver("x")  # wakes a session that replays the log
    world.settle()
    world.wait(60)
    world.settle()
    assert world.result("x") == [("a",), ()]
    assert TRIES["a"] == 2


def test_a_failed_child_with_a_key_of_somebody_else_is_never_replaced() -> None:
    world = OneWorker(keyed, child, owner)
    world.create("o", "owner")
    settle_attempts(world)
    assert world.result("o") == "mine failed"
    world.create("x", "keyed")
    settle_attempts(world)
    assert (world.status("x"), world.header("x").attempt) == ("failed", 2)
    assert TRIES["c"] == 1


def test_an_execution_ends_as_its_code_says_whatever_became_of_children_it_waits_for_at_its_end() -> None:
    @workflow
    def waiting(ctx: Context) -> Flow[str]:
        yield from ctx.start("bad", child, on_parent_close="wait")
        yield from ctx.start("good", child, on_parent_close="wait")
        return "done"

    world = OneWorker(waiting, child, concurrency=1)
    world.create("x", "waiting")
    world.settle()
    assert world.result("x") == "done"
    statuses = [found.status for found in world.store.apply([r.Find(workflow="child")])[0].headers]
    assert sorted(statuses) == ["completed", "failed"]


def test_raising_an_error_of_another_executions_rollback_is_a_failure_like_any_other() -> None:
    @workflow
    def raising(ctx: Context) -> Flow[None]:
        yield from ctx.note("x")
        raise CompensationFailed("rollback:x", (), (), ValueError("no"))

    world = OneWorker(raising)
    world.create("x", "raising")
    world.settle()
    assert world.status("x") == "failed"


# --- traces -----------------------------------------------------------------------------------------------------------------


def test_a_failure_is_found_through_its_causes_up_to_a_limit() -> None:
    traces, trace = FailureTraces(), FailureTrace([3])
    failed: BaseException = StepFailed("a", 1, ValueError())
    traces.add(failed, trace)  # type: ignore[arg-type]
    for depth in range(1, MAX_CAUSES + 1):
        assert traces.of_causes(failed) is trace, depth
        outer = RuntimeError()
        outer.__cause__ = failed
        failed = outer
    assert traces.of_causes(failed) is None
    assert traces.of_causes(None) is None


def test_a_trace_that_includes_itself_stays_as_it_is() -> None:
    trace = FailureTrace([3])
    trace.taint(1, 5)
    trace.include(trace)
    assert (trace.rows, trace.taint_from) == ({3}, {1: 5})
