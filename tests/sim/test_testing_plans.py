"""Plans of failing scenarios run when they are used: a stale one fails its own test, with one message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from replay import Context, Retry, StepFailed, workflow
from replay.testing import plan, run_plan, scenarios

RUNS: list[int] = []


def body(item: str) -> str:
    return item


@workflow
def greet(ctx: Context, item: str) -> Iterator[Any]:
    RUNS.append(1)
    yield ctx.step("a", body, item)
    return item


@workflow("greet")
def greet_with_two_steps(ctx: Context, item: str) -> Iterator[Any]:
    yield ctx.step("a", body, item).timeout(5)
    yield ctx.step("b", body, item).timeout(5)
    return item


def printed() -> str:
    @settings(max_examples=20, database=None)
    @given(scenarios(greet, st.just("lamp"), crashes=False, cancels=False))
    def fails(run: Any) -> None:
        assert run.result != "lamp"

    with pytest.raises(AssertionError) as found:
        fails()
    notes = "\n".join(found.value.__notes__)
    return notes.partition("--plan ")[2].split()[0]


def test_a_plan_is_run_when_its_run_is_looked_at_and_once() -> None:
    token = printed()
    RUNS.clear()
    for made in (plan(token), run_plan(greet, token)):
        assert not RUNS
        assert made.result == "lamp"
        ran = len(RUNS)
        assert ran
        assert made.count("a") == 1
        assert len(RUNS) == ran
        assert "ends completed" in repr(made)
        RUNS.clear()


def test_an_example_of_a_plan_fails_as_it_did() -> None:
    @settings(max_examples=1, phases=[Phase.explicit])
    @example(plan(printed()))
    @given(scenarios(greet, st.just("lamp")))
    def pinned(run: Any) -> None:
        assert run.result != "lamp"

    with pytest.raises(AssertionError) as found:
        pinned()
    assert "runs a (attempt 1)" in "\n".join(found.value.__notes__)


def test_a_stale_plan_says_so_and_what_to_do() -> None:
    token = printed()
    for made, said in (
        (run_plan(greet_with_two_steps, token), r"no longer fits workflow 'greet'.*the plan ends before.*Fix: remove"),
        (plan("nonsense"), r"'nonsense' is not a plan.*Fix: copy it whole"),
        (plan(token[:-7]), r"is not a plan.*Fix: copy it whole"),
    ):
        assert repr(made).startswith("plan(")
        with pytest.raises(ValueError, match=said):
            made.status  # noqa: B018


def test_a_stale_plan_does_not_stop_the_collection_of_its_module(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from hypothesis import example, given, strategies as st
        from replay import workflow
        from replay.testing import plan, scenarios

        @workflow
        def w(ctx, item):
            yield ctx.sleep(1)

        @example(plan("stale"))
        @given(scenarios(w, st.just("a")))
        def test_orders(run):
            assert run.status

        def test_another():
            pass
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*'stale' is not a plan*Fix: copy it whole*"])


# --- compensations fail, too -----------------------------------------------------------------------------------------


def undo(item: str) -> None:
    pass


@workflow
def trip(ctx: Context) -> Iterator[Any]:
    try:
        yield ctx.step("hotel", body, "h").retry(Retry(attempts=3)).timeout(30).down(undo)
        yield ctx.step("flight", body, "f")
    except StepFailed:
        yield ctx.rollback()


@pytest.mark.slow
def test_compensations_fail_hang_and_are_retried() -> None:
    statuses: list[str] = []
    kinds: set[str] = set()

    @settings(max_examples=500, database=None, derandomize=True)
    @given(scenarios(trip))
    def look(run: Any) -> None:
        statuses.append(str(run.status))
        kinds.update(kind for id, kind in run.plan["outcomes"].items() if id == "rollback:hotel")

    look()
    assert statuses.count("compensation_failed") >= 3
    assert {"fails", "fails for good", "hangs"} <= kinds

    @settings(max_examples=200, database=None, derandomize=True)
    @given(scenarios(trip, failures=False))
    def no_failure(run: Any) -> None:
        assert run.status != "compensation_failed"

    no_failure()
