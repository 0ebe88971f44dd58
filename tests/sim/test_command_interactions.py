"""What commands promise where they meet: parallel rollbacks, waits for one signal, retries of what was received or started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replay import (
    Branch,
    Cancelled,
    Completed,
    Context,
    ExecutionFailed,
    ForgottenYield,
    Retry,
    SignalRefused,
    StepFailed,
    TimedOut,
    current_step,
    workflow,
)
from replay.backends.memory import MemoryStore
from replay.codec import TaggedJson
from replay.core import entries as e
from replay.core import requests as r
from replay.testing import Simulation, assert_recovers, assert_replay_equivalent, fails, takes
from replay.testing.simulation.clock import VirtualClock
from replay.testing.simulation.stubs import Takes
from replay.worker import Worker
from replay.worker.options import WorkerOptions
from replay.worker.steps import run_call

TWICE = Retry(attempts=2, initial=10, jitter=0)


def act(value: Any = "done") -> Any:
    return value


def result_of(sim: Simulation, definition: Any, input: Any = None, signals: Any = ()) -> Any:
    handle = sim.start(definition, input)
    assert sim.settle(handle, signals), sim.timeline(40)
    return handle.result()


def once_not(value: Any = "done") -> Callable[[Any], Any]:
    """Fail in the first attempt of the workflow, not in the next (or after a crash)."""
    runs: list[Any] = []

    def stub(call: Any) -> Any:
        runs.append(call)
        if len(runs) == 1:
            raise ValueError("not yet")
        return value

    return stub


def kinds(sim: Simulation, handle: Any) -> list[str]:
    return [type(entry).__name__ for entry in sim.engine.operator.detail(handle).audit]


# --- rollback (I38) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_rollback_undoes_each_step_once_although_a_sibling_registers_another_meanwhile(seed: int) -> None:
    undone: list[str] = []

    @workflow
    def saga(ctx: Context) -> Any:
        def first() -> Any:
            yield ctx.step("a", act, "a").down(undone.append)
            yield ctx.rollback()

        def second() -> Any:
            yield ctx.step("b", act, "b").down(undone.append)
            yield ctx.sleep(10)

        yield ctx.all(first(), second())
        yield ctx.rollback()

    with Simulation([saga], seed=seed) as sim:
        result_of(sim, saga)
    assert sorted(undone) == ["a", "b"]


def test_rollbacks_of_two_members_come_one_after_the_other() -> None:
    undone: list[str] = []

    @workflow
    def saga(ctx: Context) -> Any:
        for name in "abc":
            yield ctx.step(name, act, name).down(undone.append)

        def member() -> Any:
            return (yield ctx.rollback())

        reports = yield ctx.all(member(), member())
        return [report.undone for report in reports]

    with Simulation([saga]) as sim:
        assert result_of(sim, saga) == [("c", "b", "a"), ()]
    assert undone == ["c", "b", "a"]
    assert_replay_equivalent(saga)


def test_a_losers_running_step_with_a_compensation_ends_first_so_that_a_rollback_knows_it() -> None:
    @workflow
    def racing(ctx: Context) -> Any:
        winner = yield ctx.race(quick=ctx.step("look", act), slow=ctx.step("charge", act).down(act))
        report = yield ctx.rollback()
        return winner.name, report.undone

    with Simulation([racing], steps={"look": takes(1), "charge": takes(5, "paid")}) as sim:
        assert result_of(sim, racing) == ("quick", ("slow/charge",))


# --- switch and forgotten yields ---------------------------------------------------------------------------


@pytest.mark.parametrize("cache_size", [0, 10])
def test_a_branch_may_be_a_command_or_give_one(cache_size: int) -> None:
    @workflow
    def switching(ctx: Context, value: int) -> Any:
        chosen = yield ctx.switch(
            "pick",
            value,
            [
                Branch("a", 1, ctx.step("a", act, "a").retry(2)),
                Branch("b", 2, lambda: ctx.step("b", act, "b").retry(2)),
                Branch("c", 3, ctx.sleep(5)),
            ],
            default=ctx.step("d", act, "d"),
        )
        yield ctx.sleep(60)
        return chosen

    with Simulation([switching], cache_size=cache_size) as sim:
        assert [result_of(sim, switching, n) for n in (1, 2, 3, 4)] == ["a", "b", None, "d"]


def test_a_command_lost_in_a_replayed_part_is_told_with_the_place_where_it_was_missed() -> None:
    @workflow
    def forgetful(ctx: Context) -> Any:
        yield ctx.sleep(60)
        ctx.step("lost", act)
        yield ctx.step("kept", act)

    with Simulation([forgetful], cache_size=0) as sim:
        handle = sim.start(forgetful)
        sim.settle(handle)
        with pytest.raises(ExecutionFailed) as caught:
            handle.result()
    line = forgetful.fn.__code__.co_firstlineno + 3
    assert isinstance(caught.value.cause, ForgottenYield)
    assert f"at line {line} of {__file__}" in str(caught.value.cause)
    assert f"{__file__}:{line + 1}" in str(caught.value.cause)


def test_a_generator_expression_gives_members() -> None:
    @workflow
    def fanning(ctx: Context) -> Any:
        return (yield ctx.all(ctx.step(f"s{i}", act, i) for i in range(3)))

    with Simulation([fanning]) as sim:
        assert result_of(sim, fanning) == [0, 1, 2]


# --- waits --------------------------------------------------------------------------------------------------


def test_of_two_waits_for_one_buffered_signal_the_second_still_times_out() -> None:
    @workflow
    def waiting(ctx: Context) -> Any:
        return (yield ctx.all(ctx.wait_for_signal("go"), ctx.wait_for_signal("go", timeout=10)))

    with Simulation([waiting]) as sim:
        handle = sim.start(waiting)
        sim.signal(handle, "go", "early")
        assert sim.settle(handle)
        assert handle.result() == ("early", TimedOut())


def test_waiting_for_a_signal_that_nobody_may_send_is_refused() -> None:
    @workflow(signals=[])
    def deaf(ctx: Context) -> Any:
        try:
            yield ctx.wait_for_signal("go")
        except SignalRefused as error:
            return str(error)

    with Simulation([deaf]) as sim:
        assert "Fix: add it to @workflow(signals=[...])" in result_of(sim, deaf)


# --- children (I23) -----------------------------------------------------------------------------------------


@workflow
def kid(ctx: Context, value: Any) -> Any:
    yield ctx.sleep(5)
    return (yield ctx.step("work", act, value))


@workflow
def long_kid(ctx: Context) -> Any:
    yield ctx.sleep(1000)


@pytest.mark.parametrize("cache_size", [0, 10])
def test_an_execution_that_has_ended_may_be_waited_for_again(cache_size: int) -> None:
    @workflow
    def parent(ctx: Context) -> Any:
        child = yield ctx.start("k", kid, 7)
        first = yield ctx.wait_for_execution(kid, child)
        second = yield ctx.wait_for_execution(kid, child, timeout=60)
        return first, second

    with Simulation([parent, kid], cache_size=cache_size) as sim:
        assert result_of(sim, parent) == (7, Completed(7))


@pytest.mark.parametrize("late", [0, 60])
def test_parents_that_share_a_keyed_child_all_hear_of_its_end(late: float) -> None:
    @workflow
    def parent(ctx: Context) -> Any:
        return (yield ctx.child("k", kid, 7, idempotency_key="same"))

    with Simulation([parent, kid]) as sim:
        first = sim.start(parent)
        sim.advance(late)
        second = sim.start(parent)
        assert sim.settle(first)
        assert sim.settle(second)
        assert (first.result(), second.result()) == (7, 7)


@pytest.mark.parametrize("cache_size", [0, 10])
def test_a_retried_workflow_starts_a_failed_child_anew(cache_size: int) -> None:
    @workflow(retry=TWICE)
    def parent(ctx: Context) -> Any:
        return (yield ctx.child("k", kid, 7))

    with Simulation([parent, kid], steps={"work": once_not(7)}, cache_size=cache_size) as sim:
        handle = sim.start(parent)
        assert sim.settle(handle)
        assert handle.result() == 7
        assert len(sim.engine.execution_tree(handle).children) == 2


def test_a_retry_after_a_rollback_runs_a_completed_child_again() -> None:
    @workflow(retry=TWICE)
    def parent(ctx: Context) -> Any:
        try:
            yield ctx.step("a", act).down(act)
            child = yield ctx.child("k", kid, 7)
            yield ctx.step("b", act)
        except StepFailed:
            yield ctx.rollback()
            raise
        return child

    with Simulation([parent, kid], steps={"b": once_not()}) as sim:
        assert result_of(sim, parent) == 7


def test_a_child_whose_start_becomes_void_is_cancelled() -> None:
    @workflow(retry=TWICE)
    def parent(ctx: Context) -> Any:
        try:
            yield ctx.step("a", act).down(act)
            yield ctx.start("k", long_kid)
            yield ctx.step("b", act)
        except StepFailed:
            yield ctx.rollback()
            raise

    with Simulation([parent, long_kid], steps={"b": once_not()}) as sim:
        handle = sim.start(parent)
        assert sim.settle(handle)
        sim.advance(60)
        statuses = [tree.execution.status for tree in sim.engine.execution_tree(handle).children]
        assert statuses == ["cancelled", "cancelled"]  # the first by the retry, the second by its parent's end


def test_children_stay_children_when_their_parent_continues_as_new() -> None:
    @workflow
    def parent(ctx: Context, n: int) -> Any:
        if n == 0:
            yield ctx.start("k", long_kid)
            return ctx.continue_as_new(1)
        yield ctx.sleep(10)

    with Simulation([parent, long_kid]) as sim:
        handle = sim.start(parent, 0)
        assert sim.settle(handle)
        assert sim.now() < 1767225600 + 100
        sim.run()
        (child,) = sim.engine.execution_tree(handle).children
        assert child.execution.status == "cancelled"


@pytest.mark.parametrize("how", ["race", "all", "close"])
def test_a_child_that_nobody_waits_for_any_more_is_cancelled_at_once(how: str) -> None:
    @workflow
    def parent(ctx: Context) -> Any:
        if how == "race":
            yield ctx.race(child=ctx.child("k", long_kid), time=ctx.sleep(1))
        elif how == "all":
            try:
                yield ctx.all(ctx.child("k", long_kid), ctx.step("no", act))
            except StepFailed:
                pass
        else:
            yield ctx.start("k", long_kid)
            yield ctx.start("other", kid, 1, on_parent_close="wait")
            return
        yield ctx.sleep(500)

    with Simulation([parent, long_kid, kid], steps={"no": fails(ValueError)}) as sim:
        handle = sim.start(parent)
        sim.advance(3)
        children = [tree.execution for tree in sim.engine.execution_tree(handle).children]
        assert [c.status for c in children if c.workflow == "long_kid"] == ["cancelled"]
        assert handle.status() == "sleeping"


# --- retries of the workflow (I9, I19) ------------------------------------------------------------------------


@workflow(retry=TWICE)
def receiving(ctx: Context) -> Any:
    got = []
    try:
        yield ctx.step("a", act).down(act)
        got.append((yield ctx.wait_for_signal("go")))
        yield ctx.step("b", act)
        got.append((yield ctx.wait_for_signal("go")))
    except StepFailed:
        yield ctx.rollback()
        raise
    return got


@pytest.mark.parametrize("cache_size", [0, 10])
def test_a_signal_whose_receipt_becomes_void_is_received_again_in_its_order(cache_size: int) -> None:
    with Simulation([receiving], steps={"b": once_not()}, cache_size=cache_size) as sim:
        handle = sim.start(receiving)
        for payload in (1, 2):
            sim.signal(handle, "go", payload)
        assert sim.settle(handle)
        assert handle.result() == [1, 2]
        assert kinds(sim, handle).count("SignalReceived") == 3


def test_no_message_makes_the_next_attempt_begin_early_and_the_timeout_holds_meanwhile() -> None:
    @workflow(retry=Retry(attempts=3, initial=60, jitter=0), timeout=90)
    def failing(ctx: Context) -> Any:
        yield ctx.step("no", act)

    with Simulation([failing], steps={"no": fails(ValueError)}) as sim:
        handle = sim.start(failing)
        sim.run()
        sim.signal(handle, "go")
        sim.run()
        assert handle.status() == "retrying"
        assert len(sim.executed) == 1
        sim.advance(60)
        assert len(sim.executed) == 2
        sim.advance(29)
        assert handle.status() == "retrying"
        sim.advance(1)
        assert handle.status() == "failed"
        assert isinstance(sim.engine.get_execution(handle).error, TimeoutError)


def test_an_operators_retry_gives_an_execution_that_timed_out_its_time_again() -> None:
    @workflow(timeout=10)
    def slow(ctx: Context) -> Any:
        return (yield ctx.wait_for_signal("go"))

    with Simulation([slow]) as sim:
        handle = sim.start(slow)
        sim.advance(11)
        assert handle.status() == "failed"
        sim.engine.operator.retry(handle)
        sim.run()
        assert handle.status() == "sleeping"
        sim.signal(handle, "go", 1)
        sim.run()
        assert handle.result() == 1


def test_an_error_of_the_workflows_own_is_not_retried_whatever_failed_before() -> None:
    @workflow(retry=Retry(attempts=3, initial=1))
    def own(ctx: Context) -> Any:
        for _ in range(20):
            try:
                yield ctx.step("no", act)
            except StepFailed:
                pass
        raise LookupError("mine")

    with Simulation([own], steps={"no": fails(ValueError)}) as sim:
        handle = sim.start(own)
        assert sim.settle(handle)
        assert sim.engine.get_execution(handle).attempt == 1


# --- ends that are not exceptions ---------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, Cancelled])
def test_code_that_exits_fails_its_execution_not_the_worker(error: Any, before: bool) -> None:
    @workflow
    def exiting(ctx: Context) -> Any:
        if before:
            raise error("out")
        yield ctx.step("a", act)
        raise error("out")

    with Simulation([exiting, kid]) as sim:
        handle = sim.start(exiting)
        assert sim.settle(handle)
        with pytest.raises(ExecutionFailed, match=r"raised .*out.*Fix: return"):
            handle.result()
        assert result_of(sim, kid, 1) == 1


def test_what_a_cleanup_raises_after_a_cancel_is_in_the_audit() -> None:
    @workflow
    def careless(ctx: Context) -> Any:
        try:
            yield ctx.sleep(60)
        except Cancelled:
            raise LookupError("cleanup") from None

    with Simulation([careless]) as sim:
        handle = sim.start(careless)
        sim.run()
        sim.cancel(handle)
        sim.run()
        assert handle.status() == "cancelled"
        end = sim.engine.operator.detail(handle).audit[-1]
        assert isinstance(end, e.ExecutionClosed)
        assert isinstance(end.error, LookupError)


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@pytest.mark.parametrize("how", ["switch", "yield", "step"])
def test_values_that_cannot_be_shown_do_not_stick_an_execution(how: str) -> None:
    @workflow
    def odd(ctx: Context) -> Any:
        if how == "switch":
            yield ctx.switch("s", Unshowable(), [Branch("a", 1)])
        elif how == "yield":
            yield Unshowable()  # type: ignore[misc]
        else:
            yield ctx.step("s", Unshowable())  # type: ignore[arg-type]

    with Simulation([odd]) as sim:
        handle = sim.start(odd)
        assert sim.settle(handle)
        assert handle.status() == "failed"


# --- ids, steps and what operators see -------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [("ship", "ship#2", "ship"), ("ship", "ship", "ship#2"), ("ship#2", "ship", "ship")])
def test_no_two_steps_get_one_id_or_token(ids: tuple[str, ...]) -> None:
    tokens: list[str] = []

    def note() -> str:
        tokens.append(current_step().token)
        return current_step().id

    @workflow
    def shipping(ctx: Context) -> Any:
        got = []
        for id in ids:
            got.append((yield ctx.step(id, note)))
        yield ctx.sleep(60)
        return got

    with Simulation([shipping], cache_size=0) as sim:
        assert len(set(result_of(sim, shipping))) == 3
    assert len(set(tokens)) == 3


def test_an_at_most_once_step_is_not_begun_by_a_worker_that_drains() -> None:
    @workflow
    def careful(ctx: Context) -> Any:
        yield ctx.step("a", act)
        return (yield ctx.step("once", act, 1).at_most_once())

    store, codec = MemoryStore(VirtualClock()), TaggedJson()
    store.apply([r.Create("x", "careful", b"null")])

    def worker() -> Worker:
        return Worker(store, [careful], WorkerOptions(), codec=codec, clock=VirtualClock())

    first, second = worker(), worker()
    (call,) = first.turn().calls
    first.drain()
    first.post(run_call(call, codec, 1000))
    first.turn()
    assert first.drained
    (call,) = second.turn().calls
    assert call.id == "once"
    second.post(run_call(call, codec, 1000))
    second.turn()
    (header,) = store.apply([r.Get("x")])
    assert (header.status, header.result) == ("completed", b"1")


def test_what_runs_is_told_to_operators_within_moments_and_never_what_ran_before() -> None:
    @workflow
    def working(ctx: Context) -> Any:
        yield ctx.sleep(60)
        yield ctx.step("one", act)
        yield ctx.step("two", act)

    with Simulation([working], steps={"one": takes(0.2), "two": takes(500)}) as sim:
        handle = sim.start(working)
        sim.run()
        sim.advance(61.5)
        (where,) = sim.engine.get_execution(handle).current
        assert (where["kind"], where["id"]) == ("step", "two")


def test_what_a_body_said_last_is_found_by_its_repetition_after_its_process_died() -> None:
    found: list[Any] = []

    def body() -> str:
        found.append(current_step().details)
        current_step().heartbeat({"rows": len(found) * 10})
        return "done"

    @workflow
    def beating(ctx: Context) -> Any:
        return (yield ctx.step("copy", body))

    with Simulation([beating], steps={"copy": lambda call: Takes(100, call.fn())}) as sim:
        handle = sim.start(beating)
        sim.advance(5)
        sim.crash_in(1, before=True)
        assert sim.settle(handle)
    assert found == [None, {"rows": 10}]


def test_generated_ids_and_receipts_survive_a_crash_at_every_point() -> None:
    assert assert_recovers(receiving, signals=[("go", 1), ("go", 2)], steps={"b": once_not()}) > 10


def test_whoever_starts_a_workflow_its_executions_have_its_metadata_and_priority() -> None:
    @workflow(metadata={"team": "red", "tags": [1, None]}, priority=7)
    def started(ctx: Context) -> Any:
        yield ctx.sleep(1)

    @workflow
    def parent(ctx: Context) -> Any:
        yield ctx.start("by its own id", started, on_parent_close="abandon")
        yield ctx.start("by key", started, idempotency_key="k", on_parent_close="abandon")

    with Simulation([parent, started]) as sim:
        sim.start(parent)
        sim.start(started)
        sim.engine.ensure_schedule(started, id="hourly", interval=3600)
        sim.advance(hours=1)
        found = sim.engine.find_executions(workflow=started, metadata={"team": "red", "tags": [1, None]}).items
    assert [execution.priority for execution in found] == [7] * 4
    assert sum("schedule" in execution.metadata for execution in found) == 1
