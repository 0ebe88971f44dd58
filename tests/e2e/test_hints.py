"""Hints that are lost, doubled or given to the wrong worker, with real worker processes: they cost time, nothing else."""

from __future__ import annotations

import collections
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from replay import Engine, workflow
from tests.e2e import faulty_hints
from tests.e2e.app import GO, all_workflows, five_steps, sleepy, waits
from tests.e2e.processes import ROOT, workers
from tests.e2e.test_redis_processes import all_recorded_once
from tests.servers.process import PATIENCE, until


@pytest.mark.parametrize("kind", ["lost", "doubled"])
def test_work_completes_once_with_all_hints(
    kind: str, redis_server: Any, rabbitmq_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLAY_TEST_STORE", redis_server.url)
    monkeypatch.setenv("REPLAY_TEST_BROKER", rabbitmq_server.url)
    monkeypatch.setenv("REPLAY_TEST_HINTS", kind)
    options = ("--poll-interval", "0.2")
    with (
        workers(2, redis_server.url, tmp_path, *options, target="tests.e2e.faulty_hints:engine"),
        faulty_hints.engine(kind) as engine,
    ):
        handles = [engine.start(five_steps, number) for number in range(100)]
        waiting = [engine.start(waits) for _ in range(50)]
        for number, handle in enumerate(waiting):
            handle.signal(GO, number)
        all_recorded_once(engine, handles)
        assert [handle.result(PATIENCE) for handle in waiting] == list(range(50))
    assert set(collections.Counter((tmp_path / "ledger").read_text().split()).values()) == {1}, "no body ran twice"


def test_a_worker_without_a_free_slot_passes_its_hints_on(redis_server: Any, rabbitmq_server: Any) -> None:
    parts: dict[str, Any] = {"queue": rabbitmq_server.url, "workflows": all_workflows(), "namespace": "pass"}
    patient = {"worker": True, "concurrency": 1, "poll_interval": 3600.0}
    with Engine(redis_server.url, **parts, **patient, shutdown_timeout=0) as busy:
        busy.start(sleepy, 0.0).result(PATIENCE)
        long = busy.start(sleepy, 3600.0)
        until(lambda: busy.get_execution(long).status != "pending")
        with Engine(redis_server.url, **parts, **patient), Engine(redis_server.url, **parts) as client:
            for _ in range(10):  # the broker gives every other hint to the busy one
                assert client.start(sleepy, 0.0).result(PATIENCE) == "slept"
            assert busy.get_execution(long).status == "running"


def test_a_burst_wakes_more_workers_than_it_has_hints(redis_server: Any, rabbitmq_server: Any) -> None:
    parts: dict[str, Any] = {"queue": rabbitmq_server.url, "workflows": all_workflows(), "namespace": "burst"}
    patient = {"worker": True, "concurrency": 1, "poll_interval": 3600.0}
    together = threading.Barrier(6)

    @workflow
    def meets(ctx: Any) -> Any:
        """End when all six workers run one at once."""
        yield ctx.step("meet", together.wait, PATIENCE)

    parts["workflows"] = [sleepy, meets]
    engines = [Engine(redis_server.url, **parts, **patient) for _ in range(6)]
    try:
        engines[0].start(sleepy, 0.0).result(PATIENCE)
        for handle in [engines[0].start(meets) for _ in range(6)]:
            handle.result(PATIENCE)
    finally:
        for engine in engines:
            engine.close()


def test_fifty_processes_that_start_with_one_key_start_one_execution(redis_server: Any) -> None:
    command = [sys.executable, "-m", "tests.e2e.starters", redis_server.url, "50", "same"]
    ids = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout.split()
    assert len(ids) == 50
    assert len(set(ids)) == 1
    with Engine(redis_server.url, workflows=[five_steps], namespace="key") as engine:
        assert sum(engine.count_executions().values()) == 1
