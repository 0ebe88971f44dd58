"""Worker processes for tests, ended by their pid."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from replay import Engine
from replay.core import requests as r
from tests.servers.process import PATIENCE

ROOT = Path(__file__).parents[2]


class Worker:
    """One `replay-worker` process.

    Its lease outlasts any test, as a busy machine may renew it late; a test that needs leases to expire says `--lease`.
    """

    def __init__(self, store: str, folder: Path, *options: str, target: str = "tests.e2e.app:all_workflows") -> None:
        command = [sys.executable, "-m", "replay.cli.worker", target, "--store", store, "--lease", "3600", *options]
        environment = {**os.environ, "REPLAY_TEST_LEDGER": str(folder / "ledger"), "PYTHONPATH": str(ROOT)}
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=log, stdout=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = PATIENCE) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout)


@contextmanager
def workers(
    count: int, store: str, folder: Path, *options: str, target: str = "tests.e2e.app:all_workflows"
) -> Iterator[list[Worker]]:
    running = [Worker(store, folder, *options, target=target) for _ in range(count)]
    try:
        yield running
    finally:
        for worker in running:
            worker.kill()


@contextmanager
def worker(store: str, folder: Path, *options: str, **more: Any) -> Iterator[Worker]:
    running = Worker(store, folder, *options, **more)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            try:
                running.process.wait(PATIENCE)
            finally:
                running.kill()


def pids(engine: Engine) -> set[int]:
    return {json.loads(row.info)["pid"] for row in engine.ask(r.Workers())}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
