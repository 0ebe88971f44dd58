"""The ready rules of `WorkflowMachine` reach signals, cancels and interventions, and hold for correct workflows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from replay import Context, Signal, StepFailed, workflow
from replay.testing import WorkflowMachine, fails

pytestmark = pytest.mark.slow

Go = Signal("go", int)
Other = Signal("other", str)
SETTINGS = settings(max_examples=40, stateful_step_count=20, database=None, derandomize=True, deadline=None)


def act(*args: Any) -> int:
    return 1


@workflow
def unlisted(ctx: Context) -> Iterator[Any]:
    yield ctx.step("act", act)
    return (yield ctx.wait_for_signal(Go)) + (yield ctx.wait_for_signal(Go))


@workflow(signals=[Other])
def listed(ctx: Context) -> Iterator[Any]:
    yield ctx.step("act", act)
    return (yield ctx.wait_for_signal(Other, timeout=60))


@workflow
def failing(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("act", act).down(act)
        yield ctx.sleep(5)
        yield ctx.step("fail", act)
    except StepFailed:
        yield ctx.rollback()
        raise


SEEN: set[str] = set()


class Ready(WorkflowMachine):
    workflows = (unlisted, listed, failing)
    steps = {"fail": fails(ValueError)}

    @rule()
    def begin(self) -> None:
        for flow in self.workflows:
            self.start(flow)

    @invariant()
    def look(self) -> None:
        for handle in getattr(self, "handles", ()):
            SEEN.add(f"{self.sim.engine.get_execution(handle).workflow} {handle.status()}")


class Intervened(Ready):
    interventions = True


class Uncancelled(Ready):
    cancels = False

    @invariant()
    def nothing_is_cancelled(self) -> None:
        assert all(handle.status() not in ("cancelled", "cancelling") for handle in getattr(self, "handles", ()))


def test_the_ready_rules_send_signals_and_cancel() -> None:
    SEEN.clear()
    run_state_machine_as_test(Ready, settings=SETTINGS)
    wanted = {
        "unlisted completed",
        "listed completed",
        "failing failed",
        "unlisted cancelled",
    }
    assert wanted <= SEEN, wanted - SEEN


def test_an_operator_intervenes_if_asked_to() -> None:
    SEEN.clear()
    run_state_machine_as_test(Intervened, settings=settings(SETTINGS, max_examples=15))
    assert "unlisted failed" in SEEN


def test_cancels_can_be_left_out() -> None:
    run_state_machine_as_test(Uncancelled, settings=settings(SETTINGS, max_examples=10))
