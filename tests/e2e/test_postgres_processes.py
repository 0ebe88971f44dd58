"""Worker processes on a real PostgreSQL: killed at random, with a server that is killed, too; and behind pgbouncer."""

from __future__ import annotations

import collections
import random
import time
from pathlib import Path
from typing import Any

import pytest

from replay import Engine, Status
from replay.core import entries as e
from tests.e2e.app import five_steps
from tests.e2e.processes import Worker, workers
from tests.servers.postgres import Pgbouncer, PostgresServer
from tests.servers.process import PATIENCE, until


def all_recorded_once(engine: Engine, handles: list[Any]) -> None:
    for number, handle in enumerate(handles):
        assert handle.result(PATIENCE) == sum(number * 10 + step for step in range(5))
        done = [entry.id for entry in engine.detail(handle).audit if isinstance(entry, e.StepDone)]
        assert done == [f"s{step}" for step in range(5)]


def test_kills_of_workers_and_of_the_server_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLAY_TEST_PAUSE", "0.05")
    chance = random.Random(7)
    options = ("-c", "4", "--lease", "3")
    with PostgresServer() as server, Engine(f"{server.url}?deadline=60", workflows=[five_steps]) as engine:
        handles = [engine.start(five_steps, number) for number in range(500)]
        running = [Worker(server.url, tmp_path, *options) for _ in range(3)]
        try:
            under_way = 0
            for turn in range(60):
                time.sleep(chance.random() * 0.3)  # a kill falls at a random moment, which no condition can name
                under_way += engine.count_executions().get(Status.COMPLETED, 0) < len(handles)
                victim = chance.randrange(3)
                running[victim].kill()
                running[victim] = Worker(server.url, tmp_path, *options)
                if turn % 20 == 10:
                    server.restart()
            assert under_way >= 30, "the kills did not fall into the work"
            all_recorded_once(engine, handles)
        finally:
            for worker in running:
                worker.kill()
    assert len(collections.Counter((tmp_path / "ledger").read_text().split())) == 5 * len(handles)


def test_behind_a_pooler_of_transactions_everything_works(postgres_server: PostgresServer, tmp_path: Path) -> None:
    options = ("--namespace", "pooled", "--bus", postgres_server.url)
    with (
        Pgbouncer(postgres_server) as pooler,
        Engine(pooler.url, bus=postgres_server.url, workflows=[five_steps], namespace="pooled") as engine,
        workers(2, pooler.url, tmp_path, *options),
    ):
        handles = [engine.start(five_steps, number) for number in range(40)]
        all_recorded_once(engine, handles)


def test_a_worker_that_idles_is_woken_by_a_start(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """Its polls are minutes apart: nothing but the bus can have woken it."""
    options = ("--namespace", "woken", "--poll-interval", "600")
    with (
        Engine(postgres_server.url, workflows=[five_steps], namespace="woken") as engine,
        workers(1, postgres_server.url, tmp_path, *options),
    ):
        for number in range(5):
            handle = engine.start(five_steps, number)
            assert handle.result(PATIENCE) == sum(number * 10 + step for step in range(5))
            until(lambda h=handle: h.status() == Status.COMPLETED)
