"""Operator actions: each does what the docs say, or refuses; on every status; written to the log."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from replay import (
    Cancelled,
    Context,
    Engine,
    ExecutionEnded,
    Operator,
    OperatorRefused,
    PayloadTooLarge,
    ReservedId,
    Retry,
    StepFailed,
    workflow,
)
from replay.backends.memory import MemoryStore
from replay.cli.timeline import describe_wait
from replay.core import entries as e
from replay.core import requests as r
from replay.testing import Simulation, fails, hangs, takes
from replay.testing.simulation.clock import VirtualClock


class Busy(Exception):
    pass


broken = [True]
changed = [False]
undone: list[Any] = []


def act(value: Any = None) -> Any:
    return value


def pay() -> str:
    if broken[0]:
        raise Busy
    return "paid"


def undo(value: Any) -> None:
    if broken[0] and value == "stubborn":
        raise Busy
    undone.append(value)


@workflow
def order(ctx: Context, kind: str) -> Any:
    first = yield ctx.step("first", act, "a").down(undo)
    if changed[0]:
        yield ctx.step("new", act)
    if kind == "sleep":
        yield ctx.sleep(1000)
    try:
        second = yield ctx.step("pay", pay)
    except StepFailed:
        if kind in ("rollback", "stubborn"):
            yield ctx.step("second", act, kind).down(undo)
            yield ctx.rollback()
        raise
    third = yield ctx.step("third", act, "c")
    return first, second, third


@pytest.fixture(autouse=True)
def _reset() -> None:
    broken[0], changed[0] = True, False
    undone.clear()


def failed(kind: str, status: str = "failed") -> tuple[Simulation, Any]:
    sim = Simulation([order])
    handle = sim.start(order, kind)
    sim.run()
    assert handle.status() == status
    return sim, handle


def ran(sim: Simulation) -> list[str]:
    return [id for _, id, _ in sim.executed]


def test_retry_runs_the_failed_command_again_and_keeps_what_is_recorded() -> None:
    sim, handle = failed("plain")
    broken[0] = False
    sim.engine.operator.retry(handle, "provider is back")
    sim.run()
    assert handle.result() == ("a", "paid", "c")
    assert ran(sim) == ["first", "pay", "pay", "third"]
    audit = sim.engine.detail(handle).audit
    assert any(isinstance(entry, e.Retried) and entry.why == "provider is back" and entry.by for entry in audit)


def test_retry_after_a_rollback_runs_the_rolled_back_steps_again() -> None:
    sim, handle = failed("rollback")
    assert undone == ["rollback", "a"]
    broken[0] = False
    sim.engine.operator.retry(handle)
    sim.run()
    assert handle.result() == ("a", "paid", "c")
    assert ran(sim)[-3:] == ["first", "pay", "third"]


def test_retry_rollback_undoes_only_what_is_still_to_be_undone_and_ships_nothing() -> None:
    sim, handle = failed("stubborn", "compensation_failed")
    assert undone == []
    with pytest.raises(OperatorRefused):
        sim.engine.operator.retry(handle)
    broken[0] = False
    sim.engine.operator.retry_rollback(handle)
    sim.run()
    assert handle.status() == "failed"
    assert undone == ["stubborn", "a"]
    assert "third" not in ran(sim)


def test_skip_step_gives_the_failed_step_a_result() -> None:
    sim, handle = failed("plain")
    with pytest.raises(OperatorRefused):
        sim.engine.operator.skip_step(handle, "first")
    sim.engine.operator.skip_step(handle, "pay", "by hand")
    sim.run()
    assert handle.result() == ("a", "by hand", "c")
    assert ran(sim) == ["first", "pay", "third"]


def test_skip_step_helps_an_execution_out_of_a_step_that_hangs() -> None:
    with Simulation([order], steps={"pay": hangs()}) as sim:
        handle = sim.start(order, "plain")
        sim.advance(seconds=5)
        sim.engine.operator.skip_step(handle, "pay", "by hand")
        sim.advance(seconds=5)
        assert handle.result() == ("a", "by hand", "c")


def test_edit_step_result_is_refused_where_later_entries_used_it() -> None:
    broken[0] = False
    with Simulation([order], cache_size=100) as sim:
        handle = sim.start(order, "sleep")
        sim.run()
        sim.engine.operator.edit_step_result(handle, "first", "edited", "wrong amount")
        sim.advance(seconds=1001)
        assert handle.result() == ("edited", "paid", "c")
        with pytest.raises(OperatorRefused):
            sim.engine.operator.edit_step_result(handle, "first", "again")


def test_fork_begins_a_new_execution_with_a_part_of_the_log() -> None:
    sim, handle = failed("plain")
    broken[0] = False
    forked = sim.handle(sim.engine.operator.fork(handle, before="pay").id)
    sim.run()
    assert forked.result() == ("a", "paid", "c")
    assert ran(sim) == ["first", "pay", "pay", "third"]
    assert handle.status() == "failed"
    with pytest.raises(OperatorRefused):
        sim.engine.operator.fork(handle, before="nothing")


def test_force_fail_ends_at_once_and_the_worker_is_fenced() -> None:
    with Simulation([order], steps={"pay": hangs()}) as sim:
        handle = sim.start(order, "plain")
        sim.run()
        sim.engine.operator.force_fail(handle, "enough")
        sim.advance(seconds=5)
        assert handle.status() == "failed"
        assert "enough" in str(sim.engine.get_execution(handle).error)


def test_stuck_lists_what_does_not_go_on_by_itself() -> None:
    sim, handle = failed("stubborn", "compensation_failed")
    found = sim.engine.operator.stuck()
    assert [(s.execution.id, s.reason) for s in found] == [(handle.id, "compensation_failed")]
    with Simulation([order], workers=0) as idle:
        waiting = idle.start(order, "plain")
        idle.clock.move_to(idle.now() + 100)
        assert [(s.execution.id, s.reason) for s in idle.engine.operator.stuck()] == [(waiting.id, "unknown_workflow")]


@workflow
def patient(ctx: Context) -> Any:
    yield ctx.step("first", act, "a").down(undo)
    yield ctx.step("pay", pay).retry(5)


def in_status(status: str) -> tuple[Simulation, Any]:
    """Return an execution in *status*."""
    match status:
        case "pending":
            sim = Simulation([order], workers=0)
            return sim, sim.start(order, "plain")
        case "running":
            sim = Simulation([order], steps={"pay": hangs()})
        case "cancelling":
            sim = Simulation([order], steps={"pay": hangs()})
            handle = sim.start(order, "plain")
            sim.run()
            sim.cancel(handle)
            sim.run()
            return sim, handle
        case "sleeping":
            sim = Simulation([order])
            handle = sim.start(order, "sleep")
            sim.run()
            return sim, handle
        case "stuck":
            sim = Simulation([order], cache_size=0)
            handle = sim.start(order, "sleep")
            sim.run()
            changed[0] = True
            sim.advance(seconds=1001)
            return sim, handle
        case "retrying":
            sim = Simulation([patient])
            handle = sim.start(patient)
            sim.run()
            return sim, handle
        case "completed":
            broken[0] = False
            sim = Simulation([order])
        case "failed":
            sim = Simulation([order])
        case "cancelled":
            sim = Simulation([order], workers=0)
            handle = sim.start(order, "plain")
            sim.cancel(handle)
            return sim, handle
        case _:
            return failed("stubborn", "compensation_failed")
    handle = sim.start(order, "plain")
    sim.run()
    return sim, handle


STATUSES = [
    "pending",
    "running",
    "cancelling",
    "sleeping",
    "retrying",
    "completed",
    "failed",
    "cancelled",
    "compensation_failed",
    "stuck",
]
TAKES = {
    "cancel": {"pending", "running", "cancelling", "sleeping", "retrying", "stuck"},
    "force_fail": {"pending", "running", "cancelling", "sleeping", "retrying", "stuck"},
    "retry": {"failed", "stuck"},
    "retry_rollback": {"compensation_failed"},
    "delete": {"completed", "failed", "cancelled", "compensation_failed"},
    "skip_step": {"running", "retrying", "failed"},
    "edit_step_result": {"sleeping", "stuck"},
    "fork": set(STATUSES),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("action", list(TAKES))
def test_every_action_on_every_status_works_or_is_refused(action: str, status: str) -> None:
    sim, handle = in_status(status)
    assert handle.status() == status
    operator = sim.engine.operator
    calls = {
        "cancel": lambda: operator.cancel(handle, "why"),
        "force_fail": lambda: operator.force_fail(handle, "why"),
        "retry": lambda: operator.retry(handle),
        "retry_rollback": lambda: operator.retry_rollback(handle),
        "delete": lambda: operator.delete(handle),
        "skip_step": lambda: operator.skip_step(handle, "pay"),
        "edit_step_result": lambda: operator.edit_step_result(handle, "first", "x"),
        "fork": lambda: operator.fork(handle),
    }
    if action == "edit_step_result" and status in ("running", "cancelling"):
        calls[action]()  # the step is recorded, and nothing later used it
        return
    if action == "skip_step" and status == "running":
        sim.advance(seconds=1)  # where a running execution is becomes known with its next heartbeat
    if status in TAKES[action]:
        calls[action]()
    else:
        with pytest.raises(ExecutionEnded if action == "cancel" else OperatorRefused):
            calls[action]()
        assert handle.status() == status
    sim.close()


CLOCK = 100.0
"""Seconds that pass before `stuck()` is asked: longer than a lease and than what counts as overdue."""


def lonely() -> tuple[Engine, MemoryStore, VirtualClock]:
    """Return an engine without workers over a store of which the tests play the workers."""
    clock = VirtualClock()
    store = MemoryStore(clock)
    return Engine(store, workflows=[order], clock=clock), store, clock


def reasons(engine: Engine) -> list[str]:
    return [found.reason for found in engine.operator.stuck()]


def test_stuck_lists_what_no_living_worker_serves_what_nobody_takes_and_whose_worker_fell_silent() -> None:
    engine, store, clock = lonely()
    engine.start(order, "plain", id="x")
    clock.move_to(clock.now() + CLOCK)
    assert reasons(engine) == ["unknown_workflow"]
    store.apply([r.Register(r.WorkerRow("w", b'{"workflows":[{"key":"order","version":""}]}'), 1e6)])
    assert reasons(engine) == ["overdue"]
    store.apply([r.Claim("n", "w", ("default",), (("order", ""),), 1, 30.0)])
    assert reasons(engine) == []
    clock.move_to(clock.now() + CLOCK)
    assert reasons(engine) == ["expired"]


def test_stuck_lists_what_kills_its_workers() -> None:
    engine, store, clock = lonely()
    engine.start(order, "plain", id="x")
    for number in range(r.MAX_LOST + 1):
        store.apply([r.Claim(f"n{number}", "w", ("default",), (("order", ""),), 1, 30.0)])
        clock.move_to(clock.now() + 31)
    assert reasons(engine) == ["crash_loop"]


def test_stuck_lists_what_no_longer_fits_its_code_and_shows_both_sides() -> None:
    sim, handle = in_status("stuck")
    (found,) = sim.engine.operator.stuck()
    assert (found.execution.id, found.reason) == (handle.id, "diverged")
    assert "'new'" in found.message
    sim.close()


def test_stuck_lists_what_cannot_be_decoded() -> None:
    with Simulation([order], cache_size=0) as sim:
        handle = sim.start(order, "sleep")
        sim.run()
        sim.store._executions[handle.id].log[1] = b"damaged"  # type: ignore[attr-defined]
        sim.advance(seconds=1001)
        assert [found.reason for found in sim.engine.operator.stuck()] == ["undecodable"]
        audit = sim.engine.detail(handle).audit
        assert [type(entry).__name__ for entry in audit] == ["AttemptStarted", "Unreadable", "TimerSet"], (
            "the rest is shown"
        )


def test_a_failed_step_is_retried_by_fails_stub_for_the_table_above() -> None:
    with Simulation([order], steps={"pay": fails(Busy)}) as sim:
        handle = sim.start(order, "plain")
        sim.run()
        assert handle.status() == "failed"


# --- money -----------------------------------------------------------------------------------------------------


def check() -> str:
    if broken[0]:
        raise Busy
    return "fine"


@workflow
def shop(ctx: Context) -> Any:
    yield ctx.step("price", act, "price")
    paid = yield ctx.step("charge", act, "charge").down(undo)
    try:
        yield ctx.step("check", check)
    except StepFailed:
        yield ctx.rollback()
        raise
    return (yield ctx.step("ship", act, ["ship", paid]))


def test_a_fork_does_not_take_a_refunded_charge_for_a_charge() -> None:
    with Simulation([shop]) as sim:
        handle = sim.start(shop)
        sim.run()
        assert (handle.status(), undone) == ("failed", ["charge"])
        broken[0] = False
        forked = sim.handle(sim.engine.operator.fork(handle, before="check").id)
        sim.run()
        assert forked.result() == ["ship", "charge"]
        assert [id for id in ran(sim) if id in ("price", "charge")] == ["price", "charge", "charge"]


@workflow
def retrying(ctx: Context) -> Any:
    paid = yield ctx.step("pay", pay).retry(Retry(attempts=3, initial=10.0, jitter=0.0))
    return paid, (yield ctx.step("third", act, "c"))


@workflow
def members(ctx: Context) -> Any:
    both = yield ctx.all(ctx.step("bad", pay), ctx.step("good", act, "good"))
    return both, (yield ctx.step("after", act, "after"))


def test_a_fork_takes_results_as_an_operator_edited_and_voided_them_and_keeps_the_stored_bytes() -> None:
    with Simulation([order, members], steps={"1/good": takes(5, "good")}, cache_size=0) as sim:
        operator = sim.engine.operator
        handle, parallel = sim.start(order, "sleep"), sim.start(members)
        sim.run()
        operator.edit_step_result(handle, "first", "edited")
        sim.advance(seconds=1001)
        assert (handle.status(), parallel.status()) == ("failed", "failed")
        broken[0] = False
        for before in ("sleep", "pay"):  # the edit came later than the first, and earlier than the second
            forked = sim.handle(operator.fork(handle, before=before).id)
            sim.advance(seconds=1001)
            assert forked.result() == ("edited", "paid", "c")
            mine, other = (sim.engine.ask(r.Load(each.id)) for each in (forked, handle))
            assert mine[:2] == other[:2]
        operator.retry(parallel)
        sim.run()
        assert parallel.status() == "completed"
        forked = sim.handle(operator.fork(parallel, before="1/good").id)
        sim.advance(seconds=10)
        assert forked.result() == (("paid", "good"), "after")


def test_a_fork_of_what_was_cancelled_goes_on_and_keeps_the_time_it_may_take() -> None:
    broken[0] = False
    with Simulation([order]) as sim:
        handle = sim.start(order, "sleep", timeout=5000)
        sim.run()
        sim.cancel(handle)
        sim.run()
        assert handle.status() == "cancelled"
        sim.advance(seconds=600)
        forked = sim.handle(sim.engine.operator.fork(handle).id)
        sim.run()
        header = sim.engine.ask(r.Get(forked.id))
        assert header is not None
        assert (header.status, header.deadline) == ("sleeping", header.created_at + 5000)
        sim.advance(seconds=1001)
        assert forked.result() == ("a", "paid", "c")


def test_a_retry_of_what_ran_out_of_time_gives_it_time_again() -> None:
    broken[0] = False
    with Simulation([order]) as sim:
        handle = sim.start(order, "sleep", timeout=500)
        sim.advance(seconds=501)
        assert handle.status() == "failed"
        sim.engine.operator.retry(handle)
        sim.advance(seconds=1001)
        assert handle.result() == ("a", "paid", "c")
        assert ran(sim) == ["first", "pay", "third"]


@workflow
def impatient(ctx: Context) -> Any:
    paid = yield ctx.step("charge", act, "charge").down(undo)
    try:
        yield ctx.sleep(1000)
    except Cancelled:
        yield ctx.rollback()
        raise
    return (yield ctx.step("ship", act, ["ship", paid]))


def test_a_retry_after_a_timeout_that_was_rolled_back_runs_the_refunded_charge_again() -> None:
    broken[0] = False
    with Simulation([impatient]) as sim:
        handle = sim.start(impatient, timeout=500)
        sim.advance(seconds=501)
        assert (handle.status(), undone) == ("failed", ["charge"])
        sim.engine.operator.retry(handle)
        sim.advance(seconds=1001)
        assert handle.result() == ["ship", "charge"]
        assert ran(sim) == ["charge", "rollback:charge", "charge", "ship"]


@workflow
def parent(ctx: Context) -> Any:
    return (yield ctx.child("child", order, "plain"))


def test_a_child_that_was_repaired_by_itself_gives_its_result_to_a_parent_that_is_retried() -> None:
    with Simulation([order, parent]) as sim:
        handle = sim.start(parent)
        sim.run()
        (child,) = sim.engine.find_executions(parent=handle)
        assert (handle.status(), child.status) == ("failed", "failed")
        broken[0] = False
        sim.engine.operator.retry(child.id)
        sim.run()
        sim.engine.operator.retry(handle)
        sim.run()
        assert handle.result() == ("a", "paid", "c")
        assert ran(sim).count("first") == 1


def test_skip_step_goes_by_the_log_not_by_what_was_last_shown() -> None:
    with Simulation(
        [retrying], steps={"pay": fails(Busy, times=1, then="paid"), "third": hangs()}, cache_size=0
    ) as sim:
        handle = sim.start(retrying)
        sim.run()
        assert handle.status() == "retrying"
        sim.advance(seconds=11)
        assert handle.status() == "running"
        with pytest.raises(OperatorRefused, match="answered already"):
            sim.engine.operator.skip_step(handle, "pay", "twice")
        sim.advance(seconds=10)
        sim.engine.operator.skip_step(handle, "third", "by hand")
        sim.advance(seconds=10)
        assert handle.result() == ("paid", "by hand")
        assert sim.engine.get_execution(handle).attempt == 1, "it has not failed"


def test_a_step_that_is_tried_again_and_again_can_be_skipped_while_it_runs() -> None:
    with Simulation([retrying], steps={"pay": fails(Busy, times=1, then=hangs())}, cache_size=0) as sim:
        handle = sim.start(retrying)
        sim.advance(seconds=11)
        sim.engine.operator.skip_step(handle, "pay", "by hand")
        sim.run()
        assert handle.result() == ("by hand", "c")


def test_skip_step_is_refused_where_earlier_steps_were_rolled_back() -> None:
    sim, handle = failed("rollback")
    with pytest.raises(OperatorRefused, match=r"'first' .* was rolled back"):
        sim.engine.operator.skip_step(handle, "pay")
    assert handle.status() == "failed"


def test_values_given_by_hand_are_held_to_the_payload_limit() -> None:
    broken[0] = False
    clock = VirtualClock()
    with Simulation([order]) as sim:
        handle = sim.start(order, "sleep")
        sim.run()
        operator = Operator(Engine(sim.store, clock=clock, payload_limit=10))
        with pytest.raises(PayloadTooLarge):
            operator.edit_step_result(handle.id, "first", "a result that is too long")
        with pytest.raises(PayloadTooLarge):
            operator.skip_step(handle.id, "first", "a result that is too long")


def test_bulk_reports_what_ended_or_is_gone_meanwhile_and_goes_on() -> None:
    sim, gone = failed("plain")
    done, other = sim.start(order, "plain"), sim.start(order, "plain")
    sim.run()
    operator = sim.engine.operator
    found = sim.engine.find_executions().items
    operator.delete(gone, "test")
    refused: list[tuple[str, str]] = []
    count = operator.bulk(operator.retry, found, on_refusal=lambda id, why: refused.append((id, type(why).__name__)))
    assert (count, refused) == (2, [(gone.id, "UnknownExecution")])
    sim.run()
    assert {done.status(), other.status()} == {"failed"}
    assert operator.bulk(operator.cancel, found[:1], on_refusal=lambda id, why: refused.append((id, str(why)))) == 0
    assert len(refused) == 2


def test_what_no_log_can_tell_any_more_is_told_to_the_audit_logger(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "replay.audit")
    sim, handle = failed("plain")
    Operator(sim.engine, by="ann").delete(handle, "asked to")
    (record,) = [each for each in caplog.records if each.name == "replay.audit"]
    fields = record.__dict__
    assert [fields[name] for name in ("action", "execution_id", "by", "why")] == [
        "delete",
        handle.id,
        "ann",
        "asked to",
    ]


def test_a_status_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with Simulation([order]) as sim, pytest.raises(ValueError, match=r"'nope' is not a status.*compensation_failed"):
        sim.engine.find_executions(status="nope")


def test_a_priority_does_not_make_an_execution_look_overdue() -> None:
    with Simulation([order], workers=0) as sim:
        sim.start(order, "plain", priority=9)
        sim.advance(59)
        assert sim.engine.operator.stuck() == ()
        sim.advance(3601)
        (stuck,) = sim.engine.operator.stuck()
        assert stuck.reason == "unknown_workflow"
        assert "due for 3660 s" in stuck.message


def test_a_fork_does_not_pass_for_an_execution_that_exists_already() -> None:
    with Simulation([order]) as sim:
        first, other = sim.start(order, "sleep"), sim.start(order, "plain")
        sim.run()
        for taken in (first.id, other.id):
            with pytest.raises(OperatorRefused, match=rf"'{taken}' exists already. Fix: choose another id"):
                sim.engine.operator.fork(first, id=taken)
        with pytest.raises(ReservedId, match="is not allowed"):
            sim.engine.operator.fork(first, id="copy of it")
        assert sim.engine.operator.fork(first, id="copy").id == "copy"


def test_a_fork_whose_answer_was_lost_is_not_refused_as_its_own_double() -> None:
    class Deaf(MemoryStore):
        def apply(self, requests: Any) -> Any:
            if any(isinstance(request, r.Create) and request.entries for request in requests):
                super().apply(requests)  # and the answer is lost: it is asked again
            return super().apply(requests)

    with Engine(Deaf(VirtualClock()), workflows=[order]) as engine:
        first = engine.start(order, "sleep")
        assert engine.operator.fork(first, id="copy").status() == "pending"


def test_filters_that_cannot_hold_find_nothing_and_those_of_another_type_are_refused() -> None:
    with Simulation([order]) as sim:
        sim.start(order, "plain")
        engine = sim.engine
        assert len(engine.find_executions()) == 1
        assert engine.find_executions(status=[]).items == ()
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"limit": 2.5}, "whole number"),
            ({"limit": "5"}, "whole number"),
            ({"limit": True}, "whole number"),
            ({"workflow": pay}, "decorated with @workflow"),
            ({"id_prefix": 5}, "id_prefix is a text"),
            ({"cursor": 5}, "cursor is a text"),
        ]
        for filters, refusal in wrong:
            with pytest.raises((TypeError, ValueError), match=refusal):
                engine.find_executions(**filters)
        with pytest.raises(TypeError, match="decorated with @workflow"):
            engine.count_executions(workflow=pay)  # type: ignore[arg-type]


@workflow(retry=Retry(attempts=2, initial=50.0, jitter=0.0))
def again(ctx: Context) -> Any:
    yield ctx.step("pay", pay)


@workflow
def waits_a_day(ctx: Context) -> Any:
    yield ctx.wait_for_signal("go", timeout=86_400)


def test_where_an_execution_is_tells_when_what_it_waits_for_is_due_also_between_two_attempts() -> None:
    with Simulation([again, waits_a_day], start=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)) as sim:
        pausing, waiting = sim.start(again), sim.start(waits_a_day)
        sim.run()
        (now,) = sim.engine.detail(pausing.id).execution.current
        assert now == {"kind": "attempt", "attempt": 2, "due": sim.now() + 50.0}
        assert describe_wait(now) == "waits for attempt 2, due 2026-01-01 00:00:50"
        (now,) = sim.engine.detail(waiting.id).execution.current
        assert describe_wait(now).endswith(", due 2026-01-02 00:00:00")
        sim.advance(seconds=51)
        assert (pausing.status(), sim.engine.get_execution(pausing.id).current) == ("failed", [])
