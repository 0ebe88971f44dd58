"""`replay-worker` as a process: supervision, health, limits, signals and exit codes."""

from __future__ import annotations

import datetime as dt
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from replay import Engine
from replay.observability.metrics import Gauges, Metrics, Surroundings, exposition
from tests.e2e import app
from tests.e2e.processes import ROOT, Worker, pids, worker
from tests.servers.process import PATIENCE, until

TARGET = "tests.e2e.app:five_steps"


def port_of(running: Worker) -> int:
    until(lambda: b"health on port" in running.log.read_bytes())
    found = re.search(r"health on port (\d+)", running.log.read_text())
    assert found is not None
    return int(found[1])


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def test_with_burst_the_processes_end_when_there_is_nothing_to_do(store: str, engine: Engine, tmp_path: Path) -> None:
    handles = [engine.start(app.five_steps, n) for n in range(10)]
    with worker(store, tmp_path, "-p", "2", "--burst") as running:
        assert running.process.wait(PATIENCE) == 0
    assert [handle.status() for handle in handles] == ["completed"] * 10


def test_max_executions_ends_the_process(store: str, engine: Engine, tmp_path: Path) -> None:
    handles = [engine.start(app.five_steps, n) for n in range(5)]
    with worker(store, tmp_path, "--max-executions", "3") as running:
        assert running.process.wait(PATIENCE) == 0
    assert sum(handle.status() == "completed" for handle in handles) == 3


def test_a_worker_keeps_as_many_ended_executions_as_it_is_told(store: str, engine: Engine, tmp_path: Path) -> None:
    for n in range(10):
        engine.start(app.five_steps, n, id=f"x{n}").cancel()
    with worker(store, tmp_path, "--retention-count", "3", "--retention", "30d"):
        until(lambda: engine.count_executions() == {"cancelled": 3})
    assert {execution.id for execution in engine.find_executions()} == {"x7", "x8", "x9"}


def test_health_readiness_and_metrics_are_served(store: str, engine: Engine, tmp_path: Path) -> None:
    with worker(store, tmp_path, "--health-port", "0") as running:
        port = port_of(running)
        until(lambda: get(port, "/readyz")[0] == 200)
        assert get(port, "/livez") == (200, "ok\n")
        assert get(port, "/other")[0] == 404
        for n in range(3):
            engine.start(app.five_steps, n).result(PATIENCE)
        text = get(port, "/metrics")[1]
        assert 'replay_executions_ended_total{status="completed"} 3' in text
        assert 'replay_steps_total{outcome="completed"} 15' in text
        assert "replay_slots 16" in text
        assert 'replay_executions{status="completed"} ' in text
        assert 'replay_executions{status="stuck"} 0' in text
        assert "replay_step_seconds_count 15" in text
        for line in text.splitlines():
            assert line.startswith("# ") or re.fullmatch(r'replay_\w+(\{\w+="[\w.+]+"\})? [0-9.e+-]+', line), line
        head = urllib.request.Request(f"http://127.0.0.1:{port}/livez", method="HEAD")
        with urllib.request.urlopen(head, timeout=PATIENCE) as reply:
            assert (reply.status, reply.headers["Content-Length"], reply.read()) == (200, "3", b"")


def test_a_health_port_that_is_taken_is_told_before_anything_is_claimed(
    store: str, engine: Engine, tmp_path: Path
) -> None:
    handle = engine.start(app.five_steps, 1)
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        with worker(store, tmp_path, "--health-port", port) as running:
            assert running.process.wait(PATIENCE) == 2
            assert port in running.log.read_text()
    assert handle.status() == "pending"


def test_the_health_port_listens_on_the_address_that_is_named(store: str, tmp_path: Path) -> None:
    with worker(store, tmp_path, "--health-port", "0", "--health-host", "127.0.0.1") as running:
        until(lambda: get(port_of(running), "/readyz")[0] == 200)
    with worker(store, tmp_path, "--health-port", "0", "--health-host", "192.0.2.1") as running:
        assert running.process.wait(PATIENCE) == 2
        assert "--health-host 192.0.2.1" in running.log.read_text()


