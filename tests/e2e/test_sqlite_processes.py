"""Real worker processes on one SQLite file: killed at random, and several at once."""

from __future__ import annotations

import collections
import random
import signal
from pathlib import Path

import pytest

from replay import Engine, Handle, Status
from replay.core import entries as e
from tests.e2e.app import five_steps
from tests.e2e.processes import Worker, workers
from tests.servers.process import PATIENCE, until


def check(engine: Engine, handles: list[Handle[int]], folder: Path, *, kills: bool) -> None:
    """All completed; each step's result is recorded once, in a legal order; without kills no body ran twice."""
    for number, handle in enumerate(handles):
        assert handle.result(PATIENCE) == sum(number * 10 + step for step in range(5))
        done = [entry.id for entry in engine.detail(handle).audit if isinstance(entry, e.StepDone)]
        assert done == [f"s{step}" for step in range(5)]
    ran = collections.Counter((folder / "ledger").read_text().split())
    assert len(ran) == 5 * len(handles)
    if not kills:
        assert set(ran.values()) == {1}


def test_fifty_kills_while_two_hundred_executions_run_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLAY_TEST_PAUSE", "0.1")
    url = f"sqlite:///{tmp_path}/x.db"
    chance = random.Random(50)
    with Engine(url, workflows=[five_steps]) as engine:
        handles = [engine.start(five_steps, number, id=f"x-{number}") for number in range(200)]
        running = [Worker(url, tmp_path, "-c", "4", "--lease", "3"), Worker(url, tmp_path, "-c", "4", "--lease", "3")]
        recorded: dict[str, tuple[bytes, ...]] = {}
        try:
            under_way = 0
            for _ in range(50):
                victim = chance.randrange(2)
                until(lambda at=chance.random() * 0.3: _ticks(at))
                under_way += engine.count_executions().get(Status.COMPLETED, 0) < 200
                running[victim].kill()
                _prefixes_grow(engine, recorded)
                running[victim] = Worker(url, tmp_path, "-c", "4", "--lease", "3")
            assert under_way == 50, "the kills did not fall into the work"
            check(engine, handles, tmp_path, kills=True)
            _prefixes_grow(engine, recorded)
        finally:
            for worker in running:
                worker.kill()


def _ticks(seconds: float, _began: dict[float, float] | None = None) -> bool:
    """Let real time pass: a kill must fall at a random moment, which no condition can name."""
    import time

    time.sleep(seconds)
    return True


def _prefixes_grow(engine: Engine, recorded: dict[str, tuple[bytes, ...]]) -> None:
    """I1: a log only grows, and what stood in it stays."""
    from replay.core.requests import Load

    for number in range(0, 200, 20):
        log = tuple(engine.ask(Load(f"x-{number}")))
        before = recorded.get(f"x-{number}", ())
        assert log[: len(before)] == before
        recorded[f"x-{number}"] = log


def test_four_processes_on_one_file_advance_a_thousand_executions_and_run_no_body_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with (
        Engine(url, workflows=[five_steps]) as engine,
        workers(4, url, tmp_path, "-c", "8") as running,
    ):
        handles = [engine.start(five_steps, number) for number in range(1000)]
        check(engine, handles, tmp_path, kills=False)
        for worker in running:
            assert "Traceback" not in worker.log.read_text()


def test_the_first_sigterm_drains_and_the_lease_is_handed_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with Engine(url, workflows=[five_steps]) as engine:
        worker = Worker(url, tmp_path)
        handles = [engine.start(five_steps, number) for number in range(20)]
        until(lambda: (tmp_path / "ledger").exists())
        assert worker.stop() == 0
        assert all(engine.get_execution(h).worker is None for h in handles)
        second = Worker(url, tmp_path)
        try:
            check(engine, handles, tmp_path, kills=False)
        finally:
            second.kill()


def test_a_second_signal_stops_cold(tmp_path: Path) -> None:
    from tests.e2e.app import sleepy

    url = f"sqlite:///{tmp_path}/x.db"
    with Engine(url, workflows=[sleepy]) as engine:
        worker = Worker(url, tmp_path)
        handle = engine.start(sleepy, 3600.0)
        until(lambda: engine.get_execution(handle).status == "running")
        worker.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in worker.log.read_text())
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(PATIENCE) == 1


def test_burst_ends_when_nothing_is_left_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with Engine(url, workflows=[five_steps]) as engine:
        handles = [engine.start(five_steps, number) for number in range(10)]
        worker = Worker(url, tmp_path, "--burst")
        assert worker.process.wait(PATIENCE) == 0
        check(engine, handles, tmp_path, kills=False)
