"""What commands promise (DESIGN section 4), each in a simulated cluster."""

from __future__ import annotations

import contextlib
import itertools
from datetime import timedelta
from typing import Any

import pytest

from replay import (
    Cancelled,
    CompensationFailed,
    Completed,
    Context,
    Err,
    Event,
    ExecutionCancelled,
    ExecutionEnded,
    ExecutionFailed,
    NoBranchMatched,
    Ok,
    Received,
    RemoteError,
    Retry,
    Signal,
    SignalRefused,
    StepFailed,
    StepInterrupted,
    TimedOut,
    UnknownExecution,
    current_step,
    workflow,
)
from replay.core import entries as e
from replay.testing import (
    CrashPoint,
    Simulation,
    assert_recovers,
    assert_replay_equivalent,
    fails,
    hangs,
    returns,
    takes,
)


class Busy(Exception):
    pass


def act(*args: Any) -> Any:
    return args[0] if args else "done"


Yes = Signal("yes", str)


def ended(sim: Simulation, handle: Any) -> Any:
    assert sim.settle(handle)
    return sim.engine.get_execution(handle)


# --- steps ------------------------------------------------------------------------------------------------


@workflow
def one_step(ctx: Context, value: Any) -> Any:
    return (yield ctx.step("act", act, value).retry(Retry(3, initial=10, jitter=0)))


def test_a_failed_step_raises_step_failed_with_its_cause() -> None:
    with Simulation([one_step], steps={"act": fails(Busy)}) as sim:
        handle = sim.start(one_step)
        sim.settle(handle)
        with pytest.raises(ExecutionFailed) as caught:
            handle.result()
    failed = caught.value.__cause__
    assert isinstance(failed, StepFailed)
    assert (failed.step_id, failed.attempts, type(failed.cause)) == ("act", 3, Busy)
    assert failed.__cause__ is failed.cause


def test_retries_wait_as_timers_and_attempts_survive_crashes() -> None:
    with Simulation([one_step], steps={"act": fails(Busy, times=2, then=7)}, cache_size=0) as sim:
        handle = sim.start(one_step)
        sim.run()
        assert handle.status() == "retrying"
        began = sim.now()
        assert ended(sim, handle).result == 7
        assert sim.now() - began == pytest.approx(30)
        assert [attempt for _, _, attempt in sim.executed] == [1, 2, 3]


def test_a_server_may_say_when_to_come_back() -> None:
    class Later(Exception):
        retry_after = 120

    @workflow
    def patient(ctx: Context) -> Any:
        return (yield ctx.step("act", act).retry(2))

    with Simulation([patient], steps={"act": fails(Later, times=1)}) as sim:
        handle = sim.start(patient)
        sim.run()
        sim.advance(seconds=119)
        assert handle.status() == "retrying"
        sim.advance(seconds=1)
        assert handle.status() == "completed"


def test_retry_ends_at_classes_that_are_never_worth_it_and_at_the_deadline() -> None:
    @workflow
    def picky(ctx: Context, never: bool) -> Any:
        policy = Retry(5, initial=10, jitter=0, never=(Busy,)) if never else Retry(5, initial=10, jitter=0, deadline=25)
        outcome = yield from ctx.step("act", act).retry(policy).settled()
        return outcome.error.attempts if isinstance(outcome, Err) else None

    for never, attempts in ((True, 1), (False, 2)):
        with Simulation([picky], steps={"act": fails(Busy)}) as sim:
            assert ended(sim, sim.start(picky, never)).result == attempts


def test_a_step_that_hangs_times_out_and_its_late_result_is_refused() -> None:
    @workflow
    def slow(ctx: Context) -> Any:
        outcome = yield from ctx.step("act", act).timeout(5).settled()
        yield ctx.sleep(100)
        return type(outcome.error.cause).__name__ if isinstance(outcome, Err) else outcome.value

    for stub in (hangs(), takes(20, "late")):
        with Simulation([slow], steps={"act": stub}) as sim:
            assert ended(sim, sim.start(slow)).result == "StepTimeout"


