"""A cancel that was accepted is always in the log, and wins over a completion that was decided after it arrived."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from replay import Context, Engine, ExecutionCancelled, Flow, current_step, workflow
from tests.servers.process import PATIENCE


def until_asked(begun: threading.Event, outcome: str) -> str:
    begun.set()
    assert current_step().cancelled.wait(PATIENCE)
    if outcome == "raises":
        raise ValueError("stopped")
    return "stopped half-way"


@pytest.mark.parametrize("store", ["memory://", "sqlite:///{folder}/a.db"])
@pytest.mark.parametrize("then", ["returns", "raises", "fails afterwards", "goes on anew"])
def test_a_cancel_during_the_last_step_wins(store: str, then: str, tmp_path: Any) -> None:
    begun = threading.Event()

    @workflow
    def last(ctx: Context, then: str) -> Flow[Any]:
        yield from ctx.step("last", lambda: until_asked(begun, then))
        if then == "fails afterwards":
            raise ValueError("after the step")
        return ctx.continue_as_new(then) if then == "goes on anew" else "done"

    with Engine(store.format(folder=tmp_path), workflows=[last], worker=True) as engine:
        handle = engine.start(last, then)
        assert begun.wait(PATIENCE)
        handle.cancel("customer left")
        with pytest.raises(ExecutionCancelled, match="customer left"):
            handle.result(PATIENCE)
        trail = [type(entry).__name__ for entry in engine.detail(handle).audit]
        assert trail[-2:] == ["CancelReceived", "ExecutionClosed"]
