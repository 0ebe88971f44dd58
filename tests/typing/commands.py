"""What `yield from` each command gives, as mypy and pyright see it (checked by `tests/run`, never executed)."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedCoroutine=false
from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import datetime, timedelta
from typing import Any, Literal, assert_type

import attrs

from replay import (
    AsyncEngine,
    AsyncHandle,
    Branch,
    Completed,
    Context,
    Engine,
    Err,
    Event,
    Flow,
    Handle,
    Ok,
    Received,
    Retry,
    RollbackReport,
    Signal,
    StartResult,
    TimedOut,
    Winner,
    Workflow,
    workflow,
)
from replay.backends.memory import MemoryStore
from replay.backends.memory.queue_and_bus import MemoryBus, MemoryQueue
from replay.clock import SystemClock
from replay.codec import TaggedJson
from replay.core.effects import Call, Returned
from replay.ports import Bus, Clock, Codec, Executor, Queue, Store
from replay.worker.pool import Pool


@attrs.frozen
class Order:
    id: str


@attrs.frozen
class Approval:
    by: str


Approved = Signal("approved", Approval)
Anything = Signal[Any]("anything")
Shipped = Event("shipped", Order)


def price(order: Order) -> int:
    return len(order.id)


async def fetch(url: str) -> bytes:
    return url.encode()


def label(order: Order, *, copies: int = 1) -> str:
    return order.id * copies


@workflow
def small(ctx: Context, order: Order) -> Flow[str]:
    return (yield from ctx.step("label", label, order))


@workflow("large", version="2", retry=Retry(attempts=3))
def large(ctx: Context, order: Order) -> Generator[Any, Any, int]:
    assert_type((yield from small(ctx, order)), str)  # workflows compose
    return 1


@workflow(
    key="by keyword", category="c", signals=[Approved], retry=3, timeout=timedelta(days=1), queue="q", metadata={}
)
def countdown(ctx: Context, n: int = 5) -> Flow[str]:
    yield from ctx.sleep(1)
    if n > 3:
        return ctx.continue_as_new(n - 1)  # fits any result
    return ctx.continue_as_new(n - 1) if n else "lift-off"


@workflow
def no_input(ctx: Context) -> Flow[None]:
    yield from ctx.sleep(1)


def steps(ctx: Context, order: Order) -> Flow[None]:
    assert_type((yield from ctx.step("price", price, order)), int)
    assert_type((yield from ctx.step("fetch", fetch, "u")), bytes)
    assert_type((yield from ctx.step("label", label, order, copies=2)), str)
    assert_type((yield from ctx.step("price", price, order).retry(5).timeout(30).at_most_once()), int)
    assert_type((yield from ctx.step("price", price, order).down(print)), int)
    assert_type((yield from ctx.step("price", price, order).settled()), Ok[int] | Err)
    match (yield from ctx.step("price", price, order).settled()):
        case Ok(value):
            assert_type(value, int)
        case Err(error):
            assert_type(error.step_id, str)


def waiting(ctx: Context, order: Order, when: datetime) -> Flow[None]:
    assert_type((yield from ctx.sleep(timedelta(hours=1))), None)
    assert_type((yield from ctx.sleep_until(when)), None)
    assert_type((yield from ctx.wait_for_signal(Approved)), Approval)
    assert_type((yield from ctx.wait_for_signal(Approved, timeout=60)), Received[Approval] | TimedOut)
    assert_type((yield from ctx.wait_for_signal("by-name")), Any)
    match (yield from ctx.wait_for_signal(Approved, timeout=60)):
        case TimedOut(kind=kind):
            assert_type(kind, Literal["timeout"])
        case Received(approval):
            assert_type(approval, Approval)


def children(ctx: Context, order: Order) -> Flow[None]:
    id = yield from ctx.start("start", small, order)
    assert_type(id, str)
    assert_type((yield from ctx.child("child", small, order)), str)
    assert_type((yield from ctx.child("large", large, order)), int)
    assert_type((yield from ctx.wait_for_execution(small, id)), str)
    assert_type((yield from ctx.wait_for_execution(small, id, timeout=5)), Completed[str] | TimedOut)


def together(ctx: Context, order: Order) -> Flow[None]:
    a, b = ctx.step("price", price, order), ctx.step("label", label, order)
    assert_type((yield from ctx.all(a, b)), tuple[int, str])
    assert_type((yield from ctx.all(a, small(ctx, order), b)), tuple[int, str, str])
    assert_type((yield from ctx.all(a, limit=1)), tuple[int])
    assert_type((yield from ctx.all(small(ctx, order))), tuple[str])  # a sub-flow is one member
    assert_type((yield from ctx.all(no_input(ctx), id="one")), tuple[None])
    assert_type((yield from ctx.all(a, b, id="x", limit=2)), tuple[int, str])
    assert_type((yield from ctx.all(a, b, a, b, a, b, a, b)), tuple[int, str, int, str, int, str, int, str])
    assert_type((yield from ctx.all(a, a, a, a, a, a, a, a, a)), tuple[int, ...])
    assert_type((yield from ctx.all([ctx.step("price", price, each) for each in (order, order)])), list[int])
    # A generator expression is an iterable of members, not a sub-flow.
    assert_type((yield from ctx.all(ctx.step(f"price-{n}", price, order) for n in range(3))), list[int])
    assert_type((yield from ctx.all(ctx.sleep(n) for n in range(3))), list[None])
    assert_type((yield from ctx.all(small(ctx, each) for each in (order, order))), list[str])
    assert_type((yield from ctx.all({"x": a}, limit=1)), dict[str, int])
    assert_type((yield from ctx.map("price", price, [order], limit=2)), list[int])
    assert_type((yield from ctx.race(a=a, again=ctx.step("price", price, order))), Winner[int])
    assert_type((yield from ctx.race(self=a)), Winner[int])
    won = yield from ctx.race({"a": a})
    assert_type(won.name, str)
    assert_type(won.value, int)


def the_rest(ctx: Context, order: Order) -> Flow[None]:
    values = [Branch("small", lambda n: n < 3, 1), Branch("large", None, lambda: 2)]
    assert_type((yield from ctx.switch("size", 3, values)), int)
    flows: list[Branch[str]] = [Branch("one", 1, lambda: small(ctx, order)), Branch("other", None, lambda n: "none")]
    assert_type((yield from ctx.switch("size", 3, flows)), str)
    assert_type((yield from ctx.rollback()), RollbackReport)
    assert_type((yield from ctx.emit(Shipped, order)), None)
    assert_type((yield from ctx.note("text", order=order.id, text="data")), None)
    # What a branch or member of another type makes of the whole: `int | str` for pyright, `object` for mypy. Said outright, it is exact.
    mixed: list[Branch[int | str]] = [Branch("a", "v", "v"), Branch("b", 3, 3)]
    assert_type((yield from ctx.switch("mixed", 3, mixed)), int | str)
    assert_type(ctx.patched("change"), bool)
    assert_type(ctx.now(), float)
    untyped = yield ctx.step("price", price, order)
    assert_type(untyped, Any)


def client(engine: Engine, order: Order) -> None:
    assert_type(small, Workflow[Order, str])
    assert_type(countdown, Workflow[int, str])
    engine.start(countdown)
    handle = engine.start(small, order, idempotency_key="k")
    assert_type(handle, Handle[str])
    assert_type(handle.result(timeout=3), str)
    assert_type(engine.start_and_wait(large, order), StartResult[int])
    assert_type(engine.start_and_wait(large, order).data, int)
    assert_type(engine.schedule(small, order, delay=3), Handle[str])
    engine.start(no_input)
    engine.signal(handle, Approved, Approval("ann"))
    engine.on(Shipped, lambda shipped: assert_type(shipped, Order))


async def async_client(engine: AsyncEngine, order: Order) -> None:
    handle = await engine.start(small, order, idempotency_key="k")
    assert_type(handle, AsyncHandle[str])
    assert_type(await handle.result(timeout=3), str)
    assert_type((await engine.start_and_wait(large, order)).data, int)
    assert_type(await engine.schedule(small, order, delay=3), AsyncHandle[str])
    await engine.signal(handle, Approved, Approval("ann"))
    assert_type(await engine.run(price, order), int)
    await engine.start(small, 3)  # type: ignore[misc]
    await handle.signal(Approved, 5)  # type: ignore[misc]


def parts(
    run: Callable[[Call], Returned],
    done: Callable[[Returned], Call | None],
    failed: Callable[[BaseException], None],
) -> None:
    """What replay has of its own fits its ports."""
    executor: Executor = Pool(1, run, done, failed)
    clock: Clock = SystemClock()
    codec: Codec = TaggedJson()
    store: Store = MemoryStore(clock)
    queue: Queue = MemoryQueue()
    bus: Bus = MemoryBus()
    Engine(store, queue=queue, bus=bus, codec=codec, clock=clock)
    executor.close()


def mistakes(engine: Engine, ctx: Context, order: Order) -> None:
    """Each of these is an error of both checkers: an ignore that is not needed would itself be one."""
    ctx.step("price", price, "not an order")  # type: ignore[call-overload]
    engine.start(small, 3)  # type: ignore[misc]
    engine.signal("id", Approved, "not an approval")  # type: ignore[misc]
    ctx.sleep(1).retry(3)  # type: ignore[attr-defined]
    ctx.emit(Event("done", int), "x")  # type: ignore[misc]
    engine.start(small, order).signal(Approved, 5)  # type: ignore[misc]
