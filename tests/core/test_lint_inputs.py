"""Rules about hidden inputs and effects find their lines. Lines that must be found carry `# !CODE`; no other line may be."""

from __future__ import annotations

from replay.lint import RULES
from tests.core.lint_expectations import expect


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
