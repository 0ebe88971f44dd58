"""Operator actions: each does what the docs say, or refuses; on every status; written to the log."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from replay import Context, Engine, ExecutionEnded, Operator, OperatorRefused, PayloadTooLarge, Retry, workflow
from replay.cli.timeline import describe_wait
from replay.core import entries as e
from replay.testing import Simulation, fails, hangs
from replay.testing.simulation.clock import VirtualClock
from tests.sim.operated import Busy, broken, changed, failed, in_status, order, pay, ran, undone


@pytest.fixture(autouse=True)
def _reset() -> None:
    broken[0], changed[0] = True, False
    undone.clear()


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


def test_a_failed_step_is_retried_by_fails_stub_for_the_table_above() -> None:
    with Simulation([order], steps={"pay": fails(Busy)}) as sim:
        handle = sim.start(order, "plain")
        sim.run()
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