def test_settled_gives_the_outcome_as_a_value() -> None:
    @workflow
    def settled(ctx: Context) -> Any:
        good = yield from ctx.step("good", act, 1).settled()
        bad = yield from ctx.step("bad", act).settled()
        return isinstance(good, Ok) and good.value, isinstance(bad, Err) and bad.error.step_id  # type: ignore[attr-defined]

    with Simulation([settled], steps={"bad": fails(Busy)}) as sim:
        assert ended(sim, sim.start(settled)).result == (1, "bad")


def test_an_at_most_once_step_that_was_begun_is_not_run_again_but_reported() -> None:
    @workflow
    def careful(ctx: Context) -> Any:
        try:
            return (yield ctx.step("act", act).at_most_once())
        except StepFailed as error:
            return type(error.cause).__name__

    with Simulation([careful]) as plain:
        handle = plain.start(careful)
        plain.settle(handle)
        crash = next(n for n, label in enumerate(plain.injector.labels, 1) if label == "step act")
    with Simulation([careful], crash_at=CrashPoint(crash, before=False)) as sim:
        assert ended(sim, sim.start(careful)).result == StepInterrupted.__name__
        assert [id for _, id, _ in sim.executed] == ["act"]


def test_the_token_is_stable_over_attempts_and_crashes_and_heartbeats_reach_the_next_attempt() -> None:
    tokens: list[tuple[str, Any]] = []

    def body() -> str:
        step = current_step()
        tokens.append((step.token, step.details))
        step.heartbeat({"page": step.attempt})
        if step.attempt < 3:
            raise Busy
        return "done"

    @workflow
    def paging(ctx: Context) -> Any:
        return (yield ctx.step("page", body).retry(3))

    with Simulation([paging], cache_size=0) as sim:
        assert ended(sim, sim.start(paging)).result == "done"
    assert len({token for token, _ in tokens}) == 1
    assert [details for _, details in tokens] == [None, {"page": 1}, {"page": 2}]


def test_a_result_that_cannot_be_stored_fails_the_step_once_and_names_the_path() -> None:
    @workflow
    def unstorable(ctx: Context) -> Any:
        return (yield ctx.step("act", act, 1).retry(5))

    with Simulation([unstorable], steps={"act": returns({"x": [object()]})}) as sim:
        execution = ended(sim, sim.start(unstorable))
        assert execution.status == "failed"
        assert ".x[0]" in str(execution.error)
        assert len(sim.executed) == 1


def test_an_exception_whose_class_is_unknown_comes_back_as_remote_error() -> None:
    class Local(Exception):
        pass

    @workflow
    def remote(ctx: Context) -> Any:
        try:
            yield ctx.step("act", act)
        except StepFailed as error:
            return type(error.cause) is RemoteError and "Local" in str(error.cause)

    with Simulation([remote], steps={"act": fails(Local("x"))}) as sim:
        assert ended(sim, sim.start(remote)).result is True


# --- waiting ------------------------------------------------------------------------------------------------


@workflow(signals=[Yes])
def asks(ctx: Context, patience: float | None) -> Any:
    match (yield from ctx.wait_for_signal(Yes, timeout=patience)):
        case TimedOut():
            return "timeout"
        case Received(answer):
            return answer
        case answer:
            return answer


def test_early_signals_are_kept_and_taken_first_in_first_out() -> None:
    @workflow
    def two(ctx: Context) -> Any:
        yield ctx.sleep(10)
        first = yield from ctx.wait_for_signal(Yes)
        second = yield from ctx.wait_for_signal(Yes)
        return [first, second]

    with Simulation([two]) as sim:
        handle = sim.start(two)
        sim.signal(handle, Yes, "a")
        sim.signal(handle, Yes, "b")
        assert ended(sim, handle).result == ["a", "b"]


def test_a_signal_that_came_before_the_timeout_wins_however_late_it_is_noticed() -> None:
    for seed in range(30):
        with Simulation([asks], seed=seed, workers=2, cache_size=seed % 2) as sim:
            handle = sim.start(asks, 10)
            sim.run()
            sim.clock.move_to(sim.now() + 9.999)
            sim.signal(handle, Yes, "in time")
            sim.clock.move_to(sim.now() + 100)
            assert ended(sim, handle).result == "in time"


