"""Operator actions: each does what the docs say, or refuses; on every status; written to the log."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Context, Engine, ExecutionEnded, OperatorRefused, StepFailed, workflow
from replay.backends.memory import MemoryStore
from replay.core import entries as e
from replay.core import requests as r
from replay.testing import Simulation, fails, hangs
from replay.testing.clock import VirtualClock


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
    "completed",
    "failed",
    "cancelled",
    "compensation_failed",
    "stuck",
]
TAKES = {
    "cancel": {"pending", "running", "cancelling", "sleeping", "stuck"},
    "force_fail": {"pending", "running", "cancelling", "sleeping", "stuck"},
    "retry": {"failed", "stuck"},
    "retry_rollback": {"compensation_failed"},
    "delete": {"completed", "failed", "cancelled", "compensation_failed"},
    "skip_step": {"running", "failed"},
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


def test_a_failed_step_is_retried_by_fails_stub_for_the_table_above() -> None:
    with Simulation([order], steps={"pay": fails(Busy)}) as sim:
        handle = sim.start(order, "plain")
        sim.run()
        assert handle.status() == "failed"
