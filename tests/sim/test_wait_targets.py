"""A workflow waits neither for its own execution nor for one of another workflow than it names: refused at the yield."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Context, ExecutionFailed, Flow, WrongExecution, workflow
from replay.testing import Simulation, assert_recovers, assert_replay_equivalent


@workflow
def kid(ctx: Context) -> Flow[int]:
    yield ctx.sleep(1)
    return 1


@workflow
def other(ctx: Context) -> Flow[str]:
    yield ctx.sleep(1)
    return "other"


@workflow
def itself(ctx: Context) -> Flow[int]:
    return (yield from ctx.wait_for_execution(kid, ctx.execution_id))


@workflow
def itself_for_a_while(ctx: Context) -> Flow[Any]:
    return (yield from ctx.wait_for_execution(kid, ctx.execution_id, timeout=5))


@workflow
def itself_as_a_member(ctx: Context) -> Flow[Any]:
    return (yield from ctx.all(ctx.wait_for_execution(kid, ctx.execution_id), ctx.sleep(1)))


@workflow("joins", version="1")
def joins_itself(ctx: Context) -> Flow[Any]:
    return (yield from ctx.child("again", joins_itself, None, idempotency_key="one"))


@workflow
def awaits(ctx: Context, id: str) -> Flow[int]:
    return (yield from ctx.wait_for_execution(kid, id))


@workflow
def awaits_for_a_while(ctx: Context, id: str) -> Flow[Any]:
    return (yield from ctx.wait_for_execution(kid, id, timeout=60))


@workflow
def awaits_in_a_race(ctx: Context, id: str) -> Flow[Any]:
    return (yield from ctx.race(it=ctx.wait_for_execution(kid, id), late=ctx.sleep(100)))


@workflow
def mixes_children_up(ctx: Context) -> Flow[int]:
    yield ctx.start("a", kid)
    wrong = yield from ctx.start("b", other)
    return (yield from ctx.wait_for_execution(kid, wrong))


@workflow
def catches(ctx: Context, id: str) -> Flow[str]:
    try:
        yield from ctx.wait_for_execution(kid, id)
    except WrongExecution as error:
        return str(error)
    return "none"


@workflow
def lets_a_child_wait(ctx: Context) -> Flow[str]:
    wrong = yield from ctx.start("b", other)
    return (yield from ctx.child("c", catches, wrong))


FLOWS = [
    kid, other, itself, itself_for_a_while, itself_as_a_member, joins_itself, awaits, awaits_for_a_while, awaits_in_a_race,
    mixes_children_up, catches, lets_a_child_wait,
]  # fmt: skip


@pytest.mark.parametrize("flow", [itself, itself_for_a_while, itself_as_a_member], ids=lambda flow: flow.key)
def test_a_wait_for_itself_is_refused(flow: Any) -> None:
    with Simulation(FLOWS) as sim:
        handle = sim.start(flow)
        sim.run()
        with pytest.raises(ExecutionFailed, match=r"waits for its own end, named as one of workflow 'kid'"):
            handle.result()


def test_a_child_whose_key_gives_the_execution_itself_is_refused() -> None:
    with Simulation(FLOWS) as sim:
        handle = sim.start(joins_itself, idempotency_key="one")
        sim.run()
        with pytest.raises(ExecutionFailed, match="waits for its own end"):
            handle.result()


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
@pytest.mark.parametrize("flow", [awaits, awaits_for_a_while, awaits_in_a_race], ids=lambda flow: flow.key)
def test_a_wait_for_an_execution_of_another_workflow_is_refused(flow: Any, ended: bool) -> None:
    with Simulation(FLOWS) as sim:
        target = sim.start(other)
        sim.run()
        if ended:
            sim.advance(seconds=2)
        handle = sim.start(flow, target.id)
        sim.run()
        with pytest.raises(ExecutionFailed, match=r"is of workflow 'other', not of 'kid'"):
            handle.result()


def test_children_that_are_mixed_up_are_told_apart() -> None:
    with Simulation(FLOWS) as sim:
        handle = sim.start(mixes_children_up)
        sim.run()
        with pytest.raises(ExecutionFailed, match=r"is of workflow 'other', not of 'kid'"):
            handle.result()


def test_the_refusal_can_be_caught_and_is_replayed() -> None:
    with Simulation(FLOWS, workers=2) as sim:
        handle = sim.start(catches, sim.start(other).id)
        sim.run()
        assert "Fix: name the workflow 'other'" in handle.result()
    for flow in (itself, mixes_children_up, lets_a_child_wait):
        assert assert_recovers(flow, others=FLOWS, same=False) > 3
        assert assert_replay_equivalent(flow, others=FLOWS) > 1


def test_right_waits_are_left_alone() -> None:
    with Simulation(FLOWS) as sim:
        target = sim.start(kid)
        sim.run()
        handles = [sim.start(awaits, target.id), sim.start(awaits_for_a_while, target.id)]
        sim.advance(seconds=200)
        assert handles[0].result() == 1
        assert handles[1].result().value == 1


def test_a_wait_needs_a_workflow() -> None:
    @workflow
    def names_none(ctx: Context) -> Flow[Any]:
        return (yield from ctx.wait_for_execution("kid", "x"))  # type: ignore[call-overload]

    with Simulation([names_none]) as sim:
        handle = sim.start(names_none)
        sim.run()
        with pytest.raises(ExecutionFailed, match="takes a workflow"):
            handle.result()
