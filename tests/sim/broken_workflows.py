"""Workflows that are not safe to replay, each with one mistake; the line with `# here` is the one to be named."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Iterator
from typing import Any

from replay import Context, workflow

COUNTER = [0]


def body(*args: Any) -> int:
    return 1


@workflow
def wall_clock_in_a_branch(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body)
    if int(time.time()) % 2:  # here
        yield ctx.step("odd", body)
    else:
        yield ctx.step("even", body)


@workflow
def order_of_a_set(ctx: Context) -> Iterator[Any]:
    for name in {"a", "b", "c", str(COUNTER[0])}:  # here
        yield ctx.step(name, body)


@workflow
def random_choice(ctx: Context) -> Iterator[Any]:
    yield ctx.step(random.choice(["a", "b", "c", "d"]), body)  # here


@workflow
def fresh_uuid(ctx: Context) -> Iterator[Any]:
    yield ctx.step(f"charge-{uuid.uuid4()}", body)  # here


@workflow
def global_counter(ctx: Context) -> Iterator[Any]:
    COUNTER[0] += 1  # here
    for number in range(COUNTER[0] % 3 + 1):
        yield ctx.step(f"part-{number}-{COUNTER[0] % 5}", body)


@workflow
def effect_outside_a_step(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body)
    open(os.devnull).close()  # here
    yield ctx.step("second", body)


@workflow
def swallowed_exceptions(ctx: Context) -> Iterator[Any]:
    while True:
        try:
            yield ctx.sleep(60)
            return
        except BaseException:  # here
            continue


@workflow
def cleanup_in_finally(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("first", body)
        yield ctx.sleep(60)
    finally:
        yield ctx.step("clean", body)  # here


@workflow
def environment(ctx: Context) -> Iterator[Any]:
    if os.environ.get("MODE") == "new":  # here
        yield ctx.step("new", body)
    yield ctx.step("old", body)


@workflow
def sleeping_for_real(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body)
    time.sleep(0)  # here
    yield ctx.step("second", body)


@workflow
def forgotten_yield(ctx: Context) -> Iterator[Any]:
    ctx.step("first", body)  # here
    yield ctx.step("second", body)


@workflow
def arguments_from_outside(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body)
    yield ctx.step("second", body, time.time())  # here


BROKEN = [
    wall_clock_in_a_branch,
    order_of_a_set,
    random_choice,
    fresh_uuid,
    global_counter,
    effect_outside_a_step,
    swallowed_exceptions,
    cleanup_in_finally,
    environment,
    sleeping_for_real,
    forgotten_yield,
    arguments_from_outside,
]