def test_counters_are_shown_in_full() -> None:
    metrics = Metrics(batches=12_345_678, batch_seconds=1_234_567.5)
    metrics.step_seconds.observe(0.01)
    metrics.step_seconds.observe(1000.0)
    text = exposition(metrics, Gauges(0, 1, 0, True), Surroundings({"stuck": 2}, {"queue": False, "bus": True}))
    shown = set(text.splitlines())
    assert {
        "replay_store_batches_total 12345678",
        "replay_store_batch_seconds_total 1234567.5",
        'replay_step_seconds_bucket{le="0.01"} 1',
        'replay_step_seconds_bucket{le="300.0"} 1',
        'replay_step_seconds_bucket{le="+Inf"} 2',
        "replay_step_seconds_sum 1000.01",
        'replay_executions{status="stuck"} 2',
        "replay_queue_connected 0",
        "replay_bus_connected 1",
    } <= shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_draining_worker_is_not_ready_and_lets_its_steps_end(
    store: str, engine: Engine, tmp_path: Path, number: signal.Signals
) -> None:
    with worker(store, tmp_path, "--health-port", "0", "--shutdown-timeout", "3600") as running:
        port = port_of(running)
        handle = engine.start(app.held, str(tmp_path / "go on"))
        until(lambda: handle.status() == "running")
        running.process.send_signal(number)
        until(lambda: get(port, "/readyz")[0] == 503)
        (tmp_path / "go on").touch()
        assert running.process.wait(PATIENCE) == 0
    assert [step.status for step in engine.detail(handle).steps] == ["completed"]


def test_a_second_signal_stops_cold(store: str, engine: Engine, tmp_path: Path) -> None:
    with worker(store, tmp_path) as running:
        handle = engine.start(app.sleepy, 3600.0)
        until(lambda: handle.status() == "running")
        running.process.send_signal(signal.SIGINT)
        until(lambda: "again to stop cold" in running.log.read_text())
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENCE) == 1


def test_sigquit_dumps_stacks_and_the_worker_goes_on(store: str, engine: Engine, tmp_path: Path) -> None:
    with worker(store, tmp_path) as running:
        until(lambda: bool(pids(engine)))
        running.process.send_signal(signal.SIGQUIT)
        until(lambda: "Current thread" in running.log.read_text() or "Thread 0x" in running.log.read_text())
        assert engine.start(app.five_steps, 1).result(PATIENCE) == 60


def test_a_queue_has_no_more_executions_at_once_than_its_limit(store: str, tmp_path: Path) -> None:
    with (
        Engine(store, workflows=app.all_workflows()) as engine,
        worker(store, tmp_path, "-Q", "limited=2,default", target="tests.e2e.app:limited_workflows"),
    ):

        def running() -> int:
            return engine.count_executions(workflow=app.in_limited_queue).get("running", 0)  # type: ignore[call-overload, no-any-return]

        slow = [engine.start(app.in_limited_queue, str(tmp_path / "go on")) for _ in range(6)]
        until(lambda: running() == 2)
        assert engine.start(app.five_steps, 1).result(PATIENCE) == 60, "a queue at its limit holds up no other"
        assert running() == 2
        (tmp_path / "go on").touch()
        while not all(handle.status() == "completed" for handle in slow):
            assert running() <= 2


@pytest.mark.parametrize("queues", ["a=b", "", "=", "a=0"])
def test_a_malformed_queue_list_is_told(store: str, tmp_path: Path, queues: str) -> None:
    with worker(store, tmp_path, "-Q", queues) as running:
        assert running.process.wait(PATIENCE) == 2
        assert "Traceback" not in running.log.read_text()


def test_a_store_out_of_reach_is_exit_code_3(tmp_path: Path) -> None:
    with worker("redis://127.0.0.1:1/0?deadline=0.5", tmp_path) as running:
        assert running.process.wait(PATIENCE) == 3
        assert "Traceback" not in running.log.read_text()


def test_the_log_may_be_json(store: str, engine: Engine, tmp_path: Path) -> None:
    with worker(store, tmp_path, "--log-format", "json") as running:
        until(lambda: b"serves" in running.log.read_bytes())
        for line in running.log.read_text().splitlines():
            said = json.loads(line)
            assert {"time", "level", "logger", "message"} <= said.keys()
            assert said["time"].endswith("Z")
            assert abs(time.time() - dt.datetime.fromisoformat(said["time"]).timestamp()) < 3600


@pytest.mark.parametrize(
    "arguments",
    [
        ("-p", "2", "--", TARGET),
        ("--", TARGET),
        (TARGET, "-p2", "-c4"),
        (TARGET, "--processes=2", "-n", "-x"),
        (TARGET, "-p", "2", "--name", "--name"),
        ("-p", "2", "--name=-p", "--log-level", "debug", TARGET),
    ],
    ids=" ".join,
)
def test_the_command_line_reaches_each_process_whole(arguments: tuple[str, ...], tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "replay.cli.worker",
        "--store",
        f"sqlite:///{tmp_path}/x.db",
        "--burst",
        *arguments,
    ]
    found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=ROOT)
    assert found.returncode == 0, found.stderr
