"""Damaged data in an SQLite file stops no worker and hides nothing: every column with another type and garbage."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from replay.backends.sqlite import SqliteStore
from replay.backends.sqlite.schema import COLUMNS
from replay.core import requests as r
from tests.asking import ask

GARBAGE: tuple[Any, ...] = (b"\xff{", "x", "", 7, 1e300, float("inf"), None)
LANES = (("wf", ""),)


def write(path: Path, table: str, column: str, value: Any) -> None:
    """Write *value* where the column admits it: SQLite checks NULL alone."""
    with contextlib.closing(sqlite3.connect(path)) as db, db, contextlib.suppress(sqlite3.IntegrityError):
        db.execute(f"UPDATE {table} SET {column}=?", (value,))


@pytest.mark.parametrize("column", [each for each in COLUMNS if each != "id"])
def test_a_damaged_column_stops_no_claim_and_hides_no_other(tmp_path: Path, column: str) -> None:
    for number, garbage in enumerate(GARBAGE):
        path = tmp_path / f"{number}.db"
        with contextlib.closing(SqliteStore(path)) as store:
            ask(store, r.Create("victim", "wf", b"1", entries=(b"[1]",), metadata=b'{"a":1}', priority=1))
            write(path, "execution", column, garbage)
            ask(store, r.Create("other", "wf", b"1"))
            for request in (r.Find(), r.Find(due_before=1e11), r.Get("victim"), r.Load("victim", inspect=True)):
                ask(store, request)
            claims = ask(store, r.Claim("n", "w", ("default",), LANES, 10, 30.0, revive=True))
            assert "other" in {each.header.id for each in claims.claimed}
            again = ask(store, r.Claim("n2", "w", ("default",), LANES, 10, 30.0, revive=True))
            assert (again.claimed, again.damaged) == ((), ())
            for request in (r.Find(), r.Find(statuses=("stuck",)), r.Count(), r.Get("victim"), r.Purge()):
                ask(store, request)
            for id, _ in claims.damaged:
                assert id == "victim"
                (stuck,) = ask(store, r.Find(statuses=("stuck",))).headers
                assert stuck.current.startswith(b'[{"kind":"damaged"')
                assert ask(store, r.Delete("victim")) is True
            ask(store, r.Commit("other", "n", 0, "c", r.End("completed", b"1")))


@pytest.mark.parametrize("column", ["priority", "created_at", "status", "due_at", "length", "arrivals"])
def test_a_column_of_another_type_is_set_aside_and_told_once(tmp_path: Path, column: str) -> None:
    path = tmp_path / "x.db"
    with contextlib.closing(SqliteStore(path)) as store:
        ask(store, r.Create("victim", "wf", b"1"))
        write(path, "execution", column, b"\xff{")
        claims = ask(store, r.Claim("n", "w", ("default",), LANES, 10, 30.0))
        if column == "created_at":  # no claim needs it
            assert claims.claimed[0].header.current.startswith(b'[{"kind":"damaged"')
        else:
            assert [id for id, _ in claims.damaged] == ["victim"]


@pytest.mark.parametrize("column", ["workflow", "spec", "state", "next_at", "paused", "version"])
def test_a_damaged_schedule_hides_no_other(tmp_path: Path, column: str) -> None:
    for number, garbage in enumerate(GARBAGE):
        path = tmp_path / f"{number}.db"
        with contextlib.closing(SqliteStore(path)) as store:
            ask(store, r.PutSchedule(r.Schedule("bad", "wf", b"{}", b"{}", 1.0), 0))
            write(path, "schedule", column, garbage)
            ask(store, r.PutSchedule(r.Schedule("good", "wf", b"{}", b"{}", 1.0), 0))
            assert [each.id for each in ask(store, r.ListSchedules())] == ["bad", "good"]
            claims = ask(store, r.Claim("n", "w", ("default",), LANES, 10, 30.0))
            assert "good" in {each.id for each in claims.schedules}


@pytest.mark.parametrize("column", ["kind", "name", "payload", "at"])
def test_a_damaged_message_hides_no_other(tmp_path: Path, column: str) -> None:
    for number, garbage in enumerate(GARBAGE):
        path = tmp_path / f"{number}.db"
        with contextlib.closing(SqliteStore(path)) as store:
            ask(store, r.Create("x", "wf", b"1"))
            ask(store, r.Deliver("x", "m", "signal", "go"))
            write(path, "inbox", column, garbage)
            ask(store, r.Deliver("x", "m2", "signal", "go"))
            _, second = ask(store, r.Inbox("x"))
            assert (second.kind, second.name) == ("signal", "go")
            claims = ask(store, r.Claim("n", "w", ("default",), LANES, 10, 30.0))
            assert len(claims.claimed[0].messages) == 2