def test_signals_of_the_wrong_kind_are_refused_at_the_sender() -> None:
    with Simulation([asks]) as sim:
        handle = sim.start(asks, None)
        with pytest.raises(SignalRefused):
            sim.signal(handle, "no", "x")
        with pytest.raises(SignalRefused):
            sim.signal(handle, Yes, 5)
        with pytest.raises(UnknownExecution):
            sim.signal("nobody", Yes, "x")
        sim.signal(handle, Yes, "x", dedupe_id="1")
        sim.signal(handle, Yes, "x", dedupe_id="1")
        for bad in ("", "\ud800"):
            with pytest.raises(ValueError, match="dedupe_id"):
                sim.signal(handle, Yes, "x", dedupe_id=bad)
        sim.run()
        assert handle.result() == "x"
        with pytest.raises(ExecutionEnded):
            sim.signal(handle, Yes, "late")


def test_an_execution_times_out_while_it_sleeps() -> None:
    @workflow(timeout=timedelta(hours=1))
    def sleeper(ctx: Context) -> Any:
        yield ctx.sleep(timedelta(days=30))

    with Simulation([sleeper]) as sim:
        handle = sim.start(sleeper)
        sim.advance(minutes=59)
        assert handle.status() == "sleeping"
        sim.advance(minutes=1)
        assert handle.status() == "failed"
        with pytest.raises(ExecutionFailed) as caught:
            handle.result()
        assert isinstance(caught.value.cause, TimeoutError)


# --- sagas ---------------------------------------------------------------------------------------------------


undone: list[Any] = []


def undo(result: Any) -> None:
    undone.append(result)


@workflow
def saga(ctx: Context) -> Any:
    try:
        yield ctx.step("one", act, 1).down(undo)
        yield ctx.sleep(60)
        yield ctx.switch("which", "b", [], default=lambda: inside(ctx))
        yield ctx.all(ctx.step("three", act, 3).down(undo), ctx.sleep(1))
        yield ctx.wait_for_signal("go", timeout=60)
        yield ctx.step("boom", act)
    except StepFailed:
        report = yield from ctx.rollback()
        return report.undone
    return "fine"


def inside(ctx: Context) -> Any:
    yield ctx.step("two", act, 2).down(undo)


def test_a_saga_with_sleeps_inside_its_try_compensates_only_when_a_step_really_fails() -> None:
    undone.clear()
    with Simulation([saga], cache_size=0) as sim:
        assert ended(sim, sim.start(saga)).result == "fine"
    assert undone == []


def test_compensations_run_newest_first_also_those_of_branches_and_members_and_never_twice() -> None:
    for cache in (0, 100):
        undone.clear()
        with Simulation([saga], steps={"boom": fails(Busy)}, cache_size=cache) as sim:
            assert ended(sim, sim.start(saga)).result == ("0/three", "default/two", "one")
        assert undone == [3, 2, 1]
    assert assert_recovers(saga, steps={"boom": fails(Busy)}) > 20


def test_a_failing_compensation_ends_compensation_failed_and_tells_what_is_left() -> None:
    with Simulation([saga], steps={"boom": fails(Busy), "rollback:default/two": fails(Busy)}) as sim:
        execution = ended(sim, sim.start(saga))
    assert execution.status == "compensation_failed"
    assert isinstance(execution.error, CompensationFailed)
    assert execution.error.undone == ("0/three",)
    assert execution.error.remaining == ("default/two", "one")


def test_an_uncaught_failure_rolls_back_only_when_asked_to() -> None:
    def flow(ctx: Context) -> Any:
        yield ctx.step("one", act, 1).down(undo)
        yield ctx.step("boom", act)

    for wanted in (False, True):
        undone.clear()
        definition: Any = workflow("flow", rollback_on_failure=wanted)(flow)
        with Simulation([definition], steps={"boom": fails(Busy)}) as sim:
            assert ended(sim, sim.start(definition)).status == "failed"
        assert undone == ([1] if wanted else [])


# --- all, race, switch -----------------------------------------------------------------------------------------


