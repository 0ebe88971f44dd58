"""A check that proves nothing says so: refusals end the test, workflows that wait for ever are named, `REAL` runs the body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from replay import Context, Signal, current_step, workflow
from replay.testing import (
    REAL,
    Call,
    Simulation,
    assert_recovers,
    calls,
    fails,
    returns,
    scenarios,
    stub,
    takes,
    try_seeds,
)

Go = Signal("go", int)
CALM = {"failures": False, "crashes": False, "cancels": False}


def body(number: int, *, extra: int = 0) -> str:
    return f"real {number}"


@workflow
def one(ctx: Context) -> Iterator[Any]:
    return (yield ctx.step("s", body, 1, extra=2))


def came(steps: Any) -> Any:
    with Simulation([one], steps=steps) as sim:
        handle = sim.start(one)
        assert sim.settle(handle)
        return handle.result()


def body_like(number: int, *, extra: int = 0) -> Any:
    return number + extra


def with_call(made: Call) -> Any:
    return made.attempt


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (REAL, "real 1"),
        (body_like, 3),
        (lambda *args, **kwargs: [*args, kwargs], [1, {"extra": 2}]),
        (stub(lambda made: made.id), "s"),
        (with_call, 1),
        (lambda call: call.args[0], 1),
        (takes(1, REAL), "real 1"),
        (fails(ValueError, times=0, then=REAL), "real 1"),
        (fails(ValueError, times=0, then=returns(4, 5)), 4),
        (fails(ValueError, times=0, then=stub(lambda made: made.id)), "s"),
        (returns(4, 5), 4),
        ("text", "text"),
        (calls(REAL), "real 1"),
        (calls(9), 9),
        (calls(), None),
    ],
)
def test_every_kind_of_stub_is_taken_in_every_place(given_: Any, expected: Any) -> None:
    for key in ("s", body, "*"):
        assert came({key: given_}) == expected

    @settings(max_examples=3, database=None)
    @given(scenarios(one, steps={"s": given_}, **CALM))
    def drawn(run: Any) -> None:
        assert run.result == expected

    drawn()


def test_recorded_calls_hold_the_arguments() -> None:
    recorded = calls("x")
    assert came({"s": recorded}) == "x"
    assert recorded.made == [((1,), {"extra": 2})]
    assert len(recorded) == 1


def test_a_parameter_that_the_body_has_too_is_its_argument() -> None:
    def phone(call: str) -> str:
        return call

    @workflow
    def phoning(ctx: Context) -> Iterator[Any]:
        return (yield ctx.step("phone", phone, "mum"))

    with Simulation([phoning], steps={"phone": lambda call: call * 2}) as sim:
        handle = sim.start(phoning)
        sim.run()
        assert handle.result() == "mummum"


def test_a_stub_of_other_parameters_ends_the_test_and_not_the_step() -> None:
    wrong = {"s": lambda a, b, c: None}
    with pytest.raises(AssertionError, match=r"the stub of step 's' does not take.*Fix: .*stub\(fn\)"):
        came(wrong)
    with pytest.raises(AssertionError, match="the stub of step 's'"):
        assert_recovers(one, steps=wrong)

    @settings(max_examples=3, database=None)
    @given(scenarios(one, steps=wrong, **CALM))
    def drawn(run: Any) -> None:
        pass

    with pytest.raises(AssertionError, match="the stub of step 's'"):
        drawn()


@workflow
def waiting(ctx: Context) -> Iterator[Any]:
    yield ctx.step("s", body, 1)
    return (yield ctx.wait_for_signal(Go))


def unstable_ids() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


NUMBERS = unstable_ids()


@workflow
def unstable(ctx: Context) -> Iterator[Any]:
    yield ctx.step(f"s{next(NUMBERS)}", body, 1)
    yield ctx.sleep(5)


def test_recovery_of_what_does_not_end_undisturbed_is_no_recovery() -> None:
    with pytest.raises(AssertionError, match=r"waits for ever.*signal go.*Fix: signals=") as found:
        assert_recovers(waiting)
    assert len(str(found.value).splitlines()) <= 14
    with pytest.raises(AssertionError, match=r"signal go once more \(1 sent\)"):
        assert_recovers(twice, signals=[(Go, 1)])
    with pytest.raises(AssertionError):
        assert_recovers(unstable)
    with pytest.raises(AssertionError, match="waits for ever"):
        next(try_seeds(waiting, seeds=[1]))
    assert assert_recovers(waiting, signals=[(Go, 3)]) > 5


@workflow
def twice(ctx: Context) -> Iterator[Any]:
    yield ctx.wait_for_signal(Go)
    yield ctx.wait_for_signal(Go)


@workflow
def unlisted(ctx: Context) -> Iterator[Any]:
    return (yield ctx.wait_for_signal(Go)) + (yield ctx.wait_for_signal(Go))


def test_signals_that_nobody_listed_are_drawn_too() -> None:
    ends: set[Any] = set()

    @settings(max_examples=60, database=None, derandomize=True)
    @given(scenarios(unlisted, **CALM))
    def drawn(run: Any) -> None:
        ends.add(run.status)
        assert run.result is None or isinstance(run.result, int)

    drawn()
    assert {"completed", "sleeping"} <= {str(each) for each in ends}


def test_a_scenario_runs_the_real_body_that_reads_its_token() -> None:
    def pay() -> str:
        return current_step().token

    @workflow
    def paying(ctx: Context) -> Iterator[Any]:
        return (yield ctx.step("pay", pay))

    @settings(max_examples=5, database=None)
    @given(scenarios(paying, steps={"*": REAL}, **CALM))
    def drawn(run: Any) -> None:
        assert run.result == "x-1/0/pay"

    drawn()


def test_the_many_runs_of_a_check_log_no_warnings_of_workers(caplog: pytest.LogCaptureFixture) -> None:
    failing = {"s": fails(ValueError)}
    assert_recovers(one, steps=failing)
    assert all(run.problem is None for run in try_seeds(one, seeds=range(5), steps=failing))

    @settings(max_examples=30, database=None)
    @given(scenarios(one))
    def drawn(run: Any) -> None:
        pass

    drawn()
    assert not caplog.records
    with Simulation([one], steps=failing) as sim:
        sim.settle(sim.start(one))
    assert "failed after 1" in caplog.text
