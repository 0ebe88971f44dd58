"""Children beside other commands: shared keys, retries, rollbacks, continue_as_new and ends of their parents."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Completed, Context, StepFailed, workflow
from replay.testing import Simulation, fails
from tests.sim.interactions import TWICE, act, kid, once_not, result_of


@workflow
def long_kid(ctx: Context) -> Any:
    yield ctx.sleep(1000)


@pytest.mark.parametrize("cache_size", [0, 10])
def test_an_execution_that_has_ended_may_be_waited_for_again(cache_size: int) -> None:
    @workflow
    def parent(ctx: Context) -> Any:
        child = yield ctx.start("k", kid, 7)
        first = yield ctx.wait_for_execution(kid, child)
        second = yield ctx.wait_for_execution(kid, child, timeout=60)
        return first, second

    with Simulation([parent, kid], cache_size=cache_size) as sim:
        assert result_of(sim, parent) == (7, Completed(7))


@pytest.mark.parametrize("late", [0, 60])
def test_parents_that_share_a_keyed_child_all_hear_of_its_end(late: float) -> None:
    @workflow
    def parent(ctx: Context) -> Any:
        return (yield ctx.child("k", kid, 7, idempotency_key="same"))

    with Simulation([parent, kid]) as sim:
        first = sim.start(parent)
        sim.advance(late)
        second = sim.start(parent)
        assert sim.settle(first)
        assert sim.settle(second)
        assert (first.result(), second.result()) == (7, 7)


@pytest.mark.parametrize("cache_size", [0, 10])
def test_a_retried_workflow_starts_a_failed_child_anew(cache_size: int) -> None:
    @workflow(retry=TWICE)
    def parent(ctx: Context) -> Any:
        return (yield ctx.child("k", kid, 7))

    with Simulation([parent, kid], steps={"work": once_not(7)}, cache_size=cache_size) as sim:
        handle = sim.start(parent)
        assert sim.settle(handle)
        assert handle.result() == 7
        assert len(sim.engine.execution_tree(handle).children) == 2


def test_a_retry_after_a_rollback_runs_a_completed_child_again() -> None:
    @workflow(retry=TWICE)
    def parent(ctx: Context) -> Any:
        try:
            yield ctx.step("a", act).down(act)
            child = yield ctx.child("k", kid, 7)
            yield ctx.step("b", act)
        except StepFailed:
            yield ctx.rollback()
            raise
        return child

    with Simulation([parent, kid], steps={"b": once_not()}) as sim:
        assert result_of(sim, parent) == 7


def test_a_child_whose_start_becomes_void_is_cancelled() -> None:
    @workflow(retry=TWICE)
    def parent(ctx: Context) -> Any:
        try:
            yield ctx.step("a", act).down(act)
            yield ctx.start("k", long_kid)
            yield ctx.step("b", act)
        except StepFailed:
            yield ctx.rollback()
            raise

    with Simulation([parent, long_kid], steps={"b": once_not()}) as sim:
        handle = sim.start(parent)
        assert sim.settle(handle)
        sim.advance(60)
        statuses = [tree.execution.status for tree in sim.engine.execution_tree(handle).children]
        assert statuses == ["cancelled", "cancelled"]  # the first by the retry, the second by its parent's end


def test_children_stay_children_when_their_parent_continues_as_new() -> None:
    @workflow
    def parent(ctx: Context, n: int) -> Any:
        if n == 0:
            yield ctx.start("k", long_kid)
            return ctx.continue_as_new(1)
        yield ctx.sleep(10)

    with Simulation([parent, long_kid]) as sim:
        handle = sim.start(parent, 0)
        assert sim.settle(handle)
        assert sim.now() < 1767225600 + 100
        sim.run()
        (child,) = sim.engine.execution_tree(handle).children
        assert child.execution.status == "cancelled"


@pytest.mark.parametrize("how", ["race", "all", "close"])
def test_a_child_that_nobody_waits_for_any_more_is_cancelled_at_once(how: str) -> None:
    @workflow
    def parent(ctx: Context) -> Any:
        if how == "race":
            yield ctx.race(child=ctx.child("k", long_kid), time=ctx.sleep(1))
        elif how == "all":
            try:
                yield ctx.all(ctx.child("k", long_kid), ctx.step("no", act))
            except StepFailed:
                pass
        else:
            yield ctx.start("k", long_kid)
            yield ctx.start("other", kid, 1, on_parent_close="wait")
            return
        yield ctx.sleep(500)

    with Simulation([parent, long_kid, kid], steps={"no": fails(ValueError)}) as sim:
        handle = sim.start(parent)
        sim.advance(3)
        children = [tree.execution for tree in sim.engine.execution_tree(handle).children]
        assert [c.status for c in children if c.workflow == "long_kid"] == ["cancelled"]
        assert handle.status() == "sleeping"
