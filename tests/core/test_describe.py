"""`describe` shows a workflow's shape, every branch of it, and executes nothing."""

from __future__ import annotations

import collections.abc
import enum
import itertools
import json
from datetime import timedelta
from typing import Any

import attrs

from replay import (
    Branch,
    Cancelled,
    Context,
    Engine,
    Event,
    ExecutionCancelled,
    Received,
    Signal,
    StepFailed,
    TimedOut,
    workflow,
)
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
    assert by_id["approved"].timeout == 3600
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


def test_commands_with_the_same_default_id_are_nodes_of_their_own_as_in_the_log() -> None:
    @workflow
    def pausing(ctx: Context) -> Any:
        yield ctx.sleep(1)
        yield ctx.step("work", never)
        yield ctx.sleep(200)
        yield from pause(ctx)
        yield from pause(ctx)

    def pause(ctx: Context) -> Any:
        yield ctx.note("pausing")

    found = describe(pausing)
    assert [(node.id, node.duration) for node in found.nodes] == [
        ("sleep", 1.0),
        ("work", None),
        ("sleep#2", 200.0),
        ("note", None),
        ("note#2", None),
    ]
    chain = ["(start)", "sleep", "work", "sleep#2", "note", "note#2", "(end)"]
    assert {(e.source, e.target) for e in found.edges} == {*itertools.pairwise(chain), ("work", "(failed)")}
    assert found.unexplored == ()


def test_one_id_in_two_branches_is_two_nodes_and_a_loop_is_one() -> None:
    @workflow
    def forked(ctx: Context, order: Any) -> Any:
        if order.express:
            yield ctx.step("ship", never).timeout(10)
        else:
            yield ctx.step("ship", never).timeout(99)
        for number in range(40):
            yield ctx.step("poll", never, number)
        for item in order.items:
            yield ctx.step("pack", never, item)

    found = describe(forked)
    assert [(node.id, node.timeout) for node in found.nodes] == [
        ("ship", 10),
        ("poll", None),
        ("pack", None),
        ("ship", 99),
    ]
    assert len({node.name for node in found.nodes}) == 4
    pairs = {(edge.source, edge.target) for edge in found.edges}
    assert {("poll", "poll"), ("pack", "pack"), ("poll", "pack"), ("poll", "(end)"), ("pack", "(end)")} <= pairs
    assert found.mermaid().count("step: ship") == 2
    assert found.unexplored == ()


@attrs.frozen
class Paid:
    amount: int


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def test_branches_on_what_a_value_is_are_followed() -> None:
    @workflow
    def asking(ctx: Context, order: Any) -> Any:
        r = yield ctx.step("ask", never)
        if r is None:
            yield ctx.step("none", never)
        elif isinstance(r, str):
            yield ctx.step("text", never)
        elif isinstance(r, (int, collections.abc.Set)):
            yield ctx.step("number", never)
        match r:
            case Paid(amount) if amount > 5:
                yield ctx.step("paid", never)
            case {"kind": "card", **rest}:
                yield ctx.step("card", never, rest)
            case {"kind": "cash", "to": _}:
                yield ctx.step("cash", never)
            case [_, _]:
                yield ctx.step("pair", never)
            case [_, *_]:
                yield ctx.step("many", never)
            case "late" | "early":
                yield ctx.step("word", never)
            case True:
                yield ctx.step("true", never)
        if order.color is Color.BLUE:
            yield ctx.step("blue", never)
        try:
            yield ctx.step("try", never)
        except StepFailed as e:
            if isinstance(e.cause, KeyError):
                yield ctx.step("key", never)
            elif e.cause is None:
                yield ctx.step("causeless", never)

    found = describe(asking)
    assert {node.id for node in found.nodes} == (
        {"ask", "none", "text", "number", "paid", "card", "cash", "pair", "many", "word", "true", "blue", "try", "key"}
        | {"causeless"}
    )
    assert not [line for line in found.unexplored if "never reached" in line], found.unexplored