def test_all_keeps_the_shape_of_what_it_was_given() -> None:
    @workflow
    def shapes(ctx: Context) -> Any:
        a = yield from ctx.all(ctx.step("x", act, 1), ctx.step("x", act, 2))
        b = yield from ctx.all([ctx.step("x", act, n) for n in range(3)])
        c = yield from ctx.all({"p": ctx.step("x", act, 5), "q": ctx.sleep(1)})
        d = yield from ctx.all([])
        e_ = yield from ctx.all()
        f = yield from ctx.map("m", act, range(10), limit=3)
        return a, b, c, d, e_, f

    with Simulation([shapes]) as sim:
        handle = sim.start(shapes)
        assert ended(sim, handle).result == ((1, 2), [0, 1, 2], {"p": 5, "q": None}, [], (), list(range(10)))
        ids = [entry.id for entry in sim.engine.detail(handle).audit if isinstance(entry, e.StepDone)]
        assert {"0/x", "1/x", "0/x#2", "p/x", "0/m", "9/m"} <= set(ids)
    assert_replay_equivalent(shapes)


def test_a_failure_in_all_is_raised_after_running_members_settled_and_waiting_ones_were_cancelled() -> None:
    @workflow
    def mixed(ctx: Context) -> Any:
        try:
            yield ctx.all(ctx.step("boom", act), ctx.step("paid", act, "charge").down(undo), ctx.sleep(1000))
        except StepFailed as error:
            report = yield from ctx.rollback()
            return error.step_id, report.undone

    undone.clear()
    with Simulation([mixed], steps={"boom": fails(Busy), "paid": takes(5, "charge")}) as sim:
        began = sim.now()
        assert ended(sim, sim.start(mixed)).result == ("0/boom", ("1/paid",))
        assert sim.now() - began < 10
    assert undone == ["charge"]


def test_a_race_cancels_its_losers_and_removes_their_timers() -> None:
    @workflow
    def racing(ctx: Context) -> Any:
        won = yield from ctx.race(paid=ctx.wait_for_signal(Yes), expired=ctx.sleep(timedelta(days=7)))
        yield ctx.sleep(1)
        return won.name, won.value

    with Simulation([racing]) as sim:
        handle = sim.start(racing)
        sim.run()
        sim.signal(handle, Yes, "me")
        sim.run()
        assert sim.next_due() is not None
        assert sim.next_due() - sim.now() <= 1.001  # type: ignore[operator]
        assert ended(sim, handle).result == ("paid", "me")
    with Simulation([racing]) as sim:
        assert ended(sim, sim.start(racing)).result == ("expired", None)


def test_race_and_all_nest_in_each_other() -> None:
    @workflow
    def nested(ctx: Context) -> Any:
        def member() -> Any:
            pair = yield from ctx.all(ctx.step("x", act, 1), ctx.race(a=ctx.step("y", act, 2), b=ctx.sleep(9)))
            return pair[0], pair[1].value

        won = yield from ctx.race({"deep": member(), "slow": ctx.all(ctx.sleep(50), ctx.sleep(60))})
        return won.name, won.value

    with Simulation([nested]) as sim:
        assert ended(sim, sim.start(nested)).result == ("deep", (1, 2))
    assert assert_recovers(nested) > 10


def test_switch_without_match_or_default_raises_and_a_recorded_choice_is_not_made_again() -> None:
    calls: list[int] = []

    @workflow
    def choosing(ctx: Context, value: int) -> Any:
        from replay import Branch

        def match(v: int) -> bool:
            calls.append(v)
            return v == 1

        try:
            result = yield from ctx.switch("pick", value, [Branch("one", match, lambda v: v * 10)])
        except NoBranchMatched:
            return "none"
        yield ctx.sleep(5)
        return result

    with Simulation([choosing], cache_size=0) as sim:
        assert ended(sim, sim.start(choosing, 1)).result == 10
        assert calls == [1]
        assert ended(sim, sim.start(choosing, 2)).result == "none"


# --- children --------------------------------------------------------------------------------------------------


@workflow
def kid(ctx: Context, seconds: float) -> Any:
    yield ctx.sleep(seconds)
    if seconds == 13:
        raise Busy("unlucky")
    return f"slept {seconds}"


