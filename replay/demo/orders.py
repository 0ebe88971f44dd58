"""Orders that need somebody's approval: reserve, price, wait a while for a yes, ship, or give everything back."""

from __future__ import annotations

import csv
import os
import time
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

import attrs

from replay import Context, Event, Flow, Received, Signal, TimedOut, current_step, workflow


@attrs.frozen
class Order:
    """A line of the CSV file; an empty `approver` means that nobody will answer."""

    id: str
    item: str
    quantity: int
    price: Decimal
    approver: str


@attrs.frozen
class Approval:
    """Who said yes."""

    by: str


@attrs.frozen
class Outcome:
    """What became of an order."""

    status: str
    total: Decimal = Decimal(0)
    by: str = ""


Approved = Signal("approved", Approval)
Shipped = Event("order.shipped", str)
PATIENCE = timedelta(seconds=4)


@workflow("orders.approve", category="orders", signals=[Approved])
def approve_order(ctx: Context, order: Order) -> Flow[Outcome]:
    """Approve one order."""
    yield from ctx.step("reserve", reserve, order.item, order.quantity).retry(5).down(release)
    total = yield from ctx.step("price", price, order)
    match (yield from ctx.wait_for_signal(Approved, timeout=PATIENCE)):
        case TimedOut():
            yield from ctx.rollback()
            return Outcome("timed_out", total)
        case Received(approval):
            yield from ctx.step("ship", ship, order)
    yield from ctx.emit(Shipped, order.id)
    return Outcome("approved", total, approval.by)


# --- step bodies: each takes a moment, and leaves a line in a ledger as the outside world would ------------


def reserve(item: str, quantity: int) -> str:
    """Put goods aside."""
    _effect()
    return f"{quantity} x {item}"


def release(reserved: str) -> None:
    """Undo `reserve`."""
    _effect()


def price(order: Order) -> Decimal:
    """Compute what the order costs."""
    _effect()
    return order.price * order.quantity


def ship(order: Order) -> str:
    """Send the goods off."""
    _effect()
    return f"parcel for {order.id}"


def _effect() -> None:
    ledger = os.environ.get("REPLAY_DEMO_LEDGER")
    if ledger:
        step = current_step()
        with Path(ledger).open("a") as file:
            file.write(f"{step.token}\t{os.getpid()}\n")
    time.sleep(0.15)


def read_orders(path: Path) -> list[Order]:
    """Read orders from a CSV file with the columns id, item, quantity, price, approver.

    Raises:
        ValueError: The file is not like that; names the line, what was expected and what was found.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        wanted = [field.name for field in attrs.fields(Order)]
        missing = [name for name in wanted if name not in (reader.fieldnames or [])]
        if missing:
            raise ValueError(
                f"{path}, line 1: column {missing[0]!r} is missing (found: {', '.join(reader.fieldnames or []) or 'nothing'}). "
                f"Fix: begin with the line {','.join(wanted)}"
            )
        orders = [_order(row, f"{path}, line {reader.line_num}") for row in reader]
    if not orders:
        raise ValueError(f"{path} holds no orders. Fix: add at least one line below the header")
    ids = [order.id for order in orders]
    twice = next((id for id in ids if ids.count(id) > 1), None)
    if twice is not None:
        raise ValueError(f"{path}: order id {twice!r} stands there twice. Fix: give each order an id of its own")
    return orders


def _order(row: dict[str, str], where: str) -> Order:
    try:
        quantity, cost = int(row["quantity"]), Decimal(row["price"])
    except (ValueError, InvalidOperation, TypeError) as error:
        raise ValueError(
            f"{where}: quantity must be a whole number and price a decimal, not {row.get('quantity')!r} and {row.get('price')!r}"
        ) from error
    if not row["id"] or quantity < 1:
        raise ValueError(f"{where}: an order needs an id and a quantity of at least 1")
    return Order(row["id"], row["item"] or "", quantity, cost, row["approver"] or "")
