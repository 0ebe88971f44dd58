"""What an execution promises as a whole: events, new beginnings, retries, versions, misfortune."""

from __future__ import annotations

from typing import Any

from replay import Context, Event, Retry, StepFailed, workflow
from replay.testing import Simulation, fails
from tests.sim.promises import Busy, Yes, act, ended, one_step


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
        assert "test_promises_of_executions.py:" in message
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
    from replay.testing.simulation.faults import Crash

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
