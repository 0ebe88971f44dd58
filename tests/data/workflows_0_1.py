"""The workflows whose executions are stored in `0.1/`. Keep them as they are: their code must fit those logs."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import Any

import attrs

from replay import Branch, Cancelled, Context, Err, Event, Flow, NoBranchMatched, Ok, Signal, StepFailed, workflow

Approved = Signal("approved", str)
Counted = Signal("counted", int)
Never = Signal("never")
Shipped = Event("order.shipped", dict)

RECORDING = False
"""True while the fixtures are made: two functions fail then, which are repaired afterwards."""

WRONG_CODE = False
"""True while one log is to disagree with the code."""


class Colour(enum.Enum):
    """An enum, to be stored."""

    RED = "red"


@attrs.frozen
class Order:
    """An input with values that plain JSON would change."""

    id: str
    price: Decimal
    at: dt.datetime
    items: tuple[str, ...]
    colour: Colour = Colour.RED


def give(value: Any) -> Any:
    """Return *value*: a step."""
    return value


def fail(text: str) -> Any:
    """Raise: a step."""
    raise ValueError(text)


def fail_once(text: str) -> str:
    """Raise while the fixtures are made, return afterwards: a step that somebody repaired."""
    if RECORDING:
        raise ValueError(text)
    return text


def undo(result: Any) -> None:
    """Do nothing: a compensation."""


def undo_badly(result: Any) -> None:
    """Raise while the fixtures are made: a compensation that somebody repaired."""
    if RECORDING:
        raise RuntimeError(f"cannot undo {result}")


@workflow("orders", signals=[Approved, Never], retention=10 * 365 * 86_400, metadata={"team": "sales"})
def orders(ctx: Context, order: Order) -> Flow[Any]:
    """Yield most commands once."""
    kept = yield from ctx.step("keep", give, order)
    once = yield from ctx.step("once", give, "once").at_most_once()
    settled = yield from ctx.step("settled", fail, "no").settled()
    tried = "tried" if isinstance(settled, Err) and not isinstance(settled, Ok) else "never"
    yield from ctx.sleep(5)
    late = yield from ctx.wait_for_signal(Never, timeout=5) if ctx.patched("no-late") else ctx.sleep(1)
    chosen = yield from ctx.switch("colour", order.colour, [Branch("red", lambda c: c is Colour.RED, "is red")])
    try:
        yield from ctx.switch("none", 1, [Branch("two", lambda n: n == 2, "two")])
    except NoBranchMatched:
        yield from ctx.note("no branch", number=1)
    yield from ctx.emit(Shipped, {"id": order.id})
    winner = yield from ctx.race(quick=ctx.step("quick", give, 1), slow=ctx.sleep(1000))
    both = yield from ctx.all(ctx.step("left", give, (1, 2)), ctx.step("right", give, {3}))
    child = yield from ctx.child("child", little, 20)
    by = yield from ctx.wait_for_signal(Approved)
    return [kept, once, tried, str(late), chosen, winner.name, both, child, by, ctx.random().random()]


@workflow("little")
def little(ctx: Context, number: int) -> Flow[int]:
    """Run one step."""
    return (yield from ctx.step("number", give, number)) + 1


@workflow("sleeper")
def sleeper(ctx: Context, seconds: float) -> Flow[str]:
    """Sleep between two steps."""
    first = yield from ctx.step("before", give, "before")
    yield from ctx.sleep(seconds)
    return f"{first}, {(yield from ctx.step('after', give, 'after'))}"


@workflow("waiter", signals=[Approved, Counted])
def waiter(ctx: Context) -> Flow[list[Any]]:
    """Wait for an approval and three numbers."""
    by = yield from ctx.wait_for_signal(Approved)
    counted = []
    for _ in range(3):
        counted.append((yield from ctx.wait_for_signal(Counted)))
    return [by, *counted]


@workflow("parent")
def parent(ctx: Context) -> Flow[list[Any]]:
    """Wait for one child, and leave another to itself."""
    yield from ctx.start("left", waiter, on_parent_close="abandon")
    return [(yield from ctx.child("slow", sleeper, 60.0))]


@workflow("stepper")
def stepper(ctx: Context, name: str) -> Flow[str]:
    """Run one step of a given name, which the maker of the fixtures lets hang."""
    return (yield from ctx.step(name, give, name)) + (yield from ctx.step("last", give, "!"))


@workflow("retrier")
def retrier(ctx: Context) -> Flow[str]:
    """Run a step that is tried again an hour later."""
    from replay import Retry

    return (yield from ctx.step("flaky", fail_once, "flaky").retry(Retry(attempts=9, initial=3600, cap=3600, jitter=0)))


@workflow("attempts", retry=3)
def attempts(ctx: Context) -> Flow[list[Any]]:
    """Receive a signal and fail, so that the next attempt receives it again."""
    by = yield from ctx.wait_for_signal(Approved)
    return [by, (yield from ctx.step("flaky", fail if ctx.attempt == 1 else give, "flaky")), ctx.attempt]


@workflow("failer")
def failer(ctx: Context, text: str) -> Flow[str]:
    """Keep one result and fail."""
    kept = yield from ctx.step("kept", give, text)
    return kept + (yield from ctx.step("flaky", fail_once, text))


@workflow("saga")
def saga(ctx: Context) -> Flow[str]:
    """Fail and roll back; the second compensation fails, too."""
    try:
        yield from ctx.step("first", give, 1).down(undo_badly)
        yield from ctx.step("second", give, 2).down(undo)
        yield from ctx.step("third", fail, "third")
    except StepFailed:
        yield from ctx.rollback()
    return "rolled back"


@workflow("cancelled")
def cancelled(ctx: Context, seconds: float) -> Flow[None]:
    """Clean up when it is cancelled."""
    try:
        yield from ctx.step("work", give, 1).down(undo)
        yield from ctx.sleep(seconds)
    except Cancelled:
        yield from ctx.rollback()
        raise


@workflow("changed")
def changed(ctx: Context) -> Flow[str]:
    """Sleep between two steps, of which wrong code has renamed the first."""
    yield from ctx.step("renamed" if WRONG_CODE else "first", give, 1)
    yield from ctx.sleep(1)
    yield from ctx.step("second", give, 2)
    return "fits again"


@workflow("counter")
def counter(ctx: Context, number: int) -> Flow[str]:
    """Continue as new, with an open child, until the number is zero; then sleep."""
    if number == 2:
        yield from ctx.start("open", waiter, on_parent_close="abandon")
    yield from ctx.note("counting", number=number)
    if number:
        return ctx.continue_as_new(number - 1)
    yield from ctx.sleep(30)
    return "counted down"


@workflow("ticking")
def ticking(ctx: Context, text: str) -> Flow[str]:
    """Run at the ticks of a schedule."""
    yield from ctx.sleep(600)
    return text


ALL = [
    orders,
    little,
    sleeper,
    waiter,
    parent,
    stepper,
    retrier,
    attempts,
    failer,
    saga,
    cancelled,
    changed,
    counter,
    ticking,
]
