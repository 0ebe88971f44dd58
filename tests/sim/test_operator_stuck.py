"""`operator.stuck()` lists whatever does not go on by itself, and says why."""

from __future__ import annotations

import pytest

from replay import Engine
from replay.backends.memory import MemoryStore
from replay.core import requests as r
from replay.testing import Simulation
from replay.testing.simulation.clock import VirtualClock
from tests.sim.operated import broken, changed, failed, in_status, order, undone


@pytest.fixture(autouse=True)
def _reset() -> None:
    broken[0], changed[0] = True, False
    undone.clear()


def test_stuck_lists_what_does_not_go_on_by_itself() -> None:
    sim, handle = failed("stubborn", "compensation_failed")
    found = sim.engine.operator.stuck()
    assert [(s.execution.id, s.reason) for s in found] == [(handle.id, "compensation_failed")]
    with Simulation([order], workers=0) as idle:
        waiting = idle.start(order, "plain")
        idle.clock.move_to(idle.now() + 100)
        assert [(s.execution.id, s.reason) for s in idle.engine.operator.stuck()] == [(waiting.id, "unknown_workflow")]


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


def test_a_priority_does_not_make_an_execution_look_overdue() -> None:
    with Simulation([order], workers=0) as sim:
        sim.start(order, "plain", priority=9)
        sim.advance(59)
        assert sim.engine.operator.stuck() == ()
        sim.advance(3601)
        (stuck,) = sim.engine.operator.stuck()
        assert stuck.reason == "unknown_workflow"
        assert "due for 3660 s" in stuck.message
