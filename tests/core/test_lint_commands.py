"""Rules about commands, members and loops find their lines. Lines that must be found carry `# !CODE`; no other line may be."""

from __future__ import annotations

import pytest

from replay.lint import RULES
from tests.core.lint_expectations import expect

COMMAND_CALLS = [
    'ctx.step("a", print)',
    'ctx.step("a", print).retry(3).timeout(5).down(print)',
    "ctx.sleep(1)",
    "ctx.sleep_until(0)",
    'ctx.wait_for_signal("s")',
    'ctx.switch("w", 1, [])',
    "ctx.rollback()",
    'ctx.emit("e")',
    'ctx.start("c", None)',
    'ctx.wait_for_execution(None, "x")',
    'ctx.child("c", None)',
    "ctx.all()",
    "ctx.race(a=ctx.sleep(1))",
    'ctx.map("m", print, [])',
    'ctx.note("n")',
]


@pytest.mark.parametrize("call", COMMAND_CALLS)
def test_a_command_that_is_built_and_never_yielded_is_found(call: str) -> None:
    expect(f"""
        @workflow
        def forgetful(ctx):
            yield ctx.sleep(1)
            {call}  # !RW201
            kept = {call}  # !RW201
            used = {call}
            yield used
            return {call}  # !RW201
    """)


def test_a_helper_that_is_called_and_never_run_is_found() -> None:
    expect("""
        @workflow
        def forgetful(ctx):
            helper(ctx)  # !RW201
            ctx.continue_as_new(1)  # !RW201
            yield ctx.sleep(1)
            return ctx.continue_as_new(1)

        def helper(ctx):
            yield ctx.sleep(2)
    """)


def test_yield_of_a_generator_is_found() -> None:
    expect("""
        @workflow
        def other(ctx):
            yield ctx.sleep(1)

        @workflow
        def confused(ctx, orders):
            yield helper(ctx)  # !RW202
            yield other(ctx)  # !RW202
            yield (ctx.step(order, print) for order in orders)  # !RW202
            later = helper(ctx)
            yield later  # !RW202
            yield from helper(ctx)

        def helper(ctx):
            yield ctx.sleep(2)
    """)


def test_one_id_in_two_members_is_a_warning() -> None:
    expect("""
        @workflow
        def twice(ctx, orders):
            yield ctx.all(ctx.step("ship", print, 1), ctx.step("ship", print, 2).retry(3))  # !RW203
            yield ctx.all([ctx.child("ship", None), ctx.child("bill", None)])
            yield ctx.all([ctx.step("ship", print, order) for order in orders])
    """)
    assert RULES["RW203"].severity == "warning"


def test_an_async_workflow_is_found() -> None:
    expect("""
        @workflow
        async def awaiting(ctx):  # !RW204
            return await ctx.step("a", print)
    """)


def test_a_workflow_that_never_yields_is_found() -> None:
    expect("""
        @workflow
        def plain(ctx, order):  # !RW205
            return order
    """)


def test_a_loop_variable_captured_late_is_found() -> None:
    expect("""
        @workflow
        def late(ctx, orders):
            yield ctx.all([ctx.step("a", lambda: ship(order)) for order in orders])  # !RW206
            steps = []
            for order in orders:
                steps.append(ctx.step("b", lambda: ship(order)))  # !RW206
            yield ctx.all(steps)
            for order in orders:
                yield ctx.step("c", lambda: ship(order))
                yield ctx.all([ctx.step("d", lambda part=part: ship(order, part)) for part in order])

        def ship(order, part=None):
            print(order)
    """)


def test_a_nested_function_over_a_loop_variable_is_found() -> None:
    expect("""
        @workflow
        def late(ctx, orders):
            steps = []
            for order in orders:
                def send():
                    return ship(order)

                def send_this(order=order):
                    return ship(order)

                def count():
                    order = 1
                    return order

                steps.append(ctx.step("a", send))  # !RW206
                steps.append(ctx.step("b", send_this))
                steps.append(ctx.step("c", count))
            yield ctx.all(steps)
            for order in orders:
                def ship_it():
                    return ship(order)

                yield ctx.step("d", ship_it)

        def ship(order):
            print(order)
    """)


def test_a_loop_without_end_is_found() -> None:
    expect("""
        import itertools

        @workflow
        def polls(ctx):
            while True:  # !RW207
                yield ctx.step("poll", print)
                yield ctx.sleep(60)

        @workflow
        def counts(ctx):
            for number in itertools.count():  # !RW207
                for other in range(number):
                    if other > 5:
                        break
                yield ctx.step("poll", print, number)

        @workflow
        def ends(ctx, state):
            while True:
                if (yield ctx.step("poll", print)):
                    break
            while True:
                if (yield ctx.step("poll", print)):
                    raise ValueError
            for number in itertools.count():
                yield ctx.sleep(60)
                if number > 100:
                    return ctx.continue_as_new(state)
            while state:
                state = yield ctx.step("poll", print)
            while True:
                len(state)
                break
    """)
    assert RULES["RW207"].severity == "warning"
