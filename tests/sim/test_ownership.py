"""Ownership: an execution cancels only what it created, whatever its log names."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from replay import Context, ExecutionEnded, Flow, Signal, workflow
from replay.testing import Simulation

Go = Signal("go", int)
KEY = "day-7"


@workflow
def nightly(ctx: Context, day: int) -> Flow[int]:
    yield from ctx.sleep(100)
    return day


@workflow
def ends(ctx: Context) -> Flow[str]:
    return (yield from ctx.start("c", nightly, 7, idempotency_key=KEY))


@workflow
def fails(ctx: Context) -> Flow[None]:
    yield from ctx.start("c", nightly, 7, idempotency_key=KEY)
    raise ValueError


@workflow
def races(ctx: Context) -> Flow[str]:
    return (yield from ctx.race(c=ctx.child("c", nightly, 7, idempotency_key=KEY), t=ctx.sleep(1))).name


def sibling(ctx: Context) -> Flow[None]:
    yield from ctx.sleep(1)
    raise ValueError


@workflow
def loses_all(ctx: Context) -> Flow[None]:
    yield from ctx.all(ctx.child("c", nightly, 7, idempotency_key=KEY), sibling(ctx))


@workflow
def waits(ctx: Context) -> Flow[int]:
    return (yield from ctx.child("c", nightly, 7, idempotency_key=KEY))


@workflow
def closes(ctx: Context) -> Flow[str]:
    return (yield from ctx.start("c", nightly, 7, idempotency_key=KEY, on_parent_close="wait"))


@workflow
def expires(ctx: Context) -> Flow[int]:
    return (yield from ctx.child("c", nightly, 7, idempotency_key=KEY, timeout=1000))


JOINERS = [ends, fails, races, loses_all, waits, closes, expires]
FLOWS = [nightly, *JOINERS]


@pytest.mark.parametrize("joiner", JOINERS, ids=lambda flow: flow.key)
@pytest.mark.parametrize("ends_by", ["itself", "a cancel", "its timeout"])
@pytest.mark.parametrize("owner", [None, waits], ids=["a client's", "another's"])
def test_who_joins_an_execution_never_cancels_it(joiner: Any, ends_by: str, owner: Any) -> None:
    with Simulation(FLOWS) as sim:
        first = sim.start(nightly, 7, idempotency_key=KEY) if owner is None else sim.start(owner)
        sim.run()
        second = sim.start(joiner, timeout=2 if ends_by == "its timeout" else None)
        sim.run()
        if ends_by == "a cancel":
            with contextlib.suppress(ExecutionEnded):  # it may have ended by itself
                sim.cancel(second)
        sim.advance(seconds=200)
        assert first.result() == 7


@pytest.mark.parametrize("joiner", [ends, fails, races, loses_all], ids=lambda flow: flow.key)
def test_who_created_a_keyed_child_cancels_it_with_itself(joiner: Any) -> None:
    with Simulation(FLOWS) as sim:
        sim.start(joiner)
        sim.run()
        other = sim.start(waits)
        sim.advance(seconds=200)
        (child,) = sim.engine.find_executions(workflow=nightly)
        assert child.status == "cancelled"
        assert other.status() == "failed"


@workflow
def parent(ctx: Context) -> Flow[int]:
    child = yield from ctx.start("c", nightly, 7)
    match (yield from ctx.wait_for_signal(Go, timeout=10)).kind:
        case "signal":
            return 0
        case _:
            return (yield from ctx.wait_for_execution(nightly, child))


@workflow
def whole(ctx: Context) -> Flow[int]:
    return (yield from ctx.child("c", nightly, 7))


@pytest.mark.parametrize("ends_by", ["itself", "a cancel"])
def test_a_fork_owns_no_child_of_the_original(ends_by: str) -> None:
    with Simulation([parent, nightly]) as sim:
        original = sim.start(parent)
        sim.run()
        fork = sim.engine.operator.fork(original.id)
        sim.run()
        if ends_by == "a cancel":
            sim.cancel(fork)
        else:
            sim.signal(fork, Go, 1)
        sim.advance(seconds=300)
        assert sim.handle(fork).status() == ("cancelled" if ends_by == "a cancel" else "completed")
        assert original.result() == 7


@pytest.mark.parametrize("flow", [parent, whole], ids=lambda flow: flow.key)
def test_a_fork_is_notified_of_the_ends_of_the_originals_children(flow: Any) -> None:
    with Simulation([flow, nightly]) as sim:
        original = sim.start(flow)
        sim.run()
        fork = sim.engine.operator.fork(original.id)
        sim.advance(seconds=300)
        assert (original.result(), sim.handle(fork).result()) == (7, 7)