def test_a_cancellation_is_thrown_where_the_code_does_something_about_it() -> None:
    @workflow
    def tidy(ctx: Context) -> Any:
        yield ctx.step("before", never)
        try:
            yield ctx.wait_for_signal("go")
            yield ctx.child("child", approve_order)
        except Cancelled:
            yield ctx.rollback()
            raise
        except ExecutionCancelled:
            yield ctx.note("sad")
        finally:
            yield ctx.step("after", never)

    found = describe(tidy)
    edges = {(edge.source, edge.target, edge.label) for edge in found.edges}
    assert {
        ("go", "rollback", "cancelled"),
        ("child", "note", "child cancelled"),
        ("after", "(cancelled)", ""),
        ("before", "(failed)", "failure"),
    } <= edges
    assert [node.id for node in found.nodes].count("after") == 1
    assert found.unexplored == ()
    assert "cancelled([cancelled])" in found.mermaid()


def test_stand_ins_are_formatted_rounded_unpacked_and_slept_on() -> None:
    @workflow
    def handy(ctx: Context, order: Any) -> Any:
        total = yield ctx.step("price", never)
        yield ctx.note(f"{total:.2f} {total!r:>10} {round(total, 2)} {-total} {2 * total % 3} {divmod(total, 2)}")
        a, b = order.pair
        first, *_, last = yield ctx.step("parts", never)
        yield ctx.sleep(order.delay)
        yield ctx.sleep(timedelta(days=order.days))
        yield ctx.sleep_until(order.when)
        yield (
            ctx.step("x", never, a, b, first, last, float(total), range(total)).timeout(order.limit).retry(order.tries)
        )
        yield ctx.wait_for_signal("go", timeout=order.patience)
        yield ctx.wait_for_signal("stop", timeout=5)
        order.status = "-".join([order.place, order.country])
        yield ctx.map("each", never, order.items)

    found = describe(handy)
    assert [node.id for node in found.nodes if node.kind != "all"] == (
        ["price", "note", "parts", "sleep", "sleep#2", "sleep#3", "x", "go", "stop", "0/each"]
    )
    assert {node.id: node.duration for node in found.nodes if node.kind == "sleep"} == dict.fromkeys(
        ("sleep", "sleep#2", "sleep#3")
    )
    assert [node.timeout for node in found.nodes if node.id in {"x", "go", "stop"}] == [None, None, 5.0]
    assert found.unexplored == ()


def test_a_raise_of_the_workflow_is_an_end_and_what_no_stand_in_does_is_said() -> None:
    @workflow
    def refusing(ctx: Context, order: Any) -> Any:
        verdict = yield ctx.step("check", never)
        if not verdict:
            raise ValueError("declined")
        assert verdict.amount
        return Paid(3)

    found = describe(refusing)
    assert {(e.source, e.target, e.label) for e in found.edges} == {
        ("(start)", "check", ""),
        ("check", "(failed)", ""),
        ("check", "(failed)", "failure"),
        ("check", "(end)", ""),
    }
    assert found.unexplored == ()

    @workflow
    def dispatching(ctx: Context, order: Any) -> Any:
        yield ctx.step("before", never)
        found = {"a": never}[order.kind]
        yield ctx.step("after", found)

    found = describe(dispatching)
    assert [node.id for node in found.nodes] == ["before"]
    assert len(found.unexplored) == 2
    assert "after before in line" in found.unexplored[0]
    assert "KeyError" in found.unexplored[0]
    assert 'ctx.step("after", found)` was never reached' in found.unexplored[1]


def test_every_yield_that_no_path_reached_is_listed_with_its_line() -> None:
    @workflow
    def hidden(ctx: Context, order: Any) -> Any:
        if type(order) is Paid and order.amount is None:
            yield from ctx.step("own", never)
        yield from helper(ctx, order)

    def helper(ctx: Context, order: Any) -> Any:
        yield ctx.note("a")
        if ctx.attempt > 1:
            got = yield ctx.step(
                "helper's",
                never,
            )
            return got

    found = describe(hidden)
    start = hidden.fn.__code__.co_firstlineno
    assert [line for line in found.unexplored if "never reached" in line] == [
        f'line {start + 3} of test_describe.py: `yield from ctx.step("own", never)` was never reached, or gave no command',
        f'line {start + 9} of test_describe.py: `yield ctx.step( "helper\'s", never, )` was never reached',
    ]


