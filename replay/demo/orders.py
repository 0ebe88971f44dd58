"""Order approval: reserve, price, wait for an approval, then ship or release the goods."""

from __future__ import annotations

import csv
import os
import time
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

import attrs

from replay import Context, Event, Flow, Received, Signal, TimedOut, current_step, workflow
from replay.core.ids import check_id


@attrs.frozen
class Order:
    """Order from a line of the CSV file. Nobody answers if `approver` is empty."""

    id: str
    item: str
    quantity: int
    price: Decimal
    approver: str


@attrs.frozen
class Approval:
    """Approval of an order, by a person's name."""

    by: str


@attrs.frozen
class Outcome:
    """Result of an order."""

    status: str
    total: Decimal = Decimal(0)
    by: str = ""


Approved = Signal("approved", Approval)
Shipped = Event("order.shipped", str)
ANSWERED = timedelta(hours=1)
"""Time that an approver has to answer: far more than the demo needs, however slow the machine is."""

UNANSWERED = timedelta(seconds=4)
"""Time until an order without an approver is given up."""


@workflow("orders.approve", category="orders", signals=[Approved])
def approve_order(ctx: Context, order: Order) -> Flow[Outcome]:
    """Approve one order."""
    yield from ctx.step("reserve", reserve, order.item, order.quantity).retry(5).down(release)
    total = yield from ctx.step("price", price, order)
    patience = ANSWERED if order.approver else UNANSWERED
    match (yield from ctx.wait_for_signal(Approved, timeout=patience)):
        case TimedOut():
            yield from ctx.rollback()
            return Outcome("timed_out", total)
        case Received(approval):
            yield from ctx.step("ship", ship, order)
    yield from ctx.emit(Shipped, order.id)
    return Outcome("approved", total, approval.by)


# --- step bodies: each takes a moment and writes a line to a ledger, which stands for the outside world ------------


def reserve(item: str, quantity: int) -> str:
    """Reserve the goods."""
    _effect()
    return f"{quantity} x {item}"


def release(reserved: str) -> None:
    """Undo `reserve`."""
    _effect()


def price(order: Order) -> Decimal:
    """Compute the order's price."""
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
        ValueError: The file is malformed. The message has a line for each mistake.
    """
    wanted = [field.name for field in attrs.fields(Order)]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}). Fix: save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(f'{path} is not CSV: {error}. Fix: separate by commas, quote by "') from error
    wrong = [f"column {name!r} is missing" for name in wanted if name not in header]
    wrong += [f"column {name!r} is not known, or there twice" for name in header if (header + wanted).count(name) != 2]
    if wrong:
        raise ValueError(
            f"{path}, line 1: {'; '.join(wrong)} (found: {', '.join(header) or 'nothing'}). "
            f"Fix: begin with the line {','.join(wanted)}"
        )
    if not rows:
        raise ValueError(f"{path} holds no orders. Fix: add at least one line below the header")
    orders: dict[str, Order] = {}
    mistakes = []
    for line, row in rows:
        try:
            order = _order(row)
            if order.id in orders:
                raise ValueError(f"order id {order.id!r} stands there twice. Fix: give each order an id of its own")
            orders[order.id] = order
        except ValueError as error:
            mistakes.append(f"{path}, line {line}: {error}")
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return list(orders.values())


def _order(row: dict[str, str]) -> Order:
    cells = [field.name for field in attrs.fields(Order)]
    if row.keys() != set(cells) or None in row.values():
        raise ValueError(f"expected {len(cells)} cells. Fix: quote a cell that holds a comma")
    check_id(row["id"], "order id")
    try:
        quantity, cost = int(row["quantity"]), Decimal(row["price"])
    except (ValueError, InvalidOperation) as error:
        raise ValueError(
            f"quantity must be a whole number and price a decimal, not {row['quantity']!r} and {row['price']!r}"
        ) from error
    if quantity < 1 or not cost.is_finite() or cost < 0:
        raise ValueError(f"quantity must be at least 1 and price at least 0, not {quantity} and {cost}")
    return Order(row["id"], row["item"], quantity, cost, row["approver"])
