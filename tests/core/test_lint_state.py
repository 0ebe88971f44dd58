"""Rules about state, clean-up and what steps change find their lines. Lines that must be found carry `# !CODE`; no other line may be."""

from __future__ import annotations

from replay.lint import RULES
from tests.core.lint_expectations import expect


def test_an_argument_that_a_step_changes_is_found() -> None:
    expect("""
        def fill(cart, item):
            cart.append(item)

        def mark(order):
            order["paid"] = True
            order.total = 5

        def filled(cart, item):
            cart.append(item)
            return cart

        def own(cart):
            cart = list(cart)
            cart.append(1)

        def reads(cart):
            return cart.index(1)

        @workflow
        def shop(ctx, order):
            cart = []
            yield ctx.step("fill", fill, cart, "lamp")  # !RW306
            yield ctx.step("mark", mark, order)  # !RW306
            yield ctx.step("last", fill, order, 1)
            other = [1]
            other = yield ctx.step("filled", filled, other, "lamp")
            yield ctx.step("own", own, cart)
            yield ctx.step("reads", reads, cart)
            yield ctx.step("fill", fill, other, 1)  # !RW306
            other = yield ctx.step("filled", filled, other, "lamp")
            order = yield ctx.step("new", reads, cart)
            return cart, order, other
    """)
    assert RULES["RW306"].severity == "warning"


def test_an_undo_that_is_registered_after_the_effect_is_found() -> None:
    expect("""
        import functools

        @workflow
        def trip(ctx):
            seat = yield ctx.step("seat", print).retry(3)
            yield ctx.step("mark", print).down(lambda _: free(seat))  # !RW307
            room = yield ctx.step("room", print)

            def leave(_):
                free(room)

            yield from ctx.step("note", print).down(leave)  # !RW307
            car = yield ctx.step("car", print)
            yield ctx.step("note car", print).down(functools.partial(free, car))  # !RW307

        @workflow
        def fine(ctx, order):
            seat = yield ctx.step("seat", print).down(free)
            yield ctx.step("mark", print, seat).down(lambda _: unmark(seat))
            room = yield ctx.step("room", print).down(lambda room: free(room))
            yield ctx.step("other", print).down(lambda other: free(order))
            price = len(order)
            yield ctx.step("pay", print).down(lambda paid: refund(paid, price))

        def free(seat): ...
        def unmark(seat): ...
        def refund(paid, price): ...
    """)
    assert RULES["RW307"].severity == "warning"


def test_a_yield_in_finally_is_a_warning() -> None:
    expect("""
        @workflow
        def tidy(ctx):
            try:
                yield ctx.step("work", print)
            finally:
                yield ctx.step("clean", print)  # !RW301
    """)
    assert RULES["RW301"].severity == "warning"


def test_effects_in_finally_and_with_are_found() -> None:
    expect("""
        import tarfile
        from shop import lock

        def release(order):
            requests.post("http://shop")

        @workflow
        def tidy(ctx, order):
            try:
                yield ctx.step("work", print)
            finally:
                release(order)  # !RW302
                order.close()  # !RW302
                lock.free()  # !RW302
            with lock:  # !RW302
                yield ctx.step("more", print)
            with tarfile.open("x"), lock.held():  # !RW302
                yield ctx.step("most", print)
    """)


def test_state_shared_between_executions_is_found() -> None:
    expect("""
        import itertools
        from shop import settings

        COUNT = 0
        SEEN = []
        TOTALS: dict = {}
        NUMBERS = itertools.count()

        @workflow
        def sharing(ctx, order):
            global COUNT, LAST
            COUNT += 1  # !RW303
            LAST = order  # !RW303
            SEEN.append(order)  # !RW303
            TOTALS[order] = 1  # !RW303
            del TOTALS[order]  # !RW303
            TOTALS["all"] += 1  # !RW303
            settings.mode = "dry"  # !RW303
            helper.calls = next(NUMBERS)  # !RW303
            yield from helper(ctx)

        def helper(ctx):
            SEEN.clear()  # !RW303
            yield ctx.step("a", len, SEEN)
    """)


def test_state_of_a_function_around_the_workflow_is_shared_too() -> None:
    expect("""
        def test_something():
            calls, count = [], 0
            log = []

            @workflow
            def inner(ctx):
                nonlocal count
                log.append(1)  # !RW303
                count += 1  # !RW303
                yield ctx.step("a", log.append, 2)
    """)


def test_mutable_defaults_are_found() -> None:
    expect("""
        @workflow
        def shared(ctx, seen=[]):  # !RW304
            yield from helper(ctx)

        def helper(ctx, *, seen=dict()):  # !RW304
            yield ctx.sleep(1)
    """)


def test_swallowing_cancelled_is_found() -> None:
    expect("""
        import contextlib

        @workflow
        def stubborn(ctx):
            try:
                yield ctx.sleep(1)
            except BaseException:  # !RW305
                pass
            try:
                yield ctx.sleep(1)
            except:  # !RW305
                pass
            try:
                yield ctx.sleep(1)
            except (ValueError, Cancelled):  # !RW305
                yield ctx.rollback()
            with contextlib.suppress(BaseException):  # !RW305
                yield ctx.sleep(1)
            while True:
                try:
                    yield ctx.sleep(1)
                finally:
                    break  # !RW305
            try:
                yield ctx.sleep(1)
            finally:
                return 1  # !RW305
    """)
