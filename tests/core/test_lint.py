"""Each rule of `replay lint` finds its line. Lines that must be found carry `# !CODE`; no other line may be."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest

from replay.lint import RULES, lint_source

HEAD = "from replay import Branch, Cancelled, Context, StepFailed, workflow\n"


def expect(text: str, head: str = HEAD) -> None:
    source = head + dedent(text)
    wanted = {
        (number, code)
        for number, line in enumerate(source.splitlines(), 1)
        for code in re.findall(r"!(RW\d{3})", line.partition("#")[2])
    }
    findings = lint_source(source, "shop.py")
    assert {(finding.line, finding.code) for finding in findings} == wanted, "\n".join(f.text() for f in findings)


# --- hidden inputs and effects --------------------------------------------------------------------------------


def test_the_wall_clock_is_found_under_every_name() -> None:
    expect("""
        import importlib
        import time
        import datetime as dt
        from datetime import date, datetime
        from time import monotonic as ticks

        @workflow
        def late(ctx):
            began = time.time()  # !RW101
            if datetime.now() > began:  # !RW101
                yield ctx.step("late", print, dt.datetime.utcnow())  # !RW101
            today = date.today()  # !RW101
            read = time.perf_counter
            read()  # !RW101
            __import__("time").time()  # !RW101
            importlib.import_module("datetime").datetime.now()  # !RW101
            return ticks() + today, time.strftime("%Y")  # !RW101 !RW101
    """)


def test_commands_are_found_under_another_name_and_in_lists() -> None:
    expect("""
        @workflow
        def renamed(ctx, names):
            step, later = ctx.step, []
            build = ctx.step
            build("a", print)  # !RW201
            yield build("b", print).retry(3)
            commands = [ctx.step(name, print) for name in names]  # !RW201
            [build("c", print), ctx.sleep(1)]  # !RW201
            later.append(ctx.sleep(1))  # !RW201
            used = []
            used.append(ctx.sleep(2))
            more = {"x": ctx.sleep(3)}
            yield ctx.all(used)
            yield ctx.all(more)
    """)


def test_randomness_is_found() -> None:
    expect("""
        import random
        import secrets
        from random import choice

        @workflow
        def lucky(ctx):
            yield ctx.step("a", print, random.random())  # !RW102
            yield ctx.step("b", print, choice("abc"))  # !RW102
            return secrets.token_hex(), random.Random()  # !RW102
    """)


def test_random_uuids_are_found() -> None:
    expect("""
        import uuid
        from uuid import uuid4

        @workflow("named")
        def named(ctx):
            yield ctx.step("a", print, uuid4())  # !RW103
            return uuid.uuid1()  # !RW103
    """)


def test_the_environment_is_found() -> None:
    expect("""
        import os
        from os import environ
        import platform

        @workflow
        def placed(ctx):
            if os.environ["MODE"] == "dry" or environ.get("X"):  # !RW104
                yield ctx.sleep(1)
            yield ctx.note(platform.node())  # !RW104
            return os.getenv("REGION")  # !RW104
    """)


def test_input_and_output_are_found() -> None:
    expect("""
        import os, socket, sqlite3, subprocess
        import requests
        import urllib.request
        from pathlib import Path

        @workflow
        def talking(ctx, path: Path):
            answer = requests.get("http://shop").json()  # !RW105
            urllib.request.urlopen("http://shop")  # !RW105
            subprocess.run(["ship"])  # !RW105
            sqlite3.connect("orders.db")  # !RW105
            socket.create_connection(("shop", 80))  # !RW105
            open("orders.csv").read()  # !RW105
            input("really?")  # !RW105
            Path("a").write_text("x")  # !RW105
            path.exists()  # !RW105
            os.remove("a")  # !RW105
            yield ctx.step("done", print, answer)
    """)


def test_print_is_a_warning() -> None:
    expect("""
        @workflow
        def chatty(ctx):
            print("here")  # !RW106
            yield ctx.step("tell", print, "there")
    """)
    assert RULES["RW106"].severity == "warning"


def test_threads_and_event_loops_are_found() -> None:
    expect("""
        import asyncio, multiprocessing, threading
        from concurrent.futures import ThreadPoolExecutor

        @workflow
        def beside(ctx):
            threading.Thread(target=print).start()  # !RW107
            pool = ThreadPoolExecutor()  # !RW107
            asyncio.run(pool)  # !RW107
            multiprocessing.Process(target=print)  # !RW107
            yield ctx.sleep(1)
    """)


def test_blocking_sleep_is_found() -> None:
    expect("""
        import time
        from time import sleep

        @workflow
        def tired(ctx):
            time.sleep(5)  # !RW108
            sleep(5)  # !RW108
            yield ctx.sleep(5)
    """)


def test_iteration_over_sets_is_found() -> None:
    expect("""
        NAMES = frozenset({"ann", "bob"})

        @workflow
        def unordered(ctx, orders: list, tags: set[str]):
            for name in {"ann", "bob"}:  # !RW109
                yield ctx.step(name, print)
            for name in set(orders):  # !RW109
                yield ctx.step(name, print)
            seen = {order.id for order in orders}
            for name in seen - {"bob"}:  # !RW109
                yield ctx.step(name, print)
            yield ctx.all([ctx.step(name, print) for name in seen.union(orders)])  # !RW109
            yield ctx.all(*(ctx.step(name, print) for name in NAMES))  # !RW109
            yield ctx.step("first", print, list(tags)[0], ",".join(seen))  # !RW109
            return [*tags]  # !RW109
    """)


def test_unsorted_listings_are_found_and_are_input_besides() -> None:
    expect("""
        import glob, os

        @workflow
        def listing(ctx):
            for name in os.listdir("in"):  # !RW105 !RW109
                yield ctx.step(name, print)
            for name in sorted(glob.glob("*")):  # !RW105
                yield ctx.step(name, print)
    """)


def test_hash_and_id_are_found() -> None:
    expect("""
        @workflow
        def hashed(ctx, order):
            yield ctx.step("a", print, hash(order) % 2)  # !RW110
            return id(order)  # !RW110
    """)


# --- commands ----------------------------------------------------------------------------------------------


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


def test_a_clock_in_a_default_argument_is_found() -> None:
    expect("""
        import time

        @workflow
        def late(ctx, input=None, *, now=time.time()):  # !RW101
            yield ctx.sleep(helper(1))

        def helper(number, at=time.time()):  # !RW101
            return number

        def body(at=time.time()):
            return at

        @workflow
        def fine(ctx, input=max(1, 2)):
            yield ctx.step("a", body)
    """)


def test_a_set_behind_dict_fromkeys_is_found() -> None:
    expect("""
        @workflow
        def each(ctx, names):
            for name in dict.fromkeys({"a", "b"}):  # !RW109
                yield ctx.step(name, print)
            for name in dict.fromkeys(names):
                yield ctx.step(name, print)
            for name in dict.fromkeys(sorted({"a", "b"})):
                yield ctx.step(name, print)
    """)


def test_ties_in_a_sorted_set_are_found() -> None:
    expect("""
        @workflow
        def each(ctx, orders: set):
            for order in sorted(orders, key=len):  # !RW111
                yield ctx.step("a", print, order)
            sorted({"a", "b"}, key=lambda text: text[0])  # !RW111
            sorted(orders, key=lambda order: order.priority)  # !RW111
            sorted(orders, key=lambda order: (order.priority, order.day))  # !RW111
            sorted(orders, key=str.lower)  # !RW111
            min(orders, key=len), max(orders, key=lambda order: order.day)  # !RW111
            max(sorted(orders), key=len), max(orders), min(orders, "a", key=len)
            sorted(orders)
            sorted(list(orders), key=str)
            sorted(orders, key=str)
            sorted(orders, key=lambda order: order.id)
            sorted(orders, key=lambda order: order["order_id"])
            sorted(orders, key=lambda order: (len(order), order))
            sorted(orders, key=lambda order: (-order.priority, str(order)))
            sorted(["b", "a"], key=len)
    """)
    assert RULES["RW111"].severity == "warning"


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


# --- bodies and compensations ---------------------------------------------------------------------------------------


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


# --- state ---------------------------------------------------------------------------------------------------


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


# --- what counts as workflow code ----------------------------------------------------------------------------


def test_every_rule_has_a_test_here() -> None:
    with open(__file__, encoding="utf-8") as file:
        text = file.read()
    assert [code for code in RULES if f"!{code}" not in text] == []


@pytest.mark.parametrize(
    ("head", "decorator"),
    [
        ("from replay import workflow", "@workflow"),
        ("from replay import workflow as flow", '@flow("key", category="x")'),
        ("import replay", "@replay.workflow"),
        ("import replay as r", "@r.workflow()"),
        ("import replay.definition", "@replay.definition.workflow"),
        ("from replay import *", "@workflow"),
        ("from replay.definition import workflow", "@workflow"),
    ],
)
def test_the_decorator_is_known_under_every_name(head: str, decorator: str) -> None:
    expect(f"{decorator}\ndef found(ctx):  # !RW205\n    pass\n", head + "\n")


def test_a_function_passed_to_workflow_is_a_workflow() -> None:
    expect("def found(ctx):  # !RW205\n    pass\n\nwf = workflow('key')(found)\n")


def test_another_librarys_workflow_is_none_of_ours() -> None:
    expect("from prefect import workflow\n@workflow\ndef theirs(ctx):\n    return open('x')\n", "")


def test_helpers_are_followed_as_far_as_they_go() -> None:
    expect("""
        import random

        @workflow
        def outer(context, n):
            yield from first(context, n)
            yield context.switch("pick", n, [Branch("a", lambda v: random.random(), lambda: third(context))], fourth)

        def first(c, n):
            yield from second(n, c)

        def second(n, inner):
            inner.sleep(n)  # !RW201
            yield inner.sleep(pick(n))

        def pick(n):
            return random.choice(n)  # !RW102

        def third(ctx):
            yield ctx.step("x", print, random.random())  # !RW102

        def fourth():
            return random.random()  # !RW102

        def unrelated():
            return random.random()
    """)


def test_step_bodies_are_not_workflow_code() -> None:
    expect("""
        import random, time

        @workflow
        def fine(ctx, order):
            def nested():
                return time.time()
            yield ctx.step("module", body, order)
            yield ctx.step("nested", nested)
            yield ctx.step("lambda", lambda: open("x")).down(lambda result: print(result))
            yield ctx.map("map", lambda item: random.random(), [1, 2])
            yield ctx.step("library", time.time)

        def body(order):
            time.sleep(1)
            return random.random()
    """)


def test_a_name_that_hides_a_module_is_not_the_module() -> None:
    expect("""
        import time, random
        from shop import open

        @workflow
        def hiding(ctx, time, input, id):
            random = ctx.random()
            yield ctx.step(id("x"), print, time.time(), random.random(), input(), open("y"))
    """)


def test_a_comment_allows_all_or_some_rules_on_its_line() -> None:
    expect("""
        import time, random

        @workflow
        def allowed(ctx):
            time.time()  # replay: ok
            time.time()  # replay: ok RW101 measured, not used
            time.time(), random.random()  # replay: ok RW101,RW102
            time.time(), random.random()  # replay: ok RW101 !RW102
            time.time()  # replay: ok RW999 !RW101
            text = "# replay: ok"; time.time()  # !RW101
            yield ctx.step(
                "x",
                print,
                time.time(),  # replay: ok
            )
    """)


def test_a_finding_says_where_what_and_how_to_mend_it() -> None:
    source = HEAD + "import time\n@workflow\ndef late(ctx):\n    yield ctx.sleep(time.time())\n"
    (finding,) = lint_source(source, "shop.py")
    assert finding.text() == (
        "shop.py:5:21: RW101 time.time() is called in workflow code (fix: use ctx.now(), or read the clock in a step)"
    )
    assert finding.json() == {
        "code": "RW101",
        "message": "time.time() is called in workflow code",
        "remedy": "use ctx.now(), or read the clock in a step",
        "path": "shop.py",
        "line": 5,
        "column": 21,
        "workflow": "late",
        "severity": "error",
        "fixable": True,
    }


def test_what_is_not_python_is_a_syntax_error() -> None:
    with pytest.raises(SyntaxError):
        lint_source("def (:", "shop.py")
