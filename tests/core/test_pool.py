"""The pool of threads that runs step bodies, with real threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from replay import Engine, ExecutionFailed, workflow
from replay.core.effects import Call, Returned
from replay.worker.pool import Pool
from replay.worker.steps import CancelFlag
from tests.servers.process import PATIENCE


def call(body: Callable[[], Any], id: str = "x") -> Call:
    return Call("e", "w", 0, id, body, (), {}, 1, "token")


class Harness:
    """A pool whose outcomes are kept; `after` may give the call that an outcome leads to."""

    def __init__(self, size: int, after: Callable[[Returned], Call | None] = lambda returned: None) -> None:
        self.ended: list[str] = []
        self.failures: list[BaseException] = []
        self._after = after
        self._news = threading.Condition()
        self.pool = Pool(size, self._run, self._done, self._failed)

    def _run(self, call: Call) -> Returned:
        return Returned(call, call.fn())

    def _done(self, returned: Returned) -> Call | None:
        with self._news:
            self.ended.append(returned.call.id)
            self._news.notify_all()
        return self._after(returned)

    def _failed(self, failure: BaseException) -> None:
        with self._news:
            self.failures.append(failure)
            self._news.notify_all()

    def wait(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self.ended) >= count, PATIENCE), self.ended


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    found = threading.Event()
    yield found
    found.set()


def test_calls_submitted_at_once_do_not_wait_for_one_another() -> None:
    harness = Harness(4)
    harness.pool.submit(call(lambda: None))
    harness.wait(1)  # there is one thread now, and it idles
    together = threading.Barrier(4)
    for _ in range(4):
        harness.pool.submit(call(lambda: together.wait(PATIENCE)))
    harness.wait(5)
    harness.pool.close()


def test_no_more_calls_run_at_once_than_the_pool_has_threads(gate: threading.Event) -> None:
    harness = Harness(2)
    two = threading.Barrier(2)
    running: list[int] = []
    most: list[int] = []

    def body() -> None:
        running.append(1)
        most.append(len(running))
        two.wait(PATIENCE)  # it takes another one to go on
        gate.wait(0.01)
        running.pop()

    for _ in range(20):
        harness.pool.submit(call(body))
    harness.wait(20)
    assert max(most) == 2


@pytest.mark.parametrize("where", ["run", "done"])
def test_a_thread_that_fails_is_told_of_and_replaced(where: str) -> None:
    def leave() -> None:
        raise SystemExit(where)

    harness = Harness(1, lambda returned: leave() if returned.call.id == "done" else None)  # type: ignore[func-returns-value]
    harness.pool.submit(call(leave if where == "run" else lambda: None, where))
    with harness._news:
        assert harness._news.wait_for(lambda: harness.failures, PATIENCE)
    assert [str(failure) for failure in harness.failures] == [where]
    assert (harness.pool._threads, harness.pool._running) == (0, set())
    before = len(harness.ended)
    harness.pool.submit(call(lambda: None, "next"))
    harness.wait(before + 1)


def test_the_next_step_of_one_execution_does_not_go_before_the_steps_of_others() -> None:
    left = [50]

    def after(returned: Returned) -> Call | None:
        left[0] -= 1
        return call(lambda: None, "chain") if returned.call.id == "chain" and left[0] > 0 else None

    harness = Harness(1, after)
    begun = threading.Event()
    harness.pool.submit(call(lambda: begun.wait(PATIENCE), "chain"))
    harness.pool.submit(call(lambda: None, "other"))
    begun.set()
    harness.wait(50)
    assert harness.ended.index("other") <= 1


def test_the_thread_of_an_abandoned_body_is_made_up_for_until_it_comes_back(gate: threading.Event) -> None:
    harness = Harness(1)
    begun = threading.Event()
    hung = call(lambda: (begun.set(), gate.wait(PATIENCE)), "hung")
    harness.pool.submit(hung)
    assert begun.wait(PATIENCE)
    harness.pool.submit(call(lambda: None, "other"))
    hung.abandoned = True
    harness.pool.abandon(hung)
    harness.wait(1)
    assert harness.ended == ["other"]
    gate.set()
    harness.wait(2)
    harness.pool.submit(call(lambda: None, "last"))
    harness.wait(3)
    harness.pool.abandon(hung)  # late news change nothing
    assert not harness.pool._abandoned


def test_bodies_that_never_return_leave_the_worker_able_to_work(gate: threading.Event) -> None:
    def hang() -> None:
        gate.wait(PATIENCE)

    @workflow
    def hanging(ctx: Any) -> Any:
        yield ctx.step("hang", hang).timeout(0.05)

    @workflow
    def short(ctx: Any) -> Any:
        return (yield ctx.step("one", lambda: 1))

    with Engine("memory://", workflows=[hanging, short], worker=True, concurrency=2) as engine:
        for handle in [engine.start(hanging), engine.start(hanging)]:
            with pytest.raises(ExecutionFailed):
                handle.result(PATIENCE)
        assert engine.start(short).result(PATIENCE) == 1


def test_a_flag_wakes_whoever_waits_for_it() -> None:
    flag = CancelFlag()
    assert not flag
    assert not flag.wait(0.0)
    threading.Timer(0.01, flag.set).start()
    assert flag.wait(PATIENCE)
    assert flag
    assert flag.is_set()
    assert flag.wait(0.0)
