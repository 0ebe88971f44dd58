"""Workflows for worker processes in tests: each body leaves a line in the file that `REPLAY_TEST_LEDGER` names."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from replay import Context, Flow, Signal, current_step, workflow
from tests.servers.process import until

GO = Signal("go", int)


def note(execution: int, step: int) -> int:
    with open(os.environ["REPLAY_TEST_LEDGER"], "a") as file:
        file.write(f"{current_step().token}\n")
    time.sleep(float(os.environ.get("REPLAY_TEST_PAUSE", "0.001")))  # a body takes a moment, so that kills fall into it
    return execution * 10 + step


@workflow
def five_steps(ctx: Context, number: int) -> Flow[int]:
    total = 0
    for step in range(5):
        total += yield from ctx.step(f"s{step}", note, number, step)
    return total


@workflow
def sleepy(ctx: Context, seconds: float) -> Flow[str]:
    yield from ctx.step("nap", time.sleep, seconds)
    return "slept"


@workflow
def held(ctx: Context, path: str) -> Flow[str]:
    """Run until the test makes the file *path*."""
    yield from ctx.step("hold", _hold, path)
    return "let go"


def _hold(path: str) -> None:
    until(Path(path).exists)


@workflow
def waits(ctx: Context) -> Flow[Any]:
    return (yield from ctx.wait_for_signal(GO))


def all_workflows() -> list[Any]:
    return [five_steps, sleepy, held, waits, collects]


@workflow(queue="limited")
def in_limited_queue(ctx: Context, path: str) -> Flow[str]:
    yield from ctx.step("hold", _hold, path)
    return "let go"


def limited_workflows() -> list[Any]:
    return [*all_workflows(), in_limited_queue]


@workflow
def collects(ctx: Context, count: int) -> Flow[list[Any]]:
    found = []
    for _ in range(count):
        found.append((yield from ctx.wait_for_signal("anything")))
    return found


class Declined(Exception):
    pass


def look_up(card: dict[str, str]) -> str:
    return card["card"]


def charge() -> None:
    try:
        look_up({})
    except KeyError as error:
        raise Declined("no money") from error


@workflow
def fails_at(ctx: Context, step: str) -> Flow[Any]:
    return (yield from ctx.step(step, charge))


@workflow
def takes_any(ctx: Context, value: Any) -> Flow[Any]:
    yield ctx.note("taken")
    return value