def test_a_child_gives_its_result_and_its_failure_to_its_parent() -> None:
    @workflow
    def parent(ctx: Context, seconds: float) -> Any:
        try:
            return (yield from ctx.child("kid", kid, seconds))
        except ExecutionFailed as error:
            return type(error.cause).__name__

    with Simulation([parent, kid]) as sim:
        handle = sim.start(parent, 5)
        assert ended(sim, handle).result == "slept 5"
        tree = sim.engine.execution_tree(handle)
        assert [child.execution.workflow for child in tree.children] == ["kid"]
        assert tree.children[0].execution.parent_id == handle.id
        assert ended(sim, sim.start(parent, 13)).result == "Busy"
    assert assert_recovers(parent, 5, others=[kid]) > 10


@pytest.mark.parametrize(
    ("policy", "status"), [("cancel", "cancelled"), ("abandon", "sleeping"), ("wait", "completed")]
)
def test_children_follow_their_policy_when_the_parent_ends(policy: Any, status: str) -> None:
    @workflow
    def parent(ctx: Context) -> Any:
        return (yield from ctx.start("kid", kid, 50, on_parent_close=policy))

    with Simulation([parent, kid]) as sim:
        handle = sim.start(parent)
        sim.run()
        if policy == "wait":
            assert handle.status() == "sleeping"
            sim.advance(seconds=51)
        sim.run()
        assert handle.status() == "completed"
        assert sim.engine.get_execution(handle.result()).status == status


def test_waiting_for_an_execution_may_time_out_and_an_unknown_one_is_an_error() -> None:
    @workflow
    def waiter(ctx: Context, id: str) -> Any:
        try:
            return (yield from ctx.wait_for_execution(kid, id, timeout=20))
        except UnknownExecution:
            return "unknown"

    with Simulation([waiter, kid]) as sim:
        short, long = sim.start(kid, 5), sim.start(kid, 500)
        assert ended(sim, sim.start(waiter, short.id)).result == Completed("slept 5")
        assert ended(sim, sim.start(waiter, long.id)).result == TimedOut()
        assert ended(sim, sim.start(waiter, "nobody")).result == "unknown"
        assert ended(sim, sim.start(waiter, short.id)).result == Completed("slept 5")


# --- cancelling ---------------------------------------------------------------------------------------------------


def test_cancelled_is_thrown_at_the_yield_and_cleanup_may_follow() -> None:
    @workflow
    def tidy(ctx: Context) -> Any:
        yield ctx.step("one", act, 1).down(undo)
        try:
            yield ctx.sleep(1000)
        except Exception:  # a saga's handler: a cancel is not for it
            return "wrong"
        except Cancelled:
            yield ctx.rollback()
            yield ctx.step("tidy", act, "tidied")
            raise

    undone.clear()
    with Simulation([tidy]) as sim:
        handle = sim.start(tidy)
        sim.run()
        sim.cancel(handle, "no more")
        sim.cancel(handle, "again")
        sim.run()
        assert handle.status() == "cancelled"
        with pytest.raises(ExecutionCancelled, match="no more"):
            handle.result()
        with pytest.raises(ExecutionEnded):
            sim.cancel(handle)
    assert undone == [1]


def test_a_running_step_is_asked_to_stop_and_given_up_after_the_grace() -> None:
    @workflow
    def busy(ctx: Context) -> Any:
        yield ctx.step("act", act)

    with Simulation([busy], steps={"act": hangs()}) as sim:
        handle = sim.start(busy)
        sim.run()
        sim.cancel(handle)
        sim.run()
        assert handle.status() == "cancelling"
        sim.advance(seconds=2)
        assert handle.status() == "cancelled"


def test_an_execution_that_never_began_is_cancelled_at_once_without_running_code() -> None:
    with Simulation([one_step], workers=0) as sim:
        handle = sim.start(one_step)
        sim.cancel(handle, "not needed")
        assert handle.status() == "cancelled"


