"""Forty realistic workflows with one mistake each, beside those of `broken_workflows`; and correct ones that look like them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from replay import Cancelled, Context, Retry, Signal, StepFailed, TimedOut, current_step, workflow
from replay.testing import Ledger, fails
from tests.sim.broken_workflows import BROKEN
from tests.sim.buggy_helpers import is_open
from tests.sim.corpus import CORPUS, Go, small

Approved = Signal("approved", str)
CHARGES: list[Any] = []
MAILS: dict[str, int] = {}
LEDGER = Ledger()
SEEN: list[int] = []
total = 0


class Declined(Exception):
    """The bank declines."""


class Mailer:
    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, address: str) -> None:
        self.sent.append(address)


MAILER = Mailer()


def look(*args: Any) -> int:
    return 1


def decline(*args: Any) -> None:
    raise Declined


def charge(amount: int) -> str:
    CHARGES.append(amount)
    return "paid"


def refund(paid: Any) -> None:
    CHARGES.append(("refund", paid))


def count_up(amount: int) -> str:
    global total
    total += amount
    return "counted"


def mail(address: str) -> None:
    MAILER.send(address)


async def charge_later(amount: int) -> str:
    CHARGES.append(amount)
    return "paid"


def book(seat: str) -> str:
    LEDGER.did("seat", seat, token=current_step().token)
    return seat


def free(seat: Any) -> None:
    LEDGER.undid("seat", seat)


def book_without_token(seat: str) -> str:
    LEDGER.did("seat", seat)
    return seat


def book_and_decline(seat: str) -> str:
    LEDGER.did("seat", seat)
    raise Declined


def free_another(seat: Any) -> None:
    LEDGER.undid("seat", "9z")


def fill(cart: list[str], item: str) -> None:
    cart.append(item)


# --- effects that happen twice -------------------------------------------------------------------------------------


@workflow
def charge_without_token(ctx: Context) -> Iterator[Any]:
    yield ctx.step("charge", charge, 5)


@workflow
def counter_without_token(ctx: Context) -> Iterator[Any]:
    yield ctx.step("count", count_up, 5).retry(3)


@workflow
def mail_through_an_object(ctx: Context) -> Iterator[Any]:
    yield ctx.step("look", look)
    yield ctx.step("mail", mail, "ann")


@workflow
def async_charge(ctx: Context) -> Iterator[Any]:
    yield ctx.step("charge", charge_later, 5)


@workflow
def charge_in_a_member(ctx: Context) -> Iterator[Any]:
    yield ctx.all(ctx.step("look", look), ctx.step("charge", charge, 5))


@workflow
def refund_without_token(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("charge", look).down(refund)
        yield ctx.step("ship", decline)
    except StepFailed:
        yield ctx.rollback()


@workflow
def booking_without_token(ctx: Context) -> Iterator[Any]:
    yield ctx.step("seat", book_without_token, "1a")


@workflow
def retried_after_its_effect(ctx: Context) -> Iterator[Any]:
    yield ctx.step("seat", book_and_decline, "1a").retry(Retry(attempts=3)).settled()


@workflow
def charge_in_each_round(ctx: Context) -> Iterator[Any]:
    for number in range(3):
        yield ctx.step("charge", charge, number)
        yield ctx.sleep(60)


# --- effects that are left behind ------------------------------------------------------------------------------------


@workflow
def never_rolls_back(ctx: Context) -> Iterator[Any]:
    yield ctx.step("seat", book, "1a").down(free)
    yield ctx.step("pay", decline)


@workflow
def expects_another_failure(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("seat", book, "1a").down(free)
        yield ctx.step("pay", decline)
    except TimeoutError:
        yield ctx.rollback()


@workflow
def gives_up_without_undoing(ctx: Context) -> Iterator[Any]:
    yield ctx.step("seat", book, "1a").down(free)
    if isinstance((yield ctx.wait_for_signal(Approved, timeout=60)), TimedOut):
        raise Declined("nobody answered")


@workflow
def leaves_it_when_cancelled(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("seat", book, "1a").down(free)
        yield ctx.sleep(3600)
        yield ctx.step("pay", look)
    except StepFailed:
        yield ctx.rollback()


@workflow
def undoes_another_seat(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("seat", book, "1a").down(free_another)
        yield ctx.step("pay", decline)
    except StepFailed:
        yield ctx.rollback()


@workflow
def undoes_only_what_is_recorded(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("seat", book, "1a").down(free)
    except StepFailed:
        yield ctx.rollback()
        raise


@workflow
def undo_registered_late(ctx: Context) -> Iterator[Any]:
    seat = yield ctx.step("seat", book, "1a")
    yield ctx.step("mark", look).down(lambda _: free(seat))
    try:
        yield ctx.step("pay", decline)
    except StepFailed:
        yield ctx.rollback()


# --- executions that never end ---------------------------------------------------------------------------------------


@workflow
def waits_for_a_misspelled_signal(ctx: Context) -> Iterator[Any]:
    yield ctx.wait_for_signal(Signal("aproved", str))


@workflow
def waits_once_too_often(ctx: Context) -> Iterator[Any]:
    yield ctx.wait_for_signal(Approved)
    yield ctx.wait_for_signal(Approved)


@workflow
def unknown_child(ctx: Context) -> Iterator[Any]:
    yield ctx.child("later", workflow("nobody.knows")(small.fn), 1)


@workflow
def polls_for_ever(ctx: Context) -> Iterator[Any]:
    while True:
        yield ctx.step("poll", look)
        yield ctx.sleep(60)


# --- replays that differ ------------------------------------------------------------------------------------------------


@workflow
def clock_in_a_helper(ctx: Context) -> Iterator[Any]:
    if is_open():
        yield ctx.step("phone", look)
    yield ctx.step("mail", look)


@workflow
def clock_in_a_default(ctx: Context, input: Any = None, at: float = time.time()) -> Iterator[Any]:
    yield ctx.step("first", look)


@workflow
def keys_of_a_set(ctx: Context) -> Iterator[Any]:
    for name in dict.fromkeys({"ann", "bob"}):
        yield ctx.step(name, look)


@workflow
def ties_in_a_set(ctx: Context) -> Iterator[Any]:
    for name in sorted({"ann", "bob"}, key=len):
        yield ctx.step(name, look)


@workflow
def hash_of_a_name(ctx: Context) -> Iterator[Any]:
    yield ctx.step(f"shard-{hash('ann') % 8}", look)


@workflow
def seen_before(ctx: Context) -> Iterator[Any]:
    SEEN.append(1)
    for _ in range(len(SEEN) % 4):
        yield ctx.step("again", look)


# --- commands and values ------------------------------------------------------------------------------------------------


@workflow
def lambda_over_a_loop(ctx: Context) -> Iterator[Any]:
    yield ctx.all([ctx.step(name, lambda: look(name)) for name in ("ann", "bob")])  # noqa: B023 - the mistake


@workflow
def function_over_a_loop(ctx: Context) -> Iterator[Any]:
    members = []
    for name in ("ann", "bob"):

        def send() -> int:
            return look(name)  # noqa: B023 - the mistake

        members.append(ctx.step(name, send))
    yield ctx.all(members)


@workflow
def argument_changed_by_a_step(ctx: Context) -> Iterator[Any]:
    cart: list[str] = []
    yield ctx.step("fill", fill, cart, "lamp")
    return len(cart)


def part(ctx: Context) -> Iterator[Any]:
    yield ctx.step("part", look)


@workflow
def yields_a_generator(ctx: Context) -> Iterator[Any]:
    yield part(ctx)


@workflow
def one_id_for_two(ctx: Context) -> Iterator[Any]:
    yield ctx.all(ctx.step("mail", look, 1), ctx.step("mail", look, 2))


@attrs.frozen
class Case:
    """One workflow, and the arguments of the checks.

    Attributes:
        workflow: The workflow.
        options: Arguments of every check but lint.
    """

    workflow: Any
    options: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def name(self) -> str:
        """Name of the row in the table."""
        return str(self.workflow.key)


WITH_LEDGER: Mapping[str, Any] = {"effects": LEDGER}

BUGGY = [
    *(Case(each) for each in BROKEN),
    *(
        Case(each)
        for each in (
            charge_without_token, counter_without_token, mail_through_an_object, async_charge, charge_in_a_member,
            refund_without_token, charge_in_each_round, never_rolls_back, expects_another_failure, gives_up_without_undoing,
            undo_registered_late, waits_for_a_misspelled_signal, waits_once_too_often, unknown_child, polls_for_ever,
            clock_in_a_helper, clock_in_a_default, keys_of_a_set, ties_in_a_set, hash_of_a_name, seen_before,
            lambda_over_a_loop, function_over_a_loop, argument_changed_by_a_step, yields_a_generator, one_id_for_two,
        )
    ),
    *(
        Case(each, WITH_LEDGER)
        for each in (
            booking_without_token, retried_after_its_effect, leaves_it_when_cancelled, undoes_another_seat,
            undoes_only_what_is_recorded,
        )
    ),
]  # fmt: skip
"""Every workflow with a mistake."""


# --- correct ones that look like them -----------------------------------------------------------------------------------


def charge_with_token(amount: int) -> str:
    MAILS[current_step().token] = MAILS.get(current_step().token, 0) + amount
    return "paid"


def set_a_key(amount: int) -> str:
    MAILS["order-1"] = amount
    return "paid"


def free_by_key(seat: Any) -> None:
    LEDGER.undid("seat", "1a")


@workflow
def charges_with_token(ctx: Context) -> Iterator[Any]:
    yield ctx.step("charge", charge_with_token, 5).retry(3)


@workflow
def charges_by_a_natural_key(ctx: Context) -> Iterator[Any]:
    yield ctx.step("charge", set_a_key, 5).retry(3)


@workflow
def charges_at_most_once(ctx: Context) -> Iterator[Any]:
    yield ctx.step("charge", charge, 5).at_most_once().settled()


@workflow
def undoes_before_it_books(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("intent", look).down(free_by_key)
        yield ctx.step("seat", book, "1a")
        yield ctx.step("pay", decline)
    except (StepFailed, Cancelled):
        yield ctx.rollback()
        raise


@workflow(rollback_on_failure=True)
def rolls_back_by_itself(ctx: Context) -> Iterator[Any]:
    yield ctx.step("intent", look).down(free_by_key)
    yield ctx.step("seat", book, "1a")
    yield ctx.step("pay", decline)


@workflow
def makes_up_for_it(ctx: Context) -> Iterator[Any]:
    seat = yield ctx.step("seat", look).down(free)
    try:
        yield ctx.step("pay", decline)
    except StepFailed:
        yield ctx.step("free", look, seat)
        raise


@workflow
def sends_after_the_loop(ctx: Context) -> Iterator[Any]:
    members = []
    for name in ("ann", "bob"):

        def send(name: str = name) -> int:
            return look(name)

        members.append(ctx.step(name, send))
    yield ctx.all(members)


@workflow
def polls_until_it_is_done(ctx: Context) -> Iterator[Any]:
    while True:
        if (yield ctx.step("poll", look)) == 1:
            return "done"
        yield ctx.sleep(60)


CORRECT = [
    *(Case(each, {"others": [] if each is small else [small]}) for each in CORPUS),
    *(Case(each) for each in (charges_with_token, charges_by_a_natural_key, makes_up_for_it, sends_after_the_loop)),
    Case(charges_at_most_once, {"same": False}),
    Case(polls_until_it_is_done, {"steps": {"poll": fails(Declined, times=0, then=1)}}),
    *(Case(each, WITH_LEDGER) for each in (undoes_before_it_books, rolls_back_by_itself)),
]
"""Correct workflows."""

SIGNALS = {"approval": [(Go, 4)], "mailbox": [(Go, 1), (Go, 2)], "cleanup_after_cancel": [(Go, 1)]}
SIGNALS |= {"waits_for_a_misspelled_signal": [(Approved, "ann")], "waits_once_too_often": [(Approved, "ann")]}
