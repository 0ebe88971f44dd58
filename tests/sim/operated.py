"""Workflows for an operator's tests, and executions of them in each state."""

from __future__ import annotations

from typing import Any

from replay import Context, StepFailed, workflow
from replay.testing import Simulation, hangs


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


def failed(kind: str, status: str = "failed") -> tuple[Simulation, Any]:
    sim = Simulation([order])
    handle = sim.start(order, kind)
    sim.run()
    assert handle.status() == status
    return sim, handle


def ran(sim: Simulation) -> list[str]:
    return [id for _, id, _ in sim.executed]


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