def test_loops_and_many_branches_end_and_what_was_cut_off_is_said() -> None:
    @workflow
    def forever(ctx: Context) -> Any:
        failures = 0
        while True:
            try:
                yield ctx.step("poll", never)
            except StepFailed:
                failures += 1
                if failures == 20:
                    yield ctx.step("alarm", never)
            yield ctx.sleep(1)

    found = describe(forever)
    assert [node.id for node in found.nodes] == ["poll", "sleep", "alarm"]
    assert any("loop through poll" in line for line in found.unexplored)

    @workflow
    def wide(ctx: Context) -> Any:
        for number in range(20):
            if (yield ctx.step(f"ask-{number}", never)):
                yield ctx.step(f"yes-{number}", never)

    found = describe(wide)
    assert len(found.nodes) == 40
    assert len([line for line in found.unexplored if "further paths" in line]) == 1
    edges = {(edge.source, edge.target) for edge in found.edges}
    assert all(
        {(f"ask-{n}", f"yes-{n}"), (f"ask-{n}", f"ask-{n + 1}"), (f"yes-{n}", f"ask-{n + 1}")} <= edges
        for n in range(19)
    )


def test_the_example_of_the_design_is_described_whole() -> None:
    @workflow("orders.approve", signals=[Signal("approved", Paid)], retry=3)
    def approve(ctx: Context, order: Any) -> Any:
        yield ctx.step("reserve", never, order.items).retry(5).timeout(30).down(never)
        offer = yield from ctx.step("price", never, order)
        match (yield from ctx.wait_for_signal(Signal("approved", Paid), timeout=timedelta(days=1))):
            case TimedOut():
                yield ctx.rollback()
                return "timed_out"
            case Received(approval):
                yield ctx.step("ship", never, order, approval, offer)
        yield ctx.emit(Event("order.shipped"), Paid(order.id))
        return "approved"

    found = describe(approve)
    assert [(n.kind, n.id) for n in found.nodes] == [
        ("step", "reserve"),
        ("step", "price"),
        ("signal", "approved"),
        ("step", "ship"),
        ("emit", "order.shipped"),
        ("rollback", "rollback"),
    ]
    assert found.unexplored == ()
    assert (found.nodes[0].timeout, found.nodes[0].has_compensation, found.nodes[2].timeout) == (30.0, True, 86400.0)
    assert json.loads(json.dumps(found.json()))["nodes"][2]["signal"] == "approved"


def test_members_begin_side_by_side_and_all_are_shown_though_one_always_fails() -> None:
    @workflow
    def together(ctx: Context) -> Any:
        try:
            yield ctx.all(doomed(ctx), ctx.step("b", never))
        except ValueError:
            yield ctx.note("sorry")
        yield ctx.all([ctx.step("part", never, n) for n in range(30)])
        return (yield from nothing())

    def doomed(ctx: Context) -> Any:
        yield ctx.step("a", never)
        raise ValueError

    def nothing() -> Any:
        yield from ()

    found = describe(together)
    assert {(e.source, e.target, e.label) for e in found.edges if "part" not in e.source + e.target} == {
        ("(start)", "all", ""),
        ("all", "0/a", ""),
        ("all", "1/b", ""),
        ("0/a", "(failed)", "failure"),
        ("1/b", "(failed)", "failure"),
        ("0/a", "note", ""),
        ("note", "all#2", ""),
    }
    parts = [node.name for node in found.nodes if node.id.endswith("part")]
    assert len(parts) == 30
    assert {("all#2", part, "") for part in parts} | {(part, "(end)", "") for part in parts} <= {
        (e.source, e.target, e.label) for e in found.edges
    }
    line = together.fn.__code__.co_firstlineno + 7
    never_seen = f"line {line} of test_describe.py: `yield from nothing()` was never reached, or gave no command"
    assert found.unexplored == (never_seen,)


def test_describing_leaves_the_input_as_it_was() -> None:
    @workflow
    def consuming(ctx: Context, queue: list[str]) -> Any:
        while queue:
            yield ctx.step(queue.pop(), never)

    given = ["b", "a"]
    assert [node.id for node in describe(consuming, given).nodes] == ["a", "b"]
    assert given == ["b", "a"]
