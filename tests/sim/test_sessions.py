"""A session's rarer turns: what comes between a decision and its commit, and what a log may hold that the code does not want."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Cancelled, Context, Flow, Retry, UnknownExecution, workflow
from replay.backends.memory import MemoryStore
from replay.core import requests as r
from replay.core.errors import Fenced, NonDeterminism
from tests.sim.one_worker import OneWorker

BEGAN = ["Began", 1.0, 0, "", "w", 1]


def act(value: Any = 1) -> Any:
    return value


def fail() -> None:
    raise ValueError("no")


@workflow
def one_step(ctx: Context) -> Flow[int]:
    return (yield from ctx.step("a", act, 1))


@workflow
def two_steps(ctx: Context) -> Flow[int]:
    first = yield from ctx.step("a", act, 1)
    return first + (yield from ctx.step("b", act, 2))


@workflow
def racing(ctx: Context) -> Flow[str]:
    won = yield from ctx.race(a=ctx.step("a", act, 1), b=ctx.step("b", act, 2))
    return won.name


@workflow
def napping(ctx: Context) -> Flow[int]:
    """Waits, so that another session replays its log."""
    yield from ctx.sleep(60)
    return (yield from ctx.step("a", act, 1))


# --- messages in between ----------------------------------------------------------------------------------------------


class Interleaving(MemoryStore):
    """Something happens right before the commits in which *before* says so."""

    before: Any = staticmethod(lambda store, commit: None)

    def apply(self, requests: Any) -> list[Any]:
        for request in requests:
            if isinstance(request, r.Commit):
                self.before(self, request)
        return super().apply(requests)


def test_a_cancel_that_comes_before_the_commit_starts_no_step() -> None:
    world = OneWorker(one_step, store=Interleaving)
    cancels = [r.Deliver("x", "c", "cancel", "", b'"why"')]
    world.store.before = lambda store, commit: cancels and MemoryStore.apply(store, [cancels.pop()])  # type: ignore[attr-defined]
    world.create("x", "one_step")
    assert world.turn() == []
    assert world.status("x") == "cancelled"


@workflow
def tidying(ctx: Context) -> Flow[Any]:
    try:
        yield from ctx.step("a", act, 1)
    except Cancelled:
        yield from ctx.step("tidy", act, 2)
        yield from ctx.child("kid", one_step)
        raise


def test_the_clean_up_after_such_a_cancel_runs_once_and_takes_each_answer_once() -> None:
    world = OneWorker(tidying, one_step, store=Interleaving)
    cancels = [r.Deliver("x", "c", "cancel", "", b'"why"')]
    world.store.before = lambda store, commit: cancels and MemoryStore.apply(store, [cancels.pop()])  # type: ignore[attr-defined]
    world.create("x", "tidying")
    (call,) = world.turn()  # it was started twice: once for the step that the cancel took back
    assert call.id == "tidy"
    world.returns(call)
    world.settle()
    assert world.status("x") == "cancelled"


def test_a_clean_up_without_steps_starts_none() -> None:
    @workflow
    def napping_on(ctx: Context) -> Flow[Any]:
        try:
            yield from ctx.step("a", act, 1)
        except Cancelled:
            yield from ctx.sleep(10)
            raise

    world = OneWorker(napping_on, store=Interleaving)
    cancels = [r.Deliver("x", "c", "cancel", "", b'"why"')]
    world.store.before = lambda store, commit: cancels and MemoryStore.apply(store, [cancels.pop()])  # type: ignore[attr-defined]
    world.create("x", "napping_on")
    assert world.turn() == []
    assert world.status("x") == "sleeping"


def test_a_wait_that_begins_with_a_cancel_in_the_inbox_leaves_no_answer_behind() -> None:
    @workflow
    def begins_anew(ctx: Context, again: bool) -> Flow[str]:
        if not again:
            return "done"
        try:
            yield from ctx.sleep(1000)
        except Cancelled:
            yield from ctx.child("kid", one_step)
            yield from ctx.sleep(50)
        return "never"

    world = OneWorker(begins_anew)
    world.create("x", "begins_anew", True)
    world.settle()
    world.worker.close()
    world = OneWorker(begins_anew, one_step, beside=world)
    world.deliver("x", "cancel")
    world.settle()
    assert world.status("x") == "sleeping"
    assert world.store.apply([r.Inbox("x")]) == [()]


def test_a_message_during_the_pause_before_an_attempt_waits_with_it() -> None:
    @workflow(retry=Retry(2, initial=50, jitter=0))
    def retried(ctx: Context) -> Flow[Any]:
        yield from ctx.step("fail", fail)

    world = OneWorker(retried, store=Interleaving)
    world.create("x", "retried")
    world.settle()
    more = [r.Deliver("x", "second", "signal", "go", b"2")]
    world.store.before = lambda store, commit: more and MemoryStore.apply(store, [more.pop()])  # type: ignore[attr-defined]
    world.deliver("x")
    world.settle()
    assert more == []
    assert (world.status("x"), world.header("x").attempt) == ("retrying", 2)
    world.wait(60)
    world.settle()
    assert world.status("x") == "failed"


def test_a_cancel_that_comes_with_the_last_result_of_a_race_is_not_lost() -> None:
    @workflow
    def caught(ctx: Context) -> Flow[str]:
        try:
            yield from ctx.race(a=ctx.step("a", act, 1))
        except Cancelled:
            return "cancelled"
        return "won"

    world = OneWorker(caught)
    world.create("x", "caught")
    calls = world.turn()
    world.returns(*calls)
    world.deliver("x", "cancel", notice=True)
    world.settle()
    assert world.status("x") == "cancelled"
    assert [row[0] for row in world.log("x")][-3:] == ["StepDone", "CancelReceived", "Ended"]


def test_a_message_of_an_unknown_kind_stays_in_the_inbox_and_disturbs_nothing() -> None:
    world = OneWorker(napping)
    world.create("x", "napping")
    world.settle()
    world.deliver("x", "novelty")
    world.settle()
    assert [message.kind for message in world.store.apply([r.Inbox("x")])[0]] == ["novelty"]
    world.wait(60)
    world.settle()
    assert world.result("x") == 1


# --- steps ------------------------------------------------------------------------------------------------------------


def test_the_result_of_a_step_that_lost_its_race_is_refused() -> None:
    world = OneWorker(racing)
    world.create("x", "racing")
    first, second = world.turn()
    world.returns(first)
    world.turn()
    assert second.abandoned
    assert second.cancelled.is_set()
    world.returns(second)
    world.settle()
    assert world.result("x") == "a"
    assert [row[3] for row in world.log("x") if row[0] == "StepDone"] == ["a/a"]


def test_the_execution_goes_on_while_the_loser_of_a_race_still_runs() -> None:
    @workflow
    def going_on(ctx: Context) -> Flow[str]:
        won = yield from ctx.race(a=ctx.step("a", act, 1), b=ctx.step("b", act, 2))
        yield from ctx.step("next", act)
        return won.name

    world = OneWorker(going_on)
    world.create("x", "going_on")
    first, second = world.turn()
    world.returns(first)
    (call,) = world.turn()
    assert (call.id, second.abandoned) == ("next", True)
    world.returns(second)
    world.turn()
    world.returns(call)
    world.settle()
    assert world.result("x") == "a"
    assert [row[3] for row in world.log("x") if row[0] == "StepDone"] == ["a/a", "next"]


def test_results_of_both_members_in_one_turn_give_one_winner() -> None:
    world = OneWorker(racing)
    world.create("x", "racing")
    world.returns(*world.turn())
    world.settle()
    assert world.result("x") == "a"
    assert [row[3] for row in world.log("x") if row[0] == "StepDone"] == ["a/a"]


def test_a_result_that_is_delivered_twice_counts_once() -> None:
    world = OneWorker(two_steps)
    world.create("x", "two_steps")
    (call,) = world.turn()
    world.returns(call)
    world.returns(call)
    world.settle()
    assert world.result("x") == 3
    assert [row[3] for row in world.log("x") if row[0] == "StepDone"] == ["a", "b"]


# --- watching ---------------------------------------------------------------------------------------------------------


def test_waiting_for_an_unknown_execution_is_refused_at_its_yield_alone() -> None:
    @workflow
    def waiting(ctx: Context) -> Flow[list[str]]:
        def one(id: str) -> Any:
            try:
                yield from ctx.wait_for_execution(one_step, id)
            except UnknownExecution:
                return "unknown"
            return "known"

        return (yield from ctx.all([one("nobody"), one("there"), one("nobody"), ctx.sleep(1)]))

    world = OneWorker(waiting, one_step)
    world.create("x", "waiting")
    world.create("there", "one_step")
    world.settle()
    world.wait(2)
    world.settle()
    assert world.result("x") == ["unknown", "known", "unknown", None]


def test_a_session_that_replays_watches_again_without_a_commit_before() -> None:
    @workflow
    def waiting(ctx: Context) -> Flow[int]:
        done = yield from ctx.wait_for_execution(one_step, "other")
        return done

    world = OneWorker(waiting, one_step, cache_size=0, queues=("default", "other"))
    world.create("other", "one_step", at=world.clock.now() + 100)
    world.create("x", "waiting")
    world.settle()
    world.deliver("x")
    world.settle()
    assert world.status("x") == "sleeping"
    world.wait(100)
    world.settle()
    assert world.result("x") == 1


# --- logs that do not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("input", "rows"), [(b"null", [BEGAN, ["Novelty", 2.0, 0]]), (b"null", [BEGAN, ["StepDone", 2.0]]), (b"{", [BEGAN])]
)
def test_what_this_version_cannot_read_makes_an_execution_stuck_and_loses_nothing(
    input: bytes, rows: list[Any]
) -> None:
    world = OneWorker(one_step)
    entries = tuple(world.codec.encode(row) for row in rows)
    world.store.apply([r.Create("x", "one_step", input, entries=entries)])
    world.settle()
    header = world.header("x")
    assert (header.status, b"Undecodable" in header.current) == ("stuck", True)
    assert tuple(world.store.apply([r.Load("x")])[0]) == entries


def test_changed_arguments_are_warned_of_and_the_execution_goes_on(caplog: Any) -> None:
    world = OneWorker(two_steps)
    other = world.codec.digest((7,), {})
    world.create("x", "two_steps", rows=[BEGAN, ["StepDone", 2.0, 0, "a", 10, other, 1, 0.0]])
    world.settle()
    assert world.result("x") == 12
    (warning,) = caplog.records
    assert "Step('a') is called with other arguments than were recorded" in warning.getMessage()


def test_a_second_cancel_in_a_log_changes_nothing() -> None:
    @workflow
    def caught(ctx: Context) -> Flow[str]:
        try:
            yield from ctx.sleep(100)
        except Cancelled as cancelled:
            yield from ctx.step("a", act)
            seen.append(cancelled.reason)
        return "tidy"

    seen: list[Any] = []
    cancels = [["CancelReceived", 2.0, 0, "", reason] for reason in ("first", "second")]
    world = OneWorker(caught)
    world.create("x", "caught", rows=[BEGAN, ["TimerSet", 1.0, 0, "sleep", 101.0], *cancels])
    world.settle()
    assert (world.status("x"), seen) == ("cancelled", ["first"])


def test_changes_asked_of_during_one_replay_are_answered_by_the_log() -> None:
    @workflow
    def patched(ctx: Context) -> Flow[list[bool]]:
        yield from ctx.step("a", act)
        answers = [ctx.patched("old") and ctx.patched("old"), ctx.patched("new"), ctx.patched("newer")]
        yield from ctx.step("b", act)
        return [*answers, ctx.patched("newest"), ctx.patched("latest")]

    done = [["StepDone", 2.0, 0, id, 1, None, 1, 0.0] for id in ("a", "b")]
    world = OneWorker(patched)
    world.create("x", "patched", rows=[BEGAN, done[0], ["Patched", 2.0, 0, "old"], done[1]])
    world.settle()
    assert world.result("x") == [True, False, False, True, True]


@pytest.mark.parametrize("raises", [KeyboardInterrupt, LookupError])
def test_a_generator_that_cannot_be_made_fails_its_execution_and_ctrl_c_leaves(raises: type[BaseException]) -> None:
    class Broken(type(one_step)):  # type: ignore[misc]
        def generator(self, ctx: Any, input: Any) -> Any:
            raise raises("cannot")

    world = OneWorker(Broken(one_step.fn))
    world.create("x", "one_step")
    if raises is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            world.settle()
        world.worker.close()
    else:
        world.settle()
        assert repr(world.error("x")) == "LookupError('cannot')"


def test_a_divergence_while_a_step_runs_asks_it_to_stop() -> None:
    @workflow
    def diverging(ctx: Context) -> Flow[Any]:
        def diverges() -> Any:
            yield from ctx.sleep(10)
            raise NonDeterminism("found by the code itself")

        return (yield from ctx.all(ctx.step("long", act), diverges()))

    world = OneWorker(diverging)
    world.create("x", "diverging")
    (call,) = world.turn()
    world.wait(20)
    world.turn()
    assert world.status("x") == "stuck"
    assert call.abandoned


def test_an_execution_that_diverges_after_its_lease_was_lost_is_left_to_its_holder() -> None:
    world = OneWorker(one_step, store=Interleaving)

    def lose(store: MemoryStore, commit: r.Commit) -> None:
        raise Fenced("the lease has passed on")

    applied = world.store.apply
    world.create("x", "one_step", rows=[BEGAN, ["StepDone", 2.0, 0, "b", 1, None, 1, 0.0]])

    def apply(requests: Any) -> list[Any]:
        replies = applied(requests)
        return [
            Fenced("gone") if isinstance(q, r.Commit) else reply for q, reply in zip(requests, replies, strict=True)
        ]

    world.worker.store_link._store = type("Fencing", (), {"apply": staticmethod(apply), "close": world.store.close})()
    world.turn()
    assert world.worker.active == 0


# --- what comes late ------------------------------------------------------------------------------------------------------


@workflow
def patient(ctx: Context) -> Flow[str]:
    got = yield from ctx.wait_for_signal("go", timeout=10)
    return got.kind


@workflow
def expecting(ctx: Context) -> Flow[str]:
    got = yield from ctx.wait_for_execution(one_step, "other", timeout=10)
    return got.kind


@pytest.mark.parametrize("cache_size", [0, 100])
@pytest.mark.parametrize(("seconds", "kind"), [(5, "signal"), (15, "timeout")])
def test_a_signal_that_arrives_after_the_timeout_was_due_comes_too_late_whenever_it_is_seen(
    seconds: float, kind: str, cache_size: int
) -> None:
    world = OneWorker(patient, cache_size=cache_size)
    world.create("x", "patient")
    world.settle()
    world.wait(seconds)
    world.deliver("x")
    world.wait(30)
    world.settle()
    assert world.result("x") == kind


@pytest.mark.parametrize("cache_size", [0, 100])
@pytest.mark.parametrize(("seconds", "kind"), [(5, "completed"), (15, "timeout")])
def test_an_end_that_comes_after_the_timeout_was_due_comes_too_late_whenever_it_is_seen(
    seconds: float, kind: str, cache_size: int
) -> None:
    world, other = OneWorker(expecting, cache_size=cache_size), r.Create("other", "one_step", b"null", queue="mail")
    world.store.apply([other])
    world.create("x", "expecting")
    world.settle()
    world.wait(seconds)
    world.store.apply([r.Claim("n", "w", ("mail",), (("one_step", ""),), 1, 30.0)])
    world.store.apply([r.Commit("other", "n", 0, "c", r.End("completed", b"1"))])
    world.wait(30)
    world.settle()
    assert world.result("x") == kind


def test_two_waits_for_one_execution_are_answered_by_one_end() -> None:
    @workflow
    def twice(ctx: Context) -> Flow[list[int]]:
        return (yield from ctx.all([ctx.wait_for_execution(one_step, "other") for _ in range(2)]))

    world = OneWorker(twice, one_step)
    world.create("other", "one_step", at=world.clock.now() + 10)
    world.create("x", "twice")
    world.settle()
    world.wait(10)
    world.settle()
    assert world.result("x") == [1, 1]
    assert world.store.apply([r.Inbox("x")]) == [()]