def test_signal_timeout_cancel_and_completion_have_exactly_one_outcome_in_every_order() -> None:
    outcomes = set()
    for seed in range(60):
        with Simulation([asks], seed=seed, workers=2, faults=True) as sim:
            handle = sim.start(asks, 1)
            for act_ in sim.chance.sample(["signal", "cancel", "time"], 3):
                try:
                    match act_:
                        case "signal":
                            sim.signal(handle, Yes, "yes")
                        case "cancel":
                            sim.cancel(handle)
                        case _:
                            sim.advance(seconds=2)
                except ExecutionEnded:
                    pass
                sim.clock.move_to(sim.now() + 0.01)
            execution = ended(sim, handle)
            outcomes.add((str(execution.status), execution.result))
            assert_log_replays(sim, handle)
    assert outcomes == {("completed", "yes"), ("completed", "timeout"), ("cancelled", None)}


@pytest.mark.parametrize("order_", list(itertools.permutations(["signal", "cancel", "time"])), ids="-".join)
def test_of_signal_timeout_and_cancel_one_decides_with_a_crash_at_every_point(order_: tuple[str, ...]) -> None:
    def run(point: CrashPoint | None) -> tuple[Any, int]:
        with Simulation([asks], crash_at=point) as sim:
            handle = sim.start(asks, 1)
            for what in order_:
                with contextlib.suppress(ExecutionEnded):
                    match what:
                        case "signal":
                            sim.signal(handle, Yes, "yes")
                        case "cancel":
                            sim.cancel(handle)
                        case _:
                            sim.advance(seconds=2)
            execution = ended(sim, handle)
            assert_log_replays(sim, handle)
            assert sim.illegal(handle.id) is None
            return (str(execution.status), execution.result), sim.injector.effects

    _, effects = run(None)
    for number in range(1, effects + 1):
        for before in (True, False):
            outcome, _ = run(CrashPoint(number, before))
            assert outcome in {("completed", "yes"), ("completed", "timeout"), ("cancelled", None)}


def assert_log_replays(sim: Simulation, handle: Any) -> None:
    from replay.testing.checks import record
    from replay.testing.replaying import replay

    recorded = record(sim, handle.id)
    if recorded.rows:
        replay(sim.engine.workflow(recorded.header.workflow), recorded).close()


# --- the rest -------------------------------------------------------------------------------------------------------


def test_an_event_is_published_once_and_not_again_on_replay() -> None:
    happened = Event("happened", dict)

    @workflow
    def emitting(ctx: Context) -> Any:
        yield ctx.emit(happened, {"n": 1})
        yield ctx.sleep(5)

    heard: list[Any] = []
    with Simulation([emitting], cache_size=0) as sim:
        sim.engine.on(happened, heard.append)
        ended(sim, sim.start(emitting))
    assert heard == [{"n": 1}]


def test_continue_as_new_begins_with_an_empty_log_and_keeps_id_and_signals() -> None:
    @workflow
    def counting(ctx: Context, n: int) -> Any:
        yield ctx.step("count", act, n)
        if n < 3:
            return ctx.continue_as_new(n + 1)
        return (yield from ctx.wait_for_signal(Yes))

    with Simulation([counting]) as sim:
        handle = sim.start(counting, 1)
        sim.signal(handle, Yes, "kept")
        execution = ended(sim, handle)
        assert (execution.result, execution.run) == ("kept", 2)
        assert len(sim.engine.detail(handle).steps) == 1


def test_a_workflow_level_retry_runs_the_failed_step_again_and_nothing_else() -> None:
    @workflow(retry=Retry(3, initial=5, jitter=0))
    def stubborn(ctx: Context) -> Any:
        first = yield ctx.step("first", act, 1)
        try:
            second = yield ctx.step("second", act, 2)
        except StepFailed:
            yield ctx.step("cleanup", act)
            raise
        return first, second, ctx.attempt

    attempts: list[int] = []

    def flaky(call: Any) -> Any:
        attempts.append(1)
        if len(attempts) < 3:
            raise Busy
        return 2

    with Simulation([stubborn], steps={"second": flaky}) as sim:
        assert ended(sim, sim.start(stubborn)).result == (1, 2, 3)
        assert [id for _, id, _ in sim.executed] == ["first", "second", "cleanup", "second", "cleanup", "second"]


