"""The worker's threads: what ends one ends the worker, a loop that hangs is noticed, and an outage is told once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from replay import Engine, ExecutionFailed, LogTooLong, workflow
from replay.backends.memory import MemoryStore
from replay.backends.memory.queue_and_bus import MemoryBus
from replay.backends.memory.store import SystemClock
from replay.cli.process.health import Probes
from replay.core import requests as r
from replay.core.errors import StoreUnavailable
from replay.worker.runner import Runner
from tests.servers.process import PATIENCE, until


@workflow
def one_step(ctx: Any) -> Any:
    return (yield ctx.step("one", lambda: 1))


@workflow
def no_step(ctx: Any) -> Any:
    return 1
    yield


class Gate:
    """Workflow code that hangs until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.visits = 0

    def pass_(self) -> None:
        self.visits += 1
        if self.visits == 1:
            assert self.opened.wait(PATIENCE)


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.opened.set()


class FlakyStore:
    """A memory store that is away on demand, and may hold requests back meanwhile."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.away = False
        self.held = threading.Event()
        self.held.set()
        self.refused: list[str] = []

    def apply(self, requests: Sequence[Any]) -> list[Any]:
        if not self.held.is_set():
            self.held.wait(PATIENCE)
        if self.away:
            self.refused += [type(request).__name__ for request in requests]
            raise StoreUnavailable("away")
        return self.store.apply(requests)

    def close(self) -> None:
        self.store.close()


class LeavingStore(FlakyStore):
    """A memory store that raises *what* when a worker commits."""

    def __init__(self, what: BaseException) -> None:
        super().__init__()
        self.what = what

    def apply(self, requests: Sequence[Any]) -> list[Any]:
        if any(isinstance(request, r.Commit) for request in requests):
            raise self.what
        return super().apply(requests)


def runner_of(engine: Engine, **options: Any) -> Runner:
    return Runner(engine.make_worker(), codec=engine.codec, clock=SystemClock(), **options)


@pytest.mark.parametrize("definition", [no_step, one_step])
@pytest.mark.parametrize("what", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_ends_a_thread_ends_the_worker(definition: Any, what: BaseException) -> None:
    with Engine(LeavingStore(what), workflows=[definition]) as engine:  # type: ignore[arg-type]
        runner = runner_of(engine)
        runner.start()
        engine.start(definition)
        until(lambda: runner.failure is what)
        for thread in runner._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        runner.halt()


def test_workflow_code_that_hangs_is_noticed_and_its_leases_pass_to_another_worker(
    gate: Gate,
) -> None:
    @workflow
    def hangs_once(ctx: Any) -> Any:
        gate.pass_()
        return (yield ctx.step("one", lambda: 1))

    with Engine("memory://", workflows=[hangs_once], lease=1.0) as engine:
        first = runner_of(engine, hung_after=0.05)
        first.start()
        handle = engine.start(hangs_once)
        probes = Probes()
        assert (probes.live()[0], probes.ready()[0]) == (200, 503), "it starts"
        probes.begin(engine, first)
        until(lambda: first.hung)
        assert (probes.live()[0], probes.ready()[0]) == (503, 503)
        assert "kept the loop busy" in probes.live()[1]
        second = runner_of(engine)
        second.start()
        assert handle.result(PATIENCE) == 1
        assert first.hung
        gate.opened.set()
        until(lambda: (probes.live(), probes.ready()) == ((200, "ok\n"), (200, "ok\n")))
        assert [runner.failure for runner in (first, second)] == [None, None]
        assert engine.detail(handle).execution.status == "completed"
        first.halt()
        second.halt()


def test_time_in_the_store_is_not_taken_for_workflow_code_that_blocks() -> None:
    store = FlakyStore()
    with Engine(store, workflows=[no_step]) as engine:  # type: ignore[arg-type]
        runner = runner_of(engine, hung_after=0.0)
        store.held.clear()
        runner.start()
        until(lambda: runner.worker.store_link.asking)
        assert (runner.busy, runner._turn_began is not None) == (0.0, True)
        store.held.set()
        runner.halt()


def test_an_outage_of_the_store_is_told_when_it_begins_and_when_it_ends(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow
    def waiting(ctx: Any) -> Any:
        yield ctx.step("wait", gate.pass_)

    caplog.set_level(logging.WARNING)
    store = FlakyStore()
    with Engine(store, workflows=[waiting], lease=0.1, poll_interval=0.01) as engine:  # type: ignore[arg-type]
        runner = runner_of(engine)
        runner.start()
        handle = engine.start(waiting)
        until(lambda: gate.visits == 1)
        store.away = True
        until(lambda: store.refused.count("RenewLeases") >= 3 and runner.worker.metrics.unreachable >= 3)
        store.away = False
        gate.opened.set()
        handle.result(PATIENCE)
        runner.halt()
    said = [text for text in caplog.messages if text.startswith("the store")]
    assert said == ["the store cannot be reached, trying again: away", "the store can be reached again"]


def test_a_worker_that_leaves_is_not_listed_any_more() -> None:
    with Engine("memory://", workflows=[one_step]) as engine:
        runner = runner_of(engine)
        runner.start()
        until(lambda: len(engine.ask(r.Workers())) == 1)
        runner.stop(PATIENCE)
        assert engine.ask(r.Workers()) == ()


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/closed.db"])
def test_a_closed_engine_keeps_nobody_waiting_and_takes_nothing_more(url: str, tmp_path: Path) -> None:
    bus = MemoryBus()
    engine = Engine(url.format(tmp_path), bus=bus, workflows=[waits])
    handle = engine.start(waits)
    told: list[BaseException] = []

    def wait() -> None:
        try:
            handle.result()
        except StoreUnavailable as error:
            told.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    until(lambda: bus._handlers, what="somebody who waits")
    engine.close()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    assert len(told) == 1
    for ask in (lambda: engine.start(waits), handle.cancel, engine.start_worker):
        with pytest.raises(StoreUnavailable, match="is closed"):
            ask()
    if url == "memory://":  # it has nothing to release, and what ran can still be looked at
        assert handle.status() == "pending"
    else:
        with pytest.raises(StoreUnavailable, match="is closed"):
            handle.status()


@workflow
def waits(ctx: Any) -> Any:
    return (yield ctx.wait_for_signal("go"))


@pytest.mark.parametrize(("command", "warned"), [("step", 1), ("note", 0)])
def test_a_log_over_its_limit_fails_whatever_it_consists_of(
    command: str, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow
    def endless(ctx: Any) -> Any:
        while True:
            yield ctx.step("again", int) if command == "step" else ctx.note("again")

    with Engine("memory://", workflows=[endless], worker=True, log_limit=20) as engine:
        handle = engine.start(endless)
        with pytest.raises(ExecutionFailed, match="over the limit of 20 entries") as failed:
            handle.result(PATIENCE)
        assert engine.get_execution(handle).length == 22, "one over the limit, and the end"
    assert isinstance(failed.value.cause, LogTooLong)
    told = [text for text in caplog.messages if "has 16 entries, and fails over 20. Fix:" in text]
    assert len(told) == warned, "notes are all committed at once, with the end"
