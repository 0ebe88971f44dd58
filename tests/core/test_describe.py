"""`describe` shows a workflow's shape, every branch of it, and executes nothing."""

from __future__ import annotations

from typing import Any

from replay import Branch, Context, Engine, StepFailed, TimedOut, workflow
from replay.demo.orders import approve_order
from replay.describe import describe


def never(*args: Any) -> Any:
    raise AssertionError("describe ran a step")


def test_the_order_approval_of_the_readme() -> None:
    found = describe(approve_order)
    assert [node.id for node in found.nodes] == [
        "reserve",
        "price",
        "approved",
        "ship",
        "rollback",
        "order.shipped",
    ] or {node.id for node in found.nodes} == {"reserve", "price", "approved", "ship", "rollback", "order.shipped"}
    by_id = {node.id: node for node in found.nodes}
    assert by_id["reserve"].has_compensation
    assert by_id["approved"].signal == "approved"
    assert by_id["approved"].timeout == 4
    assert any(
        edge.source == "approved" and edge.label == "timeout" and edge.target == "rollback" for edge in found.edges
    )
    assert any(edge.source == "ship" and edge.label == "failure" and edge.target == "(failed)" for edge in found.edges)
    assert found.unexplored == ()
    assert found.mermaid().startswith("flowchart TD")


def test_branches_of_switch_if_match_and_handlers_are_all_followed() -> None:
    @workflow
    def branching(ctx: Context, order: Any) -> Any:
        try:
            score = yield ctx.step("score", never, order.id)
            if score > 5:
                yield ctx.step("high", never)
            else:
                yield ctx.step("low", never)
        except StepFailed:
            yield ctx.step("handler", never)
        kind = yield ctx.switch(
            "pick", score, [Branch("a", 1, lambda: sub(ctx)), Branch("b", 2, "x")], default=lambda: None
        )
        got = yield ctx.wait_for_signal("go", timeout=5)
        if isinstance(got, TimedOut):
            yield ctx.step("late", never)
        won = yield ctx.race(x=ctx.step("x", never), y=ctx.sleep(1))
        if won.name == "y":
            yield ctx.step("slow", never)
        return kind

    def sub(ctx: Context) -> Any:
        yield ctx.step("inside", never)

    ids = {node.id for node in describe(branching).nodes}
    assert {
        "score",
        "high",
        "low",
        "handler",
        "pick",
        "a/inside",
        "go",
        "late",
        "race",
        "x/x",
        "y/sleep",
        "slow",
    } <= ids


def test_what_cannot_be_explored_is_said() -> None:
    @workflow
    def looping(ctx: Context, n: int) -> Any:
        while (yield ctx.step("more", never)):
            yield ctx.sleep(1)

    found = describe(looping)
    assert [node.id for node in found.nodes] == ["more", "sleep"]
    assert any("loop" in line for line in found.unexplored)


def test_an_engine_describes_by_key() -> None:
    with Engine("memory://", workflows=[approve_order]) as engine:
        assert engine.describe("orders.approve").workflow == "orders.approve"
