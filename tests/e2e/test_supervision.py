"""Supervised processes and their signals: replaced when they die, ended together, started again when code changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from replay import Context, Engine, Flow, workflow
from replay.cli.process.supervisor import Child
from tests.e2e import app
from tests.e2e.processes import ROOT, alive, pids, worker
from tests.servers.process import PATIENCE, until


@workflow
def live(ctx: Context) -> Flow[int]:
    """As the worker's module has it, which changes."""
    yield from ()
    return 0


class Command:
    """`replay-worker` with a module that the test wrote, in a folder of its own."""

    def __init__(self, folder: Path, arguments: tuple[str, ...], variables: Mapping[str, str]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **variables}
        self.log = folder / "worker.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "replay.cli.worker", *arguments], cwd=folder, env=environment, stderr=log
            )

    def says(self, text: str) -> bool:
        return text in self.log.read_text()


@contextmanager
def command(folder: Path, *arguments: str, **variables: str) -> Iterator[Command]:
    running = Command(folder, arguments, variables)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(PATIENCE)


def test_a_dead_process_is_replaced_and_all_end_on_sigterm(store: str, engine: Engine, tmp_path: Path) -> None:
    with worker(store, tmp_path, "-p", "2") as running:
        until(lambda: len(pids(engine)) == 2)
        before = pids(engine)
        os.kill(min(before), signal.SIGKILL)
        until(lambda: len(pids(engine) - before) == 1)
        assert "replaced" in running.log.read_text()
        assert engine.start(app.five_steps, 1).result(PATIENCE) == 60
        children = pids(engine)
        assert running.stop() == 0
        until(lambda: not any(alive(pid) for pid in children))


def test_workers_whose_supervisor_was_killed_drain(store: str, engine: Engine, tmp_path: Path) -> None:
    with worker(store, tmp_path, "-p", "2") as running:
        until(lambda: len(pids(engine)) == 2)
        children = pids(engine)
        running.kill()
        until(lambda: not any(alive(pid) for pid in children))


def test_an_unusable_target_ends_the_supervisor_instead_of_spinning(store: str, tmp_path: Path) -> None:
    with worker(store, tmp_path, "-p", "2", target="tests.e2e.app:missing") as running:
        assert running.process.wait(PATIENCE) == 2
        assert "Traceback" not in running.log.read_text()


@pytest.mark.parametrize("broken", ["def oops(:", "import nonexistent_dependency"])
def test_a_target_that_cannot_be_loaded_ends_the_supervisor(store: str, tmp_path: Path, broken: str) -> None:
    (tmp_path / "brokenapp.py").write_text(broken)
    with command(tmp_path, "brokenapp:all", "--store", store, "-p", "2") as running:
        assert running.process.wait(PATIENCE) == 2
        assert not running.says("Traceback")
        assert running.says("brokenapp.py, line 1")


def test_a_store_that_never_answered_ends_the_supervisor(tmp_path: Path) -> None:
    with worker("redis://127.0.0.1:1/0?deadline=0.5", tmp_path, "-p", "2") as running:
        assert running.process.wait(PATIENCE) == 3
        assert "replaced" not in running.log.read_text()


def test_a_signal_while_it_starts_ends_it_with_nothing_to_drain(store: str, tmp_path: Path) -> None:
    # Many short sleeps: Python notes a signal that comes just before a long one only when that has ended.
    (tmp_path / "slowapp.py").write_text(
        "import time\nopen('importing', 'w').close()\nfor _ in range(60_000):\n    time.sleep(0.01)\n"
    )
    for processes in ("1", "2"):
        with command(tmp_path, "slowapp:all", "--store", store, "-p", processes) as running:
            until((tmp_path / "importing").exists)
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(PATIENCE) == 0
        (tmp_path / "importing").unlink()


def test_processes_that_were_just_started_are_ended_by_a_signal(store: str, tmp_path: Path) -> None:
    with worker(store, tmp_path, "-p", "3") as running:
        until(lambda: "3 processes" in running.log.read_text())
        assert running.stop() == 0


def test_a_signal_to_the_whole_group_is_one_signal(store: str, engine: Engine, tmp_path: Path) -> None:
    with worker(store, tmp_path, "-p", "2", "--shutdown-timeout", "3600") as running:
        until(lambda: len(pids(engine)) == 2)
        handle = engine.start(app.held, str(tmp_path / "go on"))
        until(lambda: handle.status() == "running")
        for pid in (running.process.pid, *pids(engine)):
            os.kill(pid, signal.SIGTERM)
        until(lambda: "draining" in running.log.read_text())
        (tmp_path / "go on").touch()
        assert running.process.wait(PATIENCE) == 0
    assert [step.status for step in engine.detail(handle).steps] == ["completed"]


