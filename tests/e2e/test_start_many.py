"""`replay start-many`: all lines or none, each once by its key."""

from __future__ import annotations

import json
from pathlib import Path

from replay import Engine
from tests.e2e.app import five_steps
from tests.e2e.commands import replay

WORKFLOW = "tests.e2e.app:five_steps"


def started(store: str) -> dict[str, object]:
    with Engine(store, workflows=[five_steps]) as engine:
        return {each.id: each.input for each in engine.find_executions(limit=1000)}


def test_each_line_starts_an_execution(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/x.db"
    file = tmp_path / "inputs.jsonl"
    file.write_text("1\n2\n\n3\n")
    ids = replay("start-many", WORKFLOW, str(file), "--store", store).split()
    assert started(store) == dict(zip(ids, [1, 2, 3], strict=True))
    lines = replay("start-many", WORKFLOW, str(file), "--store", store, "--json").splitlines()
    assert set(started(store)) == {*ids, *(json.loads(line)["id"] for line in lines)}


def test_a_wrong_line_is_named_and_starts_nothing(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/x.db"
    file = tmp_path / "inputs.jsonl"
    file.write_text('1\n2\n"three"\n')
    assert "line 3:" in replay("start-many", WORKFLOW, str(file), "--store", store, code=2)
    file.write_text("1\n{2\n")
    assert "line 2 must be JSON" in replay("start-many", WORKFLOW, str(file), "--store", store, code=2)
    assert "FILE nowhere" in replay("start-many", WORKFLOW, "nowhere", "--store", store, code=2)
    assert started(store) == {}


def test_a_field_is_the_key_of_each_line(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/x.db"
    file = tmp_path / "inputs.jsonl"
    file.write_text('{"id": "o-1"}\n{"id": 2}\n')
    command = ("start-many", "tests.e2e.app:takes_any", str(file), "--key-of", "id", "--store", store)
    assert replay(*command) == replay(*command)
    file.write_text('{"id": "o-1"}\n{"no": 2}\n')
    assert "line 2: has no field 'id'" in replay(*command, code=2)
    assert len(started(store)) == 2
