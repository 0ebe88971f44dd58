"""Effects that happen twice or are left behind are found by every check; correct workflows raise no alarm."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from replay import Context, Retry, StepFailed, current_step, workflow
from replay.testing import REAL, Ledger, assert_recovers, assert_replay_equivalent, fails, scenarios, try_seeds

pytestmark = pytest.mark.slow

CHARGES: list[Any] = []
BY_TOKEN: dict[str, Any] = {}
NUMBER = itertools.count()
LEDGER = Ledger()
balance = 0


class Gateway:
    def __init__(self) -> None:
        self.charged: list[Any] = []

    def charge(self, amount: int) -> str:
        self.charged.append(amount)
        return "paid"


GATEWAY = Gateway()


def charge(amount: int) -> str:
    CHARGES.append(amount)
    return "paid"


def charge_through_a_helper(amount: int) -> str:
    return charge(amount)


def charge_a_global(amount: int) -> str:
    global balance
    balance += amount
    return "paid"


def charge_through_an_object(amount: int) -> str:
    return GATEWAY.charge(amount)


async def charge_later(amount: int) -> str:
    CHARGES.append(amount)
    return "paid"


def charge_in_the_ledger(amount: int) -> str:
    LEDGER.did("charge", amount)
    return "paid"


def charge_with_another_name(amount: int) -> str:
    CHARGES.append((amount, next(NUMBER)))
    return "paid"


def closure() -> Callable[[int], str]:
    made: list[int] = []

    def body(amount: int) -> str:
        made.append(amount)
        return "paid"

    return body


def paying(body: Callable[..., Any]) -> Any:
    @workflow
    def pay(ctx: Context, amount: int) -> Iterator[Any]:
        return (yield ctx.step("charge", body, amount).retry(Retry(attempts=3)))

    return pay


TWICE = [
    charge,
    charge_through_a_helper,
    charge_a_global,
    charge_through_an_object,
    GATEWAY.charge,
    charge_later,
    charge_in_the_ledger,
    charge_with_another_name,
    closure(),
]


def by_scenarios(pay: Any, **options: Any) -> None:
    from hypothesis import strategies as st

    @settings(max_examples=100, database=None, derandomize=True)
    @given(scenarios(pay, st.just(5), steps={"*": REAL}, **options))
    def drawn(run: Any) -> None:
        pass

    drawn()


@pytest.mark.parametrize("body", TWICE, ids=lambda body: body.__qualname__)
def test_a_charge_without_a_token_is_found_by_each_check_in_a_few_lines(body: Any) -> None:
    pay = paying(body)
    with pytest.raises(AssertionError, match=r"was done twice") as found:
        assert_recovers(pay, 5, effects=LEDGER)
    assert len(str(found.value).splitlines()) <= 15, str(found.value)
    assert "current_step().token" in str(found.value)
    problems = [run.problem for run in try_seeds(pay, 5, seeds=range(30), effects=LEDGER)]
    assert any("was done twice" in (problem or "") for problem in problems)
    with pytest.raises(AssertionError, match="was done twice"):
        by_scenarios(pay, effects=LEDGER)
    with pytest.raises(AssertionError, match="was done twice"):
        by_scenarios(pay, effects=LEDGER, crashes=False)  # a failure after the effect


def charge_with_the_token(amount: int) -> str:
    BY_TOKEN.setdefault(current_step().token, []).append(amount)
    return "paid"


def charge_with_a_natural_key(amount: int) -> str:
    BY_TOKEN["order-1"] = amount
    return "paid"


def charge_in_the_ledger_with_the_token(amount: int) -> str:
    LEDGER.did("charge", amount, token=current_step().token)
    return "paid"


def pure(amount: int) -> str:
    return f"{amount} of {len(CHARGES)}"[:1]


@pytest.mark.parametrize(
    "body",
    [charge_with_the_token, charge_with_a_natural_key, charge_in_the_ledger_with_the_token, pure],
    ids=lambda body: body.__name__,
)
def test_what_may_happen_again_raises_no_alarm(body: Any) -> None:
    BY_TOKEN.clear()
    pay = paying(body)
    assert_recovers(pay, 5, effects=LEDGER)
    assert_replay_equivalent(pay, 5)
    assert all(run.problem is None for run in try_seeds(pay, 5, seeds=range(20), effects=LEDGER))
    by_scenarios(pay, effects=LEDGER)


def test_steps_that_run_once_and_stubs_and_counters_that_are_excused_raise_no_alarm() -> None:
    @workflow
    def once(ctx: Context) -> Iterator[Any]:
        yield ctx.step("charge", charge, 5).at_most_once()

    assert_recovers(once, same=False)
    assert_recovers(paying(charge), 5, steps={"charge": lambda amount: CHARGES.append(amount)})
    assert_recovers(paying(charge), 5, effects=False)
    by_scenarios(paying(charge), effects=False)


# --- done and not undone ---------------------------------------------------------------------------------------------


class Full(Exception):
    """No seat is left."""


def book(seat: str) -> str:
    LEDGER.did("seat", seat, token=current_step().token)
    return seat


def free(seat: str) -> None:
    LEDGER.undid("seat", seat)


def refuse() -> None:
    raise Full


@workflow
def forgets_to_roll_back(ctx: Context) -> Iterator[Any]:
    yield ctx.step("seat", book, "1a").down(free)
    yield ctx.step("pay", refuse)


@workflow
def rolls_back(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("seat", book, "1a").down(free)
        yield ctx.step("pay", refuse)
    except StepFailed:
        yield ctx.rollback()
        raise


@workflow(rollback_on_failure=True)
def rolls_back_by_itself(ctx: Context) -> Iterator[Any]:
    yield ctx.step("seat", book, "1a").down(free)
    yield ctx.step("pay", refuse)


@workflow
def makes_up_for_it(ctx: Context) -> Iterator[Any]:
    try:
        seat = yield ctx.step("seat", book, "1a").down(free)
        yield ctx.step("pay", refuse)
    except StepFailed:
        yield ctx.step("free", free, seat)
        raise


def test_what_a_failed_execution_leaves_behind_is_found() -> None:
    with pytest.raises(AssertionError, match=r"step 'seat' was done and not undone: 'pay' failed.*\n.*Fix: "):
        assert_recovers(forgets_to_roll_back)
    with pytest.raises(AssertionError, match="was done and not undone"):
        by_scenarios_without_input(forgets_to_roll_back)
    for correct in (rolls_back, rolls_back_by_itself, makes_up_for_it):
        assert_recovers(correct, effects=LEDGER)
        by_scenarios_without_input(correct)


def by_scenarios_without_input(wf: Any, **options: Any) -> None:
    @settings(max_examples=150, database=None, derandomize=True)
    @given(scenarios(wf, **{"steps": {"*": REAL}, **options}))
    def drawn(run: Any) -> None:
        pass

    drawn()


@workflow
def leaves_it_when_cancelled(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("seat", book, "1a").down(free)
        yield ctx.sleep(60)
        yield ctx.step("pay", refuse)
    except StepFailed:
        yield ctx.rollback()


def test_a_ledger_shows_what_a_cancelled_execution_left_behind() -> None:
    free("1a")  # the ledger knows that seats can be freed
    with pytest.raises(AssertionError, match=r"seat\('1a'\) by step 'seat' was done and not undone.*ended cancelled"):
        by_scenarios_without_input(leaves_it_when_cancelled, effects=LEDGER)


def test_an_effect_whose_step_fails_afterwards_is_not_undone_by_its_compensation() -> None:
    free("1a")
    with pytest.raises(AssertionError, match=r"seat\('1a'\) by step 'seat' was done and not undone"):
        by_scenarios_without_input(rolls_back, effects=LEDGER, crashes=False, cancels=False)


# --- hooks --------------------------------------------------------------------------------------------------------------


def test_hooks_make_a_fresh_world_for_each_run_and_look_at_it() -> None:
    events: list[str] = []

    def setup() -> None:
        events.append("setup")
        CHARGES.clear()

    def once(handle: Any) -> None:
        events.append("check")
        assert handle.result() == "paid"
        assert len(CHARGES) == 1, f"{len(CHARGES)} charges"

    hooks: Any = {"setup": setup, "teardown": lambda: events.append("teardown"), "effects": False}
    pay = paying(charge)
    with pytest.raises(AssertionError, match="check=once fails: 2 charges"):
        assert_recovers(pay, 5, check=once, **hooks)
    assert events[:3] == ["setup", "check", "teardown"]
    assert events.count("setup") == events.count("teardown") == events.count("check")
    problems = [run.problem for run in try_seeds(pay, 5, seeds=range(30), check=once, **hooks)]
    assert any("2 charges" in (problem or "") for problem in problems)
    with pytest.raises(AssertionError, match="check=once fails"):
        by_scenarios(pay, check=once, failures=False, cancels=False, **hooks)
    with pytest.raises(AssertionError, match=r"undisturbed.*check=<lambda> returns False"):
        assert_recovers(pay, 5, check=lambda: len(CHARGES) == 7, **hooks)
    assert assert_recovers(paying(charge_with_the_token), 5, check=lambda handle: handle.result() == "paid") > 5


def test_teardown_runs_although_the_run_failed() -> None:
    events: list[str] = []
    with pytest.raises(AssertionError):
        assert_recovers(paying(charge), 5, steps={"charge": lambda: 1}, teardown=lambda: events.append("teardown"))
    assert events == ["teardown"]
    assert_recovers(paying(charge), 5, steps={"charge": fails(Full)})


def test_the_ledger_counts() -> None:
    ledger = Ledger()
    assert ledger.did("mail", "ann", token="t")
    assert not ledger.did("mail", "ann", token="t")
    assert ledger.did("mail", "bob")
    assert (ledger.count("mail"), ledger.count("mail", "bob"), ledger.count("post")) == (2, 1, 0)
    assert ledger.undid("mail", "bob")
    assert not ledger.undid("mail", "bob")
    assert [each.key for each in ledger.undoable()] == ["ann"]
    ledger.clear()
    assert not ledger.effects
    assert not ledger.problems