def test_a_second_signal_to_the_supervisor_stops_all_cold(store: str, engine: Engine, tmp_path: Path) -> None:
    with worker(store, tmp_path, "-p", "2") as running:
        until(lambda: len(pids(engine)) == 2)
        handle = engine.start(app.sleepy, 3600.0)
        until(lambda: handle.status() == "running")
        running.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in running.log.read_text())
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 1


def test_a_process_tells_once_that_it_works_and_how_long_it_takes_to_end() -> None:
    code = """
import os
from replay.cli.process.child import supervision
supervisor = supervision()
assert not supervisor.gone
supervisor.ready(77.0)
assert supervision() is None and not any(name.startswith("REPLAY_SUPERVISED") for name in os.environ)
"""
    child = Child(1, [sys.executable, "-c", code])
    child.start()
    codes: list[int] = []

    def has_died() -> bool:
        codes.extend(code for code in [child.died()] if code is not None)
        return bool(codes)

    until(has_died)
    assert codes == [0]
    assert (child.grace, child.proven) == (77.0, True)
    assert child.pause > 0, "it lived a moment only"


def test_a_store_that_does_not_take_leases_back_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "stuckapp.py").write_text("""
import threading
from replay import Engine, workflow
from replay.backends.memory import MemoryStore

@workflow
def idle(ctx):
    yield

class Stuck(MemoryStore):
    def apply(self, requests):
        if any(getattr(request, "ttl", None) == 0 for request in requests):
            threading.Event().wait()
        return super().apply(requests)

engine = Engine(Stuck(), workflows=[idle])
""")
    with command(tmp_path, "stuckapp:engine", "--shutdown-timeout", "0") as running:
        until(lambda: running.says("serves"))
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 1
        assert running.says("run out by themselves")


def test_a_process_that_hangs_ends_so_that_it_is_replaced(store: str, tmp_path: Path) -> None:
    code = f"""
from replay import Engine, workflow
from replay.cli.process.health import Probes
from replay.cli.process.serve import serve

@workflow
def hangs(ctx):
    while True:
        pass
    yield

engine = Engine("{store}", workflows=[hangs])
engine.start(hangs)
serve(engine, "here", burst=False, probes=Probes(), supervisor=None, hopeless_after=0.2)
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert found.returncode == 1
    assert "ending the process" in found.stderr


def test_changed_code_is_loaded_again_and_a_half_done_edit_is_waited_out(store: str, tmp_path: Path) -> None:
    code = "from replay import workflow\n@workflow\ndef live(ctx):\n    return {}\n    yield\n"
    module = tmp_path / "liveapp.py"
    module.write_text(code.format(1))
    with (
        command(tmp_path, "liveapp:live", "--store", store, REPLAY_RELOAD="1") as running,
        Engine(store) as engine,
    ):
        assert engine.start(live).result(PATIENCE) == 1
        module.write_text("def half(:\n")
        until(lambda: running.says("the next change"))
        assert running.says("liveapp.py changed")
        module.write_text(code.format(2222))
        until(lambda: engine.start(live).result(PATIENCE) == 2222)
        assert running.log.read_text().count("1 processes") == 1, "supervisors do not start supervisors"


def test_options_in_files_and_variables_hold_for_an_engine_target(store: str, tmp_path: Path) -> None:
    (tmp_path / "engineapp.py").write_text(f"""
from replay import Engine, workflow

@workflow(version="2")
def idle(ctx):
    yield

def engine():
    return Engine("{store}", workflows=[idle], concurrency=5, lease=20)
""")
    (tmp_path / "pyproject.toml").write_text('[tool.replay]\nname = "filed"\n[tool.replay.worker]\nqueues = "a,b"\n')
    with command(tmp_path, "engineapp:engine", "--cache-size", "7", REPLAY_CONCURRENCY="3", REPLAY_STORE="x"):
        with Engine(store) as engine:
            until(lambda: bool(pids(engine)))
        arguments = [sys.executable, "-c", "from replay.cli import main; main()", "workers", "--store", store]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        said = subprocess.run([*arguments, "--json"], env=environment, capture_output=True, text=True, check=True)
        found = json.loads(said.stdout)
        table = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout
    assert found.keys() == {"name", "pid", "host", "version", "workflows", "slots", "queues", "active", "seen"}
    assert (found["name"], found["slots"], found["queues"]) == ("filed", 3, ["a", "b"])
    assert found["workflows"] == [{"key": "idle", "version": "2"}]
    assert "idle@2" in table
