"""Correct workflows of many shapes: `replay lint` has nothing to say about any of them."""

from __future__ import annotations

from textwrap import dedent

import pytest

from replay.lint import lint_source

HEAD = """
import contextlib
import functools
import itertools
import json
import logging
import math
import os
import random
import re
import threading
import time
import uuid
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path

import attrs
import requests

from replay import (Branch, Cancelled, Context, Err, Event, Flow, Ok, Received, Retry, Signal, StepFailed, TimedOut,
                    current_step, workflow)

Approved = Signal("approved")
Shipped = Event("shipped")
LIMITS = {"eu": 5, "us": 7}
REGIONS = ["eu", "us"]
KNOWN = frozenset({"eu", "us"})
log = logging.getLogger(__name__)


@attrs.frozen
class Order:
    id: str
    items: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()


def reserve(order):
    time.sleep(1)
    return requests.post("http://stock", json=order).json()


def release(result):
    print("released", result, current_step().token, os.environ.get("MODE"))


def price(order):
    with open("prices.json") as file:
        return json.load(file)[order]
"""

CORRECT = {
    "order approval": """
        @workflow("orders.approve", category="orders", signals=[Approved], retry=Retry(attempts=3))
        def approve(ctx: Context, order: Order) -> Flow[str]:
            stock = yield ctx.step("reserve", reserve, order.items).retry(5).timeout(30).down(release)
            offer = yield from ctx.step("price", price, order)
            match (yield from ctx.wait_for_signal(Approved, timeout=timedelta(days=1))):
                case TimedOut():
                    yield ctx.rollback()
                    return "timed out"
                case Received(approval):
                    yield ctx.step("ship", reserve, order, approval, stock, offer)
            yield ctx.emit(Shipped, order.id)
            return "approved"
        """,
    "saga with except": """
        @workflow
        def saga(ctx, order):
            try:
                yield ctx.step("reserve", reserve, order).down(release)
                yield ctx.step("charge", price, order)
            except StepFailed as failure:
                report = yield ctx.rollback()
                return {"failed": failure.step_id, "report": report}
            except Exception:
                raise
            else:
                yield ctx.note("done", id=order.id)
            return "ok"
        """,
    "clean-up on cancellation": """
        @workflow
        def patient(ctx, order):
            try:
                yield ctx.sleep(timedelta(days=30))
            except Cancelled:
                yield ctx.step("release", release, order)
                raise
            except BaseException as error:
                ctx.log.info("stopped by %s", error)
                raise error
        """,
    "finally that keeps to itself": """
        @workflow
        def counting(ctx, order):
            done, state = [], {"steps": 0}
            try:
                for item in order.items:
                    yield ctx.step("one", price, item)
                    done.append(item)
            finally:
                state["steps"] = len(done)
                done.sort()
                ctx.log.info("done %s", done)
                log.info("done")
                total = math.fsum(map(float, done))
            return state, total
        """,
    "finally without a yield in its try": """
        @workflow
        def reading(ctx, text):
            try:
                value = json.loads(text)
            finally:
                release_nothing(text)
            yield ctx.note(value)

        def release_nothing(text):
            return text.strip()
        """,
    "loop with repeated ids": """
        @workflow
        def shipping(ctx, orders):
            results = {}
            for number, order in enumerate(orders):
                results[order.id] = yield ctx.step("ship", reserve, order)
                while (yield ctx.step("poll", price, order)) == "busy":
                    yield ctx.sleep(min(60, 2 ** number), id="pause")
            return results
        """,
    "sets where their order does not matter": """
        @workflow
        def tagging(ctx, order: Order):
            tags = set(order.tags) | {"all"}
            if "vip" in tags and "eu" in KNOWN:
                tags.add("fast")
            for tag in sorted(tags):
                yield ctx.step(tag, reserve, tag)
            for tag in sorted(tag.upper() for tag in tags):
                yield ctx.step(tag, reserve, tag)
            longest = max(len(tag) for tag in tags)
            upper = {tag.upper() for tag in tags}
            total = sum(len(tag) for tag in upper)
            return len(tags), longest, total, any(tag for tag in tags), sorted([tag for tag in upper]), tags == upper
        """,
    "dictionaries and module constants": """
        @workflow
        def limited(ctx, order):
            limit = LIMITS.get(order.id, 3)
            for region in REGIONS:
                yield ctx.step(region, reserve, LIMITS[region], limit)
            for region, most in LIMITS.items():
                yield ctx.note(region, most=most)
            counts = Counter(order.items)
            groups = defaultdict(list)
            for item in order.items:
                groups[item[0]].append(item)
                counts.update([item])
            return dict(groups), counts.most_common(1), LIMITS.copy(), REGIONS.index("eu")
        """,
    "time and chance from the context": """
        @workflow
        def timed(ctx, order):
            began = ctx.now()
            deadline = datetime.fromtimestamp(began, UTC) + timedelta(hours=3)
            if ctx.random().random() < 0.5 or ctx.random("b").choice(REGIONS) == "eu":
                yield ctx.sleep_until(deadline)
            shuffled = random.Random(order.id).sample(REGIONS, 2)
            name = uuid.uuid5(uuid.NAMESPACE_DNS, order.id)
            day = date(2025, 1, 1).isoformat(), time.strftime("%Y", time.gmtime(began))
            return ctx.uuid(), name, shuffled, day, deadline.isoformat(), time.gmtime(0)
        """,
    "helpers with yield from": """
        @workflow
        def outer(ctx, orders):
            for order in orders:
                yield from one(ctx, order)
            total = add([1, 2, 3])
            return total, (yield from nested(ctx))

        def one(context: Context, order):
            held = yield from context.step("hold", reserve, order)
            return held

        def nested(ctx, depth=3):
            if depth:
                return (yield from nested(ctx, depth - 1))
            return (yield ctx.sleep(1))

        def add(numbers, start=0, *, names=()):
            found = []
            found.extend(numbers)
            return sum(found, start)
        """,
    "members that are commands and sub-flows": """
        @workflow
        def fan_out(ctx, orders):
            a, b = yield from ctx.all(ctx.step("a", price, 1), ctx.step("b", price, 2))
            many = yield ctx.all([ctx.step("ship", reserve, order) for order in orders])
            named = yield ctx.all({order.id: flow(ctx, order) for order in orders})
            lazily = yield ctx.all(flow(ctx, order) for order in orders)
            mapped = yield ctx.map("price", price, orders, limit=4)
            commands = []
            for order in orders:
                commands.append(ctx.step("bill", reserve, order))
            billed = yield ctx.all(commands)
            return a, b, many, named, lazily, mapped, billed

        def flow(ctx, order):
            yield ctx.sleep(1)
            return (yield ctx.step("ship", reserve, order))
        """,
    "a race with a deadline": """
        @workflow
        def racing(ctx, order):
            winner = yield ctx.race(paid=ctx.wait_for_signal("paid"), expired=ctx.sleep(3600), other=flow(ctx))
            if winner.name == "expired":
                yield ctx.rollback()
            return winner.value

        def flow(ctx):
            got = yield ctx.wait_for_signal("other")
            return got
        """,
    "branches of a switch": """
        @workflow
        def routed(ctx, order):
            def express():
                yield ctx.step("express", reserve, order)
                return "express"

            def slow(days):
                yield ctx.sleep(timedelta(days=days))

            return (yield ctx.switch(
                "route",
                order.id,
                [
                    Branch("fast", lambda value: value.startswith("f"), express),
                    Branch("slow", "slow", functools.partial(slow, 3)),
                    Branch("odd", lambda value: random.random() < 0.5, lambda: ctx.step("odd", reserve, order)),
                ],
                default=lambda: "none",
            ))
        """,
    "children": """
        @workflow
        def child(ctx, n):
            yield ctx.sleep(n)
            return n * 2

        @workflow("parent")
        def parent(ctx, n):
            one = yield ctx.child("one", child, n)
            started = yield ctx.start("two", child, n, on_parent_close="abandon")
            two = yield ctx.wait_for_execution(child, started, timeout=60)
            three = yield from child(ctx, n)
            return one, two, three
        """,
    "failure as a value": """
        @workflow
        def careful(ctx, order):
            match (yield from ctx.step("charge", price, order).settled()):
                case Ok(value):
                    return value
                case Err(error) if isinstance(error, StepFailed):
                    yield ctx.note("refused", error=str(error))
                case Err(error):
                    raise error
        """,
    "a long-lived loop that begins anew": """
        @workflow
        def subscription(ctx, state):
            for month in itertools.count(state["month"]):
                yield ctx.sleep(timedelta(days=30))
                yield ctx.step("bill", reserve, state["customer"], month)
                if month % 12 == 0:
                    return ctx.continue_as_new({**state, "month": month + 1})
        """,
    "suppress what may fail": """
        @workflow
        def lenient(ctx, order):
            with contextlib.suppress(StepFailed):
                yield ctx.step("mail", reserve, order)
            with contextlib.suppress(KeyError, ValueError), contextlib.nullcontext():
                yield ctx.step("more", reserve, order)
            return "sent"
        """,
    "commands kept and yielded later": """
        @workflow
        def later(ctx, order):
            step = ctx.step("a", reserve, order)
            if order.id:
                step = step.retry(3)
            result = yield step
            timer = ctx.sleep(5)
            pair = (ctx.sleep(1), timer)
            yield from timer
            return result, pair, (yield make(ctx, order))

        def make(ctx, order):
            return ctx.step("made", price, order).retry(2)
        """,
    "nested functions and local state": """
        @workflow
        def local(ctx, order):
            seen: list[str] = []
            count = 0

            def remember(value):
                nonlocal count
                count += 1
                seen.append(value)
                return value

            def flow():
                yield ctx.sleep(1)
                remember("slept")

            yield from flow()
            remember((yield ctx.step("a", price, order)))
            return seen, count, sorted(order.items, key=lambda item: item.lower())
        """,
    "steps that do what workflows must not": """
        @workflow
        def clean(ctx, order):
            def effect():
                threading.Thread(target=print).start()
                return Path("x").read_text(), uuid.uuid4(), hash(order)

            yield ctx.step("effect", effect)
            yield ctx.step("now", time.time).down(lambda moment: print(moment, open("y")))
            yield ctx.step("draw", lambda: random.random())
            yield ctx.step("lambda", lambda x: os.environ[x], "HOME")
            yield ctx.step("partial", functools.partial(price, order))
        """,
    "deploys with patched": """
        @workflow(version="2")
        def evolving(ctx, order):
            if ctx.patched("new-tax"):
                tax = yield ctx.step("tax", price, order)
            else:
                tax = Decimal("0.2")
            assert isinstance(tax, Decimal), f"tax of {order.id!r}"
            return {"tax": tax, "attempt": ctx.attempt, "id": ctx.execution_id, "replaying": ctx.replaying}
        """,
    "values, enums and texts": """
        class Kind(Enum):
            NEW = "new"
            OLD = "old"

        @workflow
        def plain(ctx, order):
            kind = Kind("new") if re.match("n", order.id) else Kind.OLD
            changed = attrs.evolve(order, items=tuple(dict.fromkeys(order.items)))
            text = ", ".join(f"{key}={value}" for key, value in sorted(LIMITS.items()))
            first, *rest = changed.items or ("none",)
            copied = [*order.items, *rest]
            yield ctx.note(text, kind=kind.value, first=first)
            for member in Kind:
                yield ctx.note(member.name)
            return copied, [number for number in range(3)], list(order.items), order.id.replace("a", "b")
        """,
    "loops that wait inside": """
        @workflow
        def waiting(ctx, orders):
            for order in orders:
                yield ctx.step("one", lambda: reserve(order))
            for order in orders:
                parts = [ctx.step("part", lambda order=order, part=part: reserve((order, part))) for part in order.items]
                yield ctx.all(parts)
            for attempt in range(3):
                command = ctx.step("try", lambda: reserve(attempt))
                try:
                    return (yield command)
                except StepFailed:
                    continue
        """,
    "a method and names that look like modules": """
        class Orders:
            def start(self, engine, order):
                print("started", time.time(), random.random())
                return engine.start(approve, order)

        @workflow
        def approve(ctx, input):
            time = input["time"]
            open = input["open"]
            yield ctx.step("a", price, time, open)
            hash = input["hash"]
            return hash, input
        """,
    "try with retry loop and return": """
        @workflow
        def insisting(ctx, order):
            while True:
                try:
                    return (yield ctx.step("pay", price, order))
                except StepFailed as failure:
                    if failure.attempts > 3:
                        raise
                    got = yield ctx.wait_for_signal("again", timeout=60)
                    if isinstance(got, TimedOut):
                        break
            for order in order.items:
                if not order:
                    continue
                yield ctx.note(order)
        """,
}


@pytest.mark.parametrize("shape", CORRECT)
def test_a_correct_workflow_raises_no_alarm(shape: str) -> None:
    source = HEAD + "\n\n" + dedent(CORRECT[shape])
    compile(source, shape, "exec")
    assert [finding.text() for finding in lint_source(source, "shop.py")] == []


def test_there_are_at_least_twenty_correct_shapes() -> None:
    assert len(CORRECT) >= 20
