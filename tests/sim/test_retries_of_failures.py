"""Retries make void all that the failure decided, cancelled or abandoned: races, siblings, children. On each store, with threads."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replay import Context, Engine, ExecutionFailed, Flow, Handle, Retry, Signal, workflow
from tests.servers.process import PATIENCE

LATE = Signal("late", int)
TRIES: Counter[int] = Counter()
BROKEN: set[int] = set()


def first_fails(number: int) -> int:
    """Fail once for each number."""
    TRIES[number] += 1
    if TRIES[number] == 1:
        raise ValueError(f"{number} fails")
    return number


def breaks(number: int) -> int:
    """Fail while the number is broken."""
    if number in BROKEN:
        raise ValueError(f"{number} is broken")
    return number


@workflow("retries.raced", retry=Retry(attempts=3, initial=0.01))
def raced(ctx: Context) -> Flow[list[Any]]:
    won = yield from ctx.race(work=ctx.step("work", first_fails, 1), late=ctx.sleep(3600))
    return [won.name, won.value]


@workflow("retries.raced_by_operator")
def raced_by_operator(ctx: Context) -> Flow[list[Any]]:
    won = yield from ctx.race(work=ctx.step("work", breaks, 0), late=ctx.wait_for_signal(LATE))
    return [won.name, won.value]


@workflow("retries.part")
def part(ctx: Context, number: int) -> Flow[int]:
    if number == 0:
        return (yield from ctx.step("work", breaks, number))
    return (yield from ctx.wait_for_signal(LATE))


@workflow("retries.whole")
def whole(ctx: Context) -> Flow[list[int]]:
    return (yield from ctx.all([ctx.child("part", part, number) for number in range(3)]))


@workflow("retries.nested", retry=Retry(attempts=2, initial=0.01))
def nested(ctx: Context) -> Flow[list[int]]:
    def member(number: int) -> Flow[int]:
        try:
            done, _ = yield from ctx.all(ctx.step("work", first_fails, number), ctx.sleep(0.01))
            return done
        finally:
            yield from ctx.sleep(0.01)

    return (yield from ctx.all([member(number) for number in range(2)]))


@pytest.fixture(params=["memory", "sqlite", "redis"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    urls = {"memory": lambda: "memory://", "sqlite": lambda: f"sqlite:///{tmp_path / 'store.db'}"}
    url = urls.get(request.param, lambda: request.getfixturevalue("redis_server").url)()
    TRIES.clear()
    BROKEN.clear()
    flows = [raced, raced_by_operator, part, whole, nested]
    with Engine(url, namespace=uuid.uuid4().hex, workflows=flows, worker=True) as opened:
        yield opened


def fail(engine: Engine, flow: Any) -> Handle[Any]:
    """Start *flow* in a broken world, wait until it failed, and repair the world."""
    BROKEN.add(0)
    handle = engine.start(flow)
    with pytest.raises(ExecutionFailed):
        handle.result(PATIENCE)
    BROKEN.clear()
    return handle


def test_a_race_whose_first_member_failed_is_run_again_by_a_policy(engine: Engine) -> None:
    assert engine.start(raced).result(PATIENCE) == ["work", 1]


def test_a_race_whose_first_member_failed_is_run_again_by_an_operator(engine: Engine) -> None:
    handle = fail(engine, raced_by_operator)
    engine.operator.retry(handle.id)
    assert handle.result(PATIENCE) == ["work", 0]


@pytest.mark.parametrize("child_first", [False, True])
def test_children_that_a_failed_sibling_cancelled_start_anew(engine: Engine, child_first: bool) -> None:
    handle = fail(engine, whole)
    before = {tree.execution.id: tree.execution for tree in engine.execution_tree(handle.id).children}
    assert len(before) == 3
    if child_first:
        broken = next(id for id, execution in before.items() if execution.input == 0)
        if engine.get_execution(broken).status == "failed":
            engine.operator.retry(broken)
        assert engine.wait(broken, PATIENCE) == 0
    for id, execution in before.items():
        if execution.input:
            with pytest.raises(Exception, match="cancel"):
                engine.wait(id, PATIENCE)
    engine.operator.retry(handle.id)
    anew: set[str] = set()
    while len(anew) < 2:
        children = engine.execution_tree(handle.id).children
        anew = {tree.execution.id for tree in children if tree.execution.input} - before.keys()
    for id in anew:
        engine.signal(id, LATE, 7)
    assert handle.result(PATIENCE) == [0, 7, 7]


def test_all_failures_of_one_attempt_are_void(engine: Engine) -> None:
    assert engine.start(nested).result(PATIENCE) == [0, 1]
    assert TRIES[0] == 2