def test_another_command_in_a_later_attempt_in_place_of_a_recorded_one_is_told_with_its_likely_cause() -> None:
    @workflow(retry=2)
    def wavering(ctx: Context) -> Any:
        if ctx.attempt > 1:
            yield ctx.note("again")
        yield ctx.step("first", act)
        yield ctx.step("second", act)

    with Simulation([wavering], steps={"second": fails(Busy)}) as sim:
        handle = sim.start(wavering)
        sim.advance(minutes=1)
        found = sim.engine.get_execution(handle)
    assert found.status == "stuck"
    assert "`ctx.attempt` before what an earlier attempt recorded" in found.current[0]["message"]


def test_an_exception_of_the_workflow_itself_fails_at_once_despite_its_retry() -> None:
    @workflow(retry=5)
    def wrong(ctx: Context) -> Any:
        yield ctx.note("here")
        raise Busy("mine")

    with Simulation([wrong]) as sim:
        execution = ended(sim, sim.start(wrong))
        assert (execution.status, execution.attempt) == ("failed", 1)


def test_two_versions_of_a_workflow_live_side_by_side() -> None:
    def old(ctx: Context) -> Any:
        yield ctx.sleep(10)
        return "old"

    def new(ctx: Context) -> Any:
        yield ctx.sleep(10)
        return "new"

    v1, v2 = workflow("w", version=1)(old), workflow("w", version=2)(new)
    with Simulation([v1, v2]) as sim:
        first, second = sim.start(v1), sim.start(v2)
        assert (ended(sim, first).result, ended(sim, second).result) == ("old", "new")
    with Simulation([v2]) as sim:
        handle = sim.start(v1)
        sim.advance(days=1)
        assert handle.status() == "pending"


def test_patched_is_true_for_new_executions_and_false_where_the_log_was_written_before() -> None:
    changed = [False]

    @workflow
    def evolving(ctx: Context) -> Any:
        yield ctx.step("one", act)
        yield ctx.sleep(10)
        if changed[0] and ctx.patched("more"):
            yield ctx.step("extra", act)
        yield ctx.step("two", act)
        yield ctx.sleep(10)
        return [id for _, id, _ in sim.executed]

    with Simulation([evolving], cache_size=0) as sim:
        old = sim.start(evolving)
        sim.advance(seconds=11)
        changed[0] = True
        assert ended(sim, old).result == ["one", "two"]
        sim.executed.clear()
        assert ended(sim, sim.start(evolving)).result == ["one", "extra", "two"]


def test_changed_code_makes_the_execution_stuck_and_the_right_code_resumes_it() -> None:
    changed = [False]

    @workflow
    def drifting(ctx: Context) -> Any:
        yield ctx.step("renamed" if changed[0] else "one", act)
        yield ctx.sleep(10)
        return "end"

    with Simulation([drifting], cache_size=0) as sim:
        handle = sim.start(drifting)
        sim.run()
        changed[0] = True
        sim.advance(seconds=11)
        execution = sim.engine.get_execution(handle)
        assert execution.status == "stuck"
        message = execution.current[0]["message"]
        assert "StepDone('one')" in message
        assert "Step('renamed')" in message
        assert "test_semantics.py:" in message
        assert "Fix:" in message
        changed[0] = False
        sim.advance(minutes=2)
        assert handle.result() == "end"


def test_now_uuid_and_random_are_the_same_on_every_replay() -> None:
    seen: list[Any] = []

    @workflow
    def telling(ctx: Context) -> Any:
        seen.append((ctx.now(), ctx.uuid(), ctx.random().random(), ctx.random("other").random()))
        yield ctx.sleep(60)
        later = ctx.now()
        yield ctx.sleep(60)
        return later

    with Simulation([telling], cache_size=0) as sim:
        handle = sim.start(telling)
        began = sim.now()
        assert ended(sim, handle).result == began + 60
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_an_execution_that_kills_its_workers_becomes_stuck_and_others_go_on() -> None:
    from replay.testing.faults import Crash

    def deadly(call: Any) -> Any:
        raise Crash

    @workflow
    def poison(ctx: Context) -> Any:
        yield ctx.step("deadly", act)

    with Simulation([poison, one_step], steps={"deadly": deadly}) as sim:
        bad, good = sim.start(poison), sim.start(one_step, 5)
        sim.advance(seconds=30)
        assert bad.status() == "stuck"
        assert good.result() == 5
