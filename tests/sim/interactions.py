"""Workflows and helpers of the tests of commands that meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from replay import Context, Retry, workflow
from replay.testing import Simulation

TWICE = Retry(attempts=2, initial=10, jitter=0)


def act(value: Any = "done") -> Any:
    return value


def result_of(sim: Simulation, definition: Any, input: Any = None, signals: Any = ()) -> Any:
    handle = sim.start(definition, input)
    assert sim.settle(handle, signals), sim.timeline(40)
    return handle.result()


def once_not(value: Any = "done") -> Callable[[Any], Any]:
    """Fail in the first attempt of the workflow, not in the next (or after a crash)."""
    runs: list[Any] = []

    def stub(call: Any) -> Any:
        runs.append(call)
        if len(runs) == 1:
            raise ValueError("not yet")
        return value

    return stub


@workflow
def kid(ctx: Context, value: Any) -> Any:
    yield ctx.sleep(5)
    return (yield ctx.step("work", act, value))
