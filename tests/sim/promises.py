"""What the tests of promises share."""

from __future__ import annotations

from typing import Any

from replay import Context, Retry, Signal, workflow
from replay.testing import Simulation


class Busy(Exception):
    pass


def act(*args: Any) -> Any:
    return args[0] if args else "done"


Yes = Signal("yes", str)


def ended(sim: Simulation, handle: Any) -> Any:
    assert sim.settle(handle)
    return sim.engine.get_execution(handle)


undone: list[Any] = []


def undo(result: Any) -> None:
    undone.append(result)


@workflow
def one_step(ctx: Context, value: Any) -> Any:
    return (yield ctx.step("act", act, value).retry(Retry(3, initial=10, jitter=0)))
