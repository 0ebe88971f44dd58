"""A step's body, and an execution that fails."""

from __future__ import annotations

from typing import Any

from replay import Context, workflow
from replay.testing import Simulation


def act(*args: Any) -> str:
    return "done"


def failing(definition: Any) -> Any:
    with Simulation([definition]) as sim:
        handle = sim.start(definition)
        sim.run()
        execution = sim.engine.get_execution(handle)
    assert execution.status == "failed", execution
    return execution.error


def helper(ctx: Context) -> Any:
    yield ctx.note("x")


@workflow
def taker(ctx: Context) -> Any:
    yield ctx.note("x")
