"""Twenty correct workflows of very different shapes: none of them may raise an alarm."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from replay import Branch, Context, Err, Ok, Received, Retry, Signal, StepFailed, TimedOut, current_step, workflow

Go = Signal("go", int)
Stop = Signal("stop", str)


def text(*args: Any) -> str:
    return "text"


def number(*args: Any) -> int:
    return 3


def undo(result: Any) -> None:
    return None


def token() -> str:
    return current_step().token


@workflow(signals=[])
def empty(ctx: Context) -> Iterator[Any]:
    yield from ()


@workflow(signals=[])
def chain(ctx: Context) -> Iterator[Any]:
    for i in range(5):
        yield ctx.step(f"s{i}", number, i)


@workflow(signals=[])
def repeated_ids(ctx: Context) -> Iterator[Any]:
    for _ in range(4):
        yield ctx.step("again", text)


@workflow(signals=[])
def retried(ctx: Context) -> Iterator[Any]:
    yield ctx.step("flaky", text).retry(Retry(attempts=4, initial=5.0))


@workflow(signals=[])
def saga(ctx: Context) -> Iterator[Any]:
    try:
        for name in ("flight", "hotel", "car"):
            yield ctx.step(name, text).down(undo)
            yield ctx.sleep(60)
    except StepFailed:
        yield ctx.rollback()
        return "undone"
    return "booked"


@workflow(signals=[Go])
def approval(ctx: Context) -> Iterator[Any]:
    match (yield ctx.wait_for_signal(Go, timeout=timedelta(days=1))):
        case TimedOut():
            return "late"
        case Received(value):
            return (yield ctx.step("ship", number, value))


@workflow(signals=[Go, Stop])
def mailbox(ctx: Context) -> Iterator[Any]:
    total = 0
    for _ in range(4):
        won = yield ctx.race(
            go=ctx.wait_for_signal(Go), stop=ctx.wait_for_signal(Stop), tired=ctx.sleep(timedelta(minutes=10))
        )
        if won.name != "go":
            return total
        total += won.value
    return total


@workflow(signals=[])
def side_by_side(ctx: Context) -> Iterator[Any]:
    return (yield ctx.all(ctx.step("a", text), ctx.step("b", number), ctx.sleep(10)))


@workflow(signals=[])
def mapped(ctx: Context) -> Iterator[Any]:
    return (yield ctx.map("part", number, range(8), limit=3))


def sub_flow(ctx: Context, name: str) -> Iterator[Any]:
    first = yield ctx.step("first", text, name)
    yield ctx.sleep(5)
    return [first, (yield ctx.step("second", number, name))]


@workflow(signals=[])
def sub_flows(ctx: Context) -> Iterator[Any]:
    return (yield ctx.all({name: sub_flow(ctx, name) for name in ("x", "y")}))


@workflow(signals=[])
def settled(ctx: Context) -> Iterator[Any]:
    match (yield ctx.step("risky", number).settled()):
        case Ok(value):
            return value
        case Err(error):
            return error.step_id


@workflow(signals=[])
def switched(ctx: Context) -> Iterator[Any]:
    size = yield ctx.step("size", number)
    branches = [Branch("small", lambda n: n < 3, "small"), Branch("large", lambda n: n > 5, lambda: sub_flow(ctx, "l"))]
    return (yield ctx.switch("by size", size, branches, default="middle"))


@workflow(signals=[])
def small(ctx: Context, n: int) -> Iterator[Any]:
    yield ctx.sleep(30)
    return (yield ctx.step("small", number, n))


@workflow(signals=[])
def parent(ctx: Context) -> Iterator[Any]:
    started = yield ctx.start("later", small, 1, on_parent_close="wait")
    try:
        return [(yield ctx.child("now", small, 2)), (yield ctx.wait_for_execution(small, started))]
    except Exception:
        return "failed"


@workflow(signals=[])
def deterministic_sources(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", text)
    if ctx.random().random() < 0.5:
        yield ctx.step(f"maybe-{ctx.uuid()}", text)
    return ctx.random("other").randrange(10)


@workflow(signals=[Go])
def cleanup_after_cancel(ctx: Context) -> Iterator[Any]:
    from replay import Cancelled

    yield ctx.step("lock", text).down(undo)
    try:
        yield ctx.wait_for_signal(Go)
    except Cancelled:
        yield ctx.rollback()
        raise


@workflow(signals=[], retry=Retry(attempts=3, initial=60.0))
def driven_again(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", text)
    yield ctx.step("second", number)


@workflow(signals=[])
def charged_once(ctx: Context) -> Iterator[Any]:
    first = yield ctx.step("token", token).at_most_once().settled()
    yield ctx.note("charged", ok=isinstance(first, Ok))
    return isinstance(first, Ok)


@workflow(signals=[])
def pages(ctx: Context, page: int | None = None) -> Iterator[Any]:
    page = page or 0
    yield ctx.step("page", text, page)
    if page < 3:
        return ctx.continue_as_new(page + 1)
    return page


@workflow(signals=[], rollback_on_failure=True, timeout=3600)
def hurried(ctx: Context) -> Iterator[Any]:
    yield ctx.step("begin", text).down(undo)
    if ctx.patched("slower"):
        yield ctx.sleep(1800)
    yield ctx.step("end", text).timeout(60)


CORPUS = [
    empty, chain, repeated_ids, retried, saga, approval, mailbox, side_by_side, mapped, sub_flows, settled, switched, parent,
    deterministic_sources, cleanup_after_cancel, driven_again, charged_once, pages, hurried, small,
]  # fmt: skip
