"""Loud misuse: each mistake has its own error, with a remedy, and loses nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest

from replay import Branch, Context, ForgottenYield, NotACommand, workflow
from replay.testing import Simulation
from tests.core.misuses import act, failing, helper


def test_a_command_on_a_line_of_its_own_is_a_forgotten_yield_that_names_its_line() -> None:
    @workflow
    def forgetful(ctx: Context) -> Any:
        ctx.step("lost", act)
        yield ctx.step("kept", act)

    error = failing(forgetful)
    assert isinstance(error, ForgottenYield)
    assert "'lost'" in str(error)
    assert f"line {forgetful.fn.__code__.co_firstlineno + 2}" in str(error)
    assert "Fix:" in str(error)


def test_a_command_built_right_before_the_return_is_a_forgotten_yield() -> None:
    @workflow
    def forgetful(ctx: Context) -> Any:
        yield ctx.step("kept", act)
        result = ctx.step("lost", act).retry(3)
        return str(result)

    assert isinstance(failing(forgetful), ForgottenYield)


def test_commands_that_are_built_first_and_yielded_later_are_fine() -> None:
    @workflow
    def orderly(ctx: Context) -> Any:
        steps = [ctx.step("s", act, n) for n in range(3)]
        extra = ctx.step("e", act).retry(2).timeout(5)
        for step in steps:
            yield step
        yield extra
        return (yield ctx.all(*[ctx.step("m", act), ctx.step("n", act).down(print)]))

    with Simulation([orderly]) as sim:
        handle = sim.start(orderly)
        sim.run()
        assert handle.result() == ("done", "done")


@pytest.mark.parametrize(
    ("value", "hint"), [(5, "not a command"), ([1], "ctx.all"), (None, "not a command"), ("x", "not a command")]
)
def test_yielding_something_else_names_the_line_and_the_remedy(value: Any, hint: str) -> None:
    @workflow
    def wrong(ctx: Context) -> Any:
        yield value

    error = failing(wrong)
    assert isinstance(error, NotACommand)
    assert hint in str(error)
    assert "test_misuse.py:" in str(error)


def test_yielding_a_helper_asks_for_yield_from() -> None:
    def helper(ctx: Context) -> Any:
        yield ctx.step("x", act)

    @workflow
    def yields(ctx: Context) -> Any:
        yield helper(ctx)

    @workflow
    def returns(ctx: Context) -> Any:
        yield ctx.note("x")
        return helper(ctx)

    for definition in (yields, returns):
        assert "yield from helper(...)" in str(failing(definition))


def test_a_workflow_that_catches_our_errors_for_ever_still_ends() -> None:
    @workflow
    def stubborn(ctx: Context) -> Any:
        while True:
            try:
                yield 5
            except NotACommand:
                pass

    assert isinstance(failing(stubborn), NotACommand)


def test_a_new_beginning_that_is_not_returned_is_told_with_its_line() -> None:
    def sub_flow(ctx: Context) -> Any:
        yield ctx.note("x")
        return ctx.continue_as_new(1)

    @workflow
    def going_on(ctx: Context) -> Any:
        ctx.continue_as_new(1)
        yield ctx.note("x")

    @workflow
    def returning(ctx: Context) -> Any:
        yield ctx.note("x")
        ctx.continue_as_new(1)

    @workflow
    def dropping(ctx: Context) -> Any:
        return (yield ctx.all(sub_flow(ctx)))

    for definition, line in ((going_on, going_on), (returning, returning), (dropping, sub_flow)):
        error = failing(definition)
        assert isinstance(error, ForgottenYield)
        code = getattr(line, "fn", line).__code__
        assert any(f"line {code.co_firstlineno + n}" in str(error) for n in (2, 3))
        assert "Fix: write `return ctx.continue_as_new(...)`" in str(error)


def test_a_new_beginning_may_be_handed_up_and_things_tidied_before_it() -> None:
    def sub_flow(ctx: Context, n: int) -> Any:
        try:
            return ctx.continue_as_new(n - 1)
        finally:
            yield ctx.note("tidy")

    @workflow
    def handing_up(ctx: Context, n: int) -> Any:
        if n == 3:
            return (yield from sub_flow(ctx, n))
        if n == 2:
            return (yield ctx.switch("s", n, [Branch("two", 2, lambda n: sub_flow(ctx, n))]))
        if n == 1:
            again = ctx.continue_as_new(0)
            yield ctx.note("tidy")
            return again
        yield ctx.note("end")
        return "end"

    with Simulation([handing_up]) as sim:
        handle = sim.start(handing_up, 3)
        sim.run()
        assert handle.result() == "end"


class Later:
    def __await__(self) -> Any:
        yield


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (lambda ctx: ctx.continue_as_new(1), "Fix: write `return ctx.continue_as_new"),
        (lambda ctx: act, "act itself at .*`yield ctx.step.id, act, "),
        (lambda ctx: ctx.rollback, "yielded ctx.rollback itself at .*`yield ctx.rollback"),
        (lambda ctx: ctx.now(), r"ctx.now\(\), .* give their answers without"),
        (lambda ctx: workflow("other")(helper), "helper itself at .*`yield from helper.ctx, "),
        (lambda ctx: Later(), "yielded an awaitable at .*Fix: run it as a step: `yield ctx.step"),
    ],
)
def test_yielding_what_is_meant_otherwise_names_what_to_write(value: Any, hint: str) -> None:
    @workflow
    def wrong(ctx: Context) -> Any:
        yield value(ctx)

    error = failing(wrong)
    assert isinstance(error, NotACommand)
    assert re.search(hint, str(error))
