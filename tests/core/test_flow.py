"""Python's own control flow around yields behaves as Python says."""

from __future__ import annotations

from typing import Any

from replay import Context, StepFailed, workflow
from replay.core.generators import close_generator
from replay.testing import Simulation, assert_recovers, assert_replay_equivalent, fails


def act(value: Any = None) -> Any:
    return value


def run(definition: Any, **options: Any) -> Any:
    with Simulation([definition], **options) as sim:
        handle = sim.start(definition)
        assert sim.settle(handle)
        return sim.engine.get_execution(handle)


BOOM = {"boom": fails(ValueError("boom"))}


@workflow
def everything(ctx: Context) -> Any:
    trace = []
    for part in ("boom", "fine"):
        try:
            trace.append((yield ctx.step(part, act, part)))
            trace.append((yield ctx.step("after", act, "after")))
        except StepFailed:
            trace.append((yield ctx.step("handler", act, "handler 1")))
            trace.append((yield ctx.step("handler", act, "handler 2")))
        else:
            trace.append((yield ctx.step("else", act, "else 1")))
            trace.append((yield ctx.step("else", act, "else 2")))
        finally:
            trace.append((yield ctx.step("finally", act, "finally 1")))
            yield ctx.sleep(5)
            trace.append((yield ctx.step("finally", act, "finally 2")))
    return trace


def test_several_yields_in_except_else_and_finally() -> None:
    expected = [
        "handler 1", "handler 2", "finally 1", "finally 2",
        "fine", "after", "else 1", "else 2", "finally 1", "finally 2",
    ]  # fmt: skip
    assert run(everything, steps=BOOM).result == expected
    assert run(everything, steps=BOOM, cache_size=0).result == expected
    assert assert_recovers(everything, steps=BOOM) > 30
    assert assert_replay_equivalent(everything, steps=BOOM) > 10


def test_an_error_that_is_raised_again_passes_through_nested_handlers() -> None:
    @workflow
    def nested(ctx: Context) -> Any:
        trace = []
        try:
            try:
                yield ctx.step("boom", act)
            except StepFailed:
                trace.append((yield ctx.step("inner", act, 1)))
                raise
            finally:
                trace.append((yield ctx.step("tidy", act, 2)))
        except StepFailed as error:
            trace.append(error.step_id)
        return trace

    assert run(nested, steps=BOOM).result == [1, 2, "boom"]


def test_return_in_finally_swallows_the_failure() -> None:
    @workflow
    def swallowing(ctx: Context) -> Any:
        try:
            yield ctx.step("boom", act)
        finally:
            value = yield ctx.step("tidy", act, "tidied")
            return value  # noqa: B012

    assert run(swallowing, steps=BOOM).result == "tidied"


def test_a_handler_of_exception_around_everything_does_not_see_suspensions() -> None:
    @workflow
    def broad(ctx: Context) -> Any:
        try:
            yield ctx.sleep(10)
            yield ctx.step("ok", act)
            yield ctx.wait_for_signal("never", timeout=10)
        except Exception:
            return "handled"
        return "undisturbed"

    assert run(broad, cache_size=0).result == "undisturbed"


def test_finally_runs_once_although_the_workflow_is_visited_many_times() -> None:
    @workflow
    def visited(ctx: Context) -> Any:
        try:
            for _ in range(5):
                yield ctx.sleep(10)
        finally:
            yield ctx.step("tidy", act)

    with Simulation([visited], cache_size=100) as sim:
        handle = sim.start(visited)
        sim.settle(handle)
        assert [id for _, id, _ in sim.executed] == ["tidy"]


def test_sub_flows_compose_by_yield_from_and_workflows_do_too() -> None:
    def helper(ctx: Context, n: int) -> Any:
        value = yield from ctx.step("inner", act, n)
        return value * 2

    @workflow
    def inner(ctx: Context, n: int) -> Any:
        return (yield from helper(ctx, n))

    @workflow
    def outer(ctx: Context) -> Any:
        first = yield from helper(ctx, 1)
        second = yield from inner(ctx, 2)
        return first, second

    assert run(outer).result == (2, 4)


def test_a_stop_iteration_raised_by_workflow_code_is_a_failure() -> None:
    @workflow
    def stopping(ctx: Context) -> Any:
        yield ctx.note("x")
        next(iter([]))

    assert run(stopping).status == "failed"


def test_closing_a_workflow_closes_its_sub_flows_too_even_if_they_yield_on() -> None:
    closed = []

    def inner() -> Any:
        try:
            yield 1
        finally:
            try:
                yield 2
            finally:
                closed.append("inner")

    def outer() -> Any:
        try:
            yield from inner()
        finally:
            try:
                yield 3
            finally:
                closed.append("outer")

    gen = outer()
    next(gen)
    close_generator(gen)
    assert closed == ["inner", "outer"]
    assert gen.gi_frame is None
