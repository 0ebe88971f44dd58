"""Context variables: each execution and fiber has its own, kept over yields; each step call sees a copy."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
from typing import Any

import pytest

from replay import Branch, Context, Engine, ExecutionFailed, Flow, Retry, workflow
from replay.describe import describe
from replay.testing import Simulation, assert_recovers, assert_replay_equivalent
from tests.servers.process import PATIENCE

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


def who() -> str:
    return tenant.get()


def set_and_tell(name: str) -> str:
    found = tenant.get()
    tenant.set(name)
    decimal.getcontext().prec = 2
    return found


def third() -> str:
    return str(decimal.Decimal(1) / decimal.Decimal(3))


@workflow
def tokens(ctx: Context, name: str) -> Flow[list[str]]:
    token = tenant.set(name)
    try:
        found = [(yield from ctx.step("set", set_and_tell, "a step")), tenant.get()]
        yield from ctx.sleep(1)
        return [*found, (yield from ctx.step("who", who)), tenant.get()]
    finally:
        tenant.reset(token)


@workflow
def precise(ctx: Context, digits: int) -> Flow[list[str]]:
    with decimal.localcontext() as arithmetic:
        arithmetic.prec = digits
        first = yield from ctx.step("third", third)
        yield from ctx.step("spoil", set_and_tell, "x")
        yield from ctx.sleep(1)
        return [first, third()]


def member(ctx: Context, name: str) -> Flow[list[str]]:
    before = tenant.get()
    tenant.set(name)
    yield from ctx.sleep(1)
    return [before, tenant.get(), (yield from ctx.step("who", who))]


@workflow
def members(ctx: Context, name: str) -> Flow[list[Any]]:
    tenant.set(name)
    both = yield from ctx.all(member(ctx, "a"), member(ctx, "b"), ctx.step("who", who))
    return [*both, tenant.get()]


def matches(value: str) -> bool:
    tenant.set("a matcher")
    return True


def branch(value: str) -> str:
    found = tenant.get()
    tenant.set("a branch")
    return found


@workflow
def switched(ctx: Context, name: str) -> Flow[list[str]]:
    tenant.set(name)
    found = yield from ctx.switch("s", "x", [Branch("b", matches, branch)])
    yield from ctx.sleep(1)
    return [found, tenant.get()]


CASES: list[tuple[Any, Any, Any]] = [
    (tokens, "ann", ["ann", "ann", "ann", "ann"]),
    (precise, 5, ["0.33333", "0.33333"]),
    (members, "ann", [["ann", "a", "a"], ["ann", "b", "b"], "ann", "ann"]),
    (switched, "ann", ["ann", "a branch"]),
]
FLOWS = [flow for flow, _, _ in CASES]


@pytest.mark.parametrize(("flow", "input", "expected"), CASES, ids=lambda value: getattr(value, "key", ""))
@pytest.mark.parametrize("cache_size", [0, 1, 100])
def test_variables_are_kept_over_yields_and_seen_by_nobody_else(
    flow: Any, input: Any, expected: Any, cache_size: int
) -> None:
    mine = tenant.set("the test")
    digits = decimal.getcontext().prec
    try:
        sim = Simulation(workflows=FLOWS, cache_size=cache_size, workers=2)
        handles = [sim.start(flow, input) for _ in range(3)]
        sim.run()
        sim.advance(seconds=5)
        assert [handle.result() for handle in handles] == [expected] * 3
        assert tenant.get() == "the test"
        assert decimal.getcontext().prec == digits
    finally:
        tenant.reset(mine)


@pytest.mark.parametrize(("flow", "input", "expected"), CASES, ids=lambda value: getattr(value, "key", ""))
def test_a_replay_sees_the_same_variables(flow: Any, input: Any, expected: Any) -> None:
    assert_replay_equivalent(flow, input)
    assert_recovers(flow, input)


@workflow
def leaky(ctx: Context) -> Flow[str]:
    tenant.set("leaked")
    yield from ctx.step("set", set_and_tell, "leaked, too")
    return tenant.get()


@workflow
def asks(ctx: Context) -> Flow[list[str]]:
    return [tenant.get(), (yield from ctx.step("who", who))]


@pytest.mark.parametrize("store", ["memory://", "sqlite:///{folder}/a.db"])
@pytest.mark.parametrize("cache_size", [0, 100])
def test_workers_keep_the_variables_of_executions_apart(store: str, cache_size: int, tmp_path: Any) -> None:
    flows = [tokens, leaky, asks]
    with Engine(store.format(folder=tmp_path), workflows=flows, worker=True, cache_size=cache_size) as engine:
        for _ in range(3):
            engine.start(leaky).result(PATIENCE)
        assert [engine.start(asks).result(PATIENCE) for _ in range(5)] == [["nobody", "nobody"]] * 5
        handles = [engine.start(tokens, f"t{n}") for n in range(8)]
        assert [handle.result(PATIENCE) for handle in handles] == [[f"t{n}"] * 4 for n in range(8)]


def test_a_description_leaves_no_variable_behind() -> None:
    describe(leaky)
    assert tenant.get() == "nobody"


def test_a_generator_that_is_evicted_is_closed_in_its_context() -> None:
    closed: list[str] = []

    @workflow
    def parked(ctx: Context, name: str) -> Flow[None]:
        token = tenant.set(name)
        try:
            yield from ctx.sleep(1000)
        finally:
            closed.append(tenant.get())
            tenant.reset(token)
            closed.append(tenant.get())

    sim = Simulation(workflows=[parked], cache_size=0)
    sim.start(parked, "ann")
    sim.run()
    assert closed[:2] == ["ann", "nobody"]


class Halt(BaseException):
    """A library's own."""


