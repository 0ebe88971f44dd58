"""`replay bench` through real processes, with small sizes: that it measures and reports, not how fast it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from replay.bench.harness import Figure, curves
from replay.cli.commands.bench import NAMES
from tests.e2e.test_cli import replay
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer


@pytest.mark.parametrize("name", NAMES)
def test_each_workload_prints_its_figures_as_json(name: str) -> None:
    lines = [json.loads(line) for line in replay("bench", name, "-n", "50", "--runs", "1", "--json").splitlines()]
    assert lines
    for line in lines:
        assert {"workload", "system", "case", "unit", "n", "median", "min", "max", "versions"} <= line.keys()


def test_figures_are_compared_with_an_earlier_run(tmp_path: Path) -> None:
    before = tmp_path / "before.jsonl"
    before.write_text(replay("bench", "replay", "-n", "100", "--runs", "1", "--json"))
    text = replay("bench", "replay", "-n", "100", "--runs", "1", "--compare", str(before))
    assert "replay, replay: " in text
    assert " x)" in text


def test_a_workflow_and_a_history_of_ones_own_are_replayed(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/x.db"
    replay("start", "tests.e2e.app:five_steps", "7", "--id", "five", "--store", store)
    replay("worker", "tests.e2e.app:all_workflows", "--store", store, "--burst")
    history = tmp_path / "five.json"
    replay("history", "five", "--export", str(history), "--store", store)
    text = replay("bench", "--workflow", "tests.e2e.app:five_steps", "--history", str(history), "--runs", "1")
    assert "five_steps" in text
    assert "entries/s" in text


def test_a_profile_names_functions() -> None:
    assert "interpreter.py" in replay("bench", "replay", "-n", "100", "--runs", "1", "--profile")


def test_wrong_usage_is_told(tmp_path: Path) -> None:
    replay("bench", "nonsense", code=2)
    replay("bench", "--workflow", "tests.e2e.app:five_steps", code=2)
    other = tmp_path / "other"
    other.write_text("not json")
    assert "is not a line of" in replay("bench", "replay", "-n", "100", "--runs", "1", "--compare", str(other), code=2)


def test_a_plot_has_a_curve_of_cost_for_each_case_that_was_measured_at_several_sizes() -> None:
    figures = [
        Figure("replay", "replay", "replay", "commands/s", 100, (1_000_000.0,)),
        Figure("replay", "replay", "replay", "commands/s", 10, (500_000.0,)),
        Figure("fanout", "memory", "1,000 members", "members/s", 10, (10_000.0,)),
        Figure("fanout", "memory", "100 members", "members/s", 10, (20_000.0,)),
        Figure("memory", "replay", "peak while replaying", "x log bytes", 10, (2.5,)),
    ]
    assert curves(figures) == {
        "replay, replay: replay [us each]": [(10, 2.0), (100, 1.0)],
        "fanout, memory: members [us each]": [(100, 50.0), (1000, 100.0)],
    }


def test_servers_have_baselines_of_their_own(redis_server: RedisServer, rabbitmq_server: RabbitServer) -> None:
    where = ("--store", redis_server.url, "--queue", rabbitmq_server.url)
    lines = [
        json.loads(line) for line in replay("bench", "steps", "-n", "50", "--runs", "1", "--json", *where).splitlines()
    ]
    assert {"raw EVALSHA", "raw EVALSHA, 50 piped", "raw AMQP publish"} <= {line["case"] for line in lines}
