"""Worker processes on a real Redis: killed at random, stopped past their lease, with and without RabbitMQ."""

from __future__ import annotations

import collections
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from replay import Engine, Status
from replay.core import entries as e
from tests.e2e.app import GO, five_steps, waits
from tests.e2e.processes import Worker
from tests.servers.process import PATIENCE, until


def all_recorded_once(engine: Engine, handles: list[Any]) -> None:
    for number, handle in enumerate(handles):
        assert handle.result(PATIENCE) == sum(number * 10 + step for step in range(5))
        done = [entry.id for entry in engine.detail(handle).audit if isinstance(entry, e.StepDone)]
        assert done == [f"s{step}" for step in range(5)]


def test_kills_lose_and_double_nothing(redis_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLAY_TEST_PAUSE", "0.05")
    chance = random.Random(7)
    options = ("-c", "4", "--lease", "3", "--namespace", "kills")
    with Engine(redis_server.url, workflows=[five_steps], namespace="kills") as engine:
        handles = [engine.start(five_steps, number) for number in range(500)]
        running = [Worker(redis_server.url, tmp_path, *options) for _ in range(2)]
        try:
            under_way = 0
            for _ in range(100):
                time.sleep(chance.random() * 0.3)  # a kill falls at a random moment, which no condition can name
                under_way += engine.count_executions().get(Status.COMPLETED, 0) < len(handles)
                victim = chance.randrange(2)
                running[victim].kill()
                running[victim] = Worker(redis_server.url, tmp_path, *options)
            assert under_way >= 60, "the kills did not fall into the work"
            all_recorded_once(engine, handles)
        finally:
            for worker in running:
                worker.kill()
    assert len(collections.Counter((tmp_path / "ledger").read_text().split())) == 5 * len(handles)


def test_a_worker_that_stood_still_past_its_lease_is_fenced(
    redis_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLAY_TEST_PAUSE", "0.1")
    options = ("-c", "4", "--lease", "1", "--namespace", "zombie")
    with Engine(redis_server.url, workflows=[five_steps], namespace="zombie") as engine:
        handles = [engine.start(five_steps, number) for number in range(20)]
        zombie = Worker(redis_server.url, tmp_path, *options)
        until(lambda: (tmp_path / "ledger").exists())
        zombie.process.send_signal(signal.SIGSTOP)
        other = Worker(redis_server.url, tmp_path, *options)
        try:
            until(lambda: engine.count_executions().get(Status.COMPLETED, 0) == len(handles))
            zombie.process.send_signal(signal.SIGCONT)
            all_recorded_once(engine, handles)
            assert zombie.stop() == 0
        finally:
            zombie.process.send_signal(signal.SIGCONT)
            zombie.kill()
            other.kill()


def test_signals_sent_the_instant_their_execution_waits_all_arrive(redis_server: Any, tmp_path: Path) -> None:
    worker = Worker(redis_server.url, tmp_path, "--namespace", "signals")
    try:
        with Engine(redis_server.url, workflows=[waits], namespace="signals") as engine:
            handles = [engine.start(waits) for _ in range(300)]
            for number, handle in enumerate(handles):
                handle.signal(GO, number)
            assert [handle.result(PATIENCE) for handle in handles] == list(range(300))
    finally:
        worker.kill()


def test_hints_through_rabbitmq_and_a_broker_that_is_not_there(
    redis_server: Any, rabbitmq_server: Any, tmp_path: Path
) -> None:
    for name, queue in (("hints", rabbitmq_server.url), ("nobroker", "amqp://guest:guest@127.0.0.1:9/")):
        worker = Worker(redis_server.url, tmp_path, "--queue", queue, "--namespace", name)
        try:
            with Engine(redis_server.url, queue=queue, workflows=[five_steps], namespace=name) as engine:
                all_recorded_once(engine, [engine.start(five_steps, number) for number in range(20)])
        finally:
            worker.kill()
