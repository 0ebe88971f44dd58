"""Damaged data in a store: inspection shows the rest, and commands answer."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from replay import Context, Engine, Flow, workflow
from replay.codec.log_rows import Unreadable
from tests.e2e.commands import replay
from tests.servers.process import PATIENCE


def one() -> int:
    return 1


@workflow
def steps_once(ctx: Context) -> Flow[int]:
    return (yield from ctx.step("one", one))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with one completed execution `x`, an execution `y` beside it and a schedule `s`."""
    path = tmp_path / "x.db"
    with Engine(f"sqlite:///{path}", workflows=[steps_once], worker=True) as engine:
        engine.start(steps_once, id="x").result(PATIENCE)
        engine.start(steps_once, id="y").result(PATIENCE)
        engine.ensure_schedule(steps_once, id="s", interval=3600)
    return path


def change(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(statement, values).rowcount == 1


GARBAGE = [b"\xff{", b"null", b"[[1]]", b"7", b'{"$int":"' + b"9" * 100_000 + b'"}', b"", b"[" * 5000]
ENTRIES = [
    b'{"$exc":{"type":"builtins:StopIteration","args":[5]}}',
    b'{"$exc":{"type":"subprocess:CalledProcessError","args":[1,"x"]}}',
    b'{"$exc":{"type":"builtins:SystemExit","args":[1]}}',
    b'["StepDone","now",0,"one",1,null,1,0.5]',
    b'["StepDone",1.0,0,["one"],1,null,1,0.5]',
    b'["StepDone",1.0,0,"one",1,null,"often",0.5]',
    b'["Retried",1.0,0,"one","by","why",7]',
    *GARBAGE,
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry[:40])
def test_a_damaged_entry_is_unreadable_in_its_place(path: Path, entry: bytes) -> None:
    change(
        path,
        "UPDATE log SET entry=?, crc=? WHERE seq=1 AND x=(SELECT x FROM execution WHERE id='x')",
        entry,
        zlib.crc32(entry),
    )
    with Engine(f"sqlite:///{path}", workflows=[steps_once]) as engine:
        audit = engine.detail("x").audit
    assert isinstance(audit[1], Unreadable)
    assert not any(isinstance(each, Unreadable) for each in (audit[0], *audit[2:]))
    replay("show", "x", "--store", f"sqlite:///{path}")


@pytest.mark.parametrize("field", ["input", "result", "error", "metadata", "current"])
def test_damaged_payloads_hide_nothing(path: Path, field: str) -> None:
    for garbage in GARBAGE:
        change(path, f"UPDATE execution SET {field}=? WHERE id='x'", garbage)
        with Engine(f"sqlite:///{path}", workflows=[steps_once]) as engine:
            assert engine.get_execution("x").id == engine.detail("x").execution.id == "x"
            assert {each.id for each in engine.find_executions()} == {"x", "y"}
    for command in (("show", "x"), ("show", "x", "--json"), ("list",)):
        replay(*command, "--store", f"sqlite:///{path}")


@pytest.mark.parametrize("field", ["spec", "state"])
def test_a_damaged_schedule_has_a_problem_and_hides_no_other(path: Path, field: str) -> None:
    with Engine(f"sqlite:///{path}", workflows=[steps_once]) as engine:
        engine.ensure_schedule(steps_once, id="t", interval=3600)
        for garbage in (*GARBAGE, b'{"input":7,"interval":"x"}', b'{"decided":1,"runs":[7]}'):
            change(path, f"UPDATE schedule SET {field}=? WHERE id='s'", garbage)
            damaged, sound = engine.list_schedules()
            assert damaged.problem is not None
            assert sound.problem is None


def test_a_damaged_registration_hides_no_worker(path: Path) -> None:
    with Engine(f"sqlite:///{path}", workflows=[steps_once], worker=True) as engine:
        engine.start(steps_once).result(PATIENCE)
        for garbage in GARBAGE:
            change(path, "UPDATE worker SET info=?", garbage)
            assert engine.operator.stuck() == ()
            replay("workers", "--store", f"sqlite:///{path}")