def fails_first(value: str) -> bool:
    raise Halt("matcher")


@workflow(retry=Retry(3, initial=0.01))
def halts(ctx: Context, kind: str) -> Flow[Any]:
    error = {"halt": Halt, "asyncio": asyncio.CancelledError, "exit": SystemExit}.get(kind, Halt)

    def sub_flow() -> Flow[None]:
        yield from ctx.sleep(0)
        raise error("x")

    match kind.partition("-")[2]:
        case "all":
            yield from ctx.all(sub_flow(), ctx.sleep(100))
        case "race":
            yield from ctx.race(a=sub_flow(), b=ctx.sleep(100))
        case "matcher":
            yield from ctx.switch("s", "x", [Branch("b", fails_first, 1)])
        case "branch":
            yield from ctx.switch("s", "x", [Branch("b", "x", lambda value: fails_first(value))])
        case "first":
            raise error("x")
        case _:
            yield from ctx.sleep(0)
            raise error("x")


@workflow
def fine(ctx: Context) -> Flow[int]:
    yield from ctx.sleep(0)
    return 1


KINDS = ["halt", "asyncio", "exit", "x-all", "x-race", "x-matcher", "x-branch", "x-first"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_exception_of_the_workflow_fails_its_execution(kind: str) -> None:
    sim = Simulation(workflows=[halts, fine])
    handle, other = sim.start(halts, kind), sim.start(fine)
    sim.run()
    sim.advance(seconds=1)
    with pytest.raises(ExecutionFailed, match=r"Halt|CancelledError|SystemExit"):
        handle.result()
    assert other.result() == 1


def test_workers_go_on_after_base_exceptions_of_workflows() -> None:
    with Engine("memory://", workflows=[halts, fine], worker=True) as engine:
        for kind in KINDS:
            with pytest.raises(ExecutionFailed):
                engine.start(halts, kind).result(PATIENCE)
        assert engine.start(fine).result(PATIENCE) == 1


@workflow
def interrupts(ctx: Context) -> Flow[None]:
    yield from ctx.sleep(0)
    raise KeyboardInterrupt


def test_ctrl_c_on_the_main_thread_stays_what_it_is_and_fails_the_execution_elsewhere() -> None:
    sim = Simulation(workflows=[interrupts])
    sim.start(interrupts)
    with pytest.raises(KeyboardInterrupt):
        sim.run()
    with Engine("memory://", workflows=[interrupts, fine], worker=True) as engine:
        with pytest.raises(ExecutionFailed, match="KeyboardInterrupt"):
            engine.start(interrupts).result(PATIENCE)
        assert engine.start(fine).result(PATIENCE) == 1
