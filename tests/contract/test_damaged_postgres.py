"""Damaged rows of a PostgreSQL stop no worker and hide nothing: every column with all that its type admits."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from replay.backends.postgres import open_store
from replay.backends.postgres.schema import COLUMNS
from replay.core import requests as r
from replay.core.errors import Undecodable
from tests.asking import ask
from tests.servers.postgres import PostgresServer

GARBAGE: tuple[Any, ...] = (
    b"\xff{", "x", "", 7, -1, 2**31 - 1, 2**63 - 1, 1e300, -1e300, float("inf"), float("-inf"), float("nan"), True, None,
)  # fmt: skip
LANES = (("wf", ""),)


class Damaged:
    """A store in a schema of its own, whose rows are written by hand."""

    def __init__(self, server: PostgresServer) -> None:
        self.schema = f"d{uuid.uuid4().hex[:20]}"
        self.store = open_store(server.url_of(schema=self.schema))
        self.connection = server.connect()

    def write(self, table: str, column: str, value: Any) -> bool:
        """Write *value* where the column admits it; tell whether it did."""
        with contextlib.suppress(psycopg.Error):
            self.connection.execute(f"UPDATE {self.schema}.{table} SET {column}=%s", (value,))
            return True
        return False

    def empty(self) -> None:
        for table in ("execution", "metadata", "log", "inbox", "accepted", "watcher", "count", "schedule", "claim"):
            self.connection.execute(f"TRUNCATE {self.schema}.{table}")


@pytest.fixture(scope="module")
def opened(postgres_server: PostgresServer) -> Iterator[Damaged]:
    damaged = Damaged(postgres_server)
    yield damaged
    damaged.store.close()
    damaged.connection.close()


@pytest.fixture
def damaged(opened: Damaged) -> Damaged:
    opened.empty()
    return opened


@pytest.mark.parametrize("column", [each for each in COLUMNS if each != "id"])
def test_a_damaged_column_stops_no_claim_and_hides_no_other(damaged: Damaged, column: str) -> None:
    store, written = damaged.store, 0
    for garbage in GARBAGE:
        damaged.empty()
        ask(store, r.Create("victim", "wf", b"1", entries=(b"[1]",), metadata=b'{"a":1}', priority=1))
        written += damaged.write("execution", column, garbage)
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
    assert written, "no value fitted this column"


@pytest.mark.parametrize("column", ["due_at", "updated_at", "retention"])
@pytest.mark.parametrize("garbage", [float("inf"), float("nan")])
def test_an_instant_that_is_none_is_set_aside_and_told_once(damaged: Damaged, column: str, garbage: float) -> None:
    ask(damaged.store, r.Create("victim", "wf", b"1"))
    assert damaged.write("execution", column, garbage)
    claims = ask(damaged.store, r.Claim("n", "w", ("default",), LANES, 10, 30.0))
    assert [id for id, _ in claims.damaged] == ["victim"]
    assert ask(damaged.store, r.Claim("n2", "w", ("default",), LANES, 10, 30.0)).damaged == ()


@pytest.mark.parametrize("column", ["workflow", "spec", "state", "next_at", "paused", "version"])
def test_a_damaged_schedule_hides_no_other(damaged: Damaged, column: str) -> None:
    store = damaged.store
    for garbage in GARBAGE:
        damaged.empty()
        ask(store, r.PutSchedule(r.Schedule("bad", "wf", b"{}", b"{}", 1.0), 0))
        damaged.write("schedule", column, garbage)
        ask(store, r.PutSchedule(r.Schedule("good", "wf", b"{}", b"{}", 1.0), 0))
        assert [each.id for each in ask(store, r.ListSchedules())] == ["bad", "good"]
        claims = ask(store, r.Claim("n", "w", ("default",), LANES, 10, 30.0))
        assert "good" in {each.id for each in claims.schedules}


@pytest.mark.parametrize("column", ["kind", "name", "payload", "at"])
def test_a_damaged_message_hides_no_other(damaged: Damaged, column: str) -> None:
    store = damaged.store
    for garbage in GARBAGE:
        damaged.empty()
        ask(store, r.Create("x", "wf", b"1"))
        ask(store, r.Deliver("x", "m", "signal", "go"))
        damaged.write("inbox", column, garbage)
        ask(store, r.Deliver("x", "m2", "signal", "go"))
        _, second = ask(store, r.Inbox("x"))
        assert (second.kind, second.name) == ("signal", "go")
        claims = ask(store, r.Claim("n", "w", ("default",), LANES, 10, 30.0))
        assert len(claims.claimed[0].messages) == 2


def test_an_entry_that_is_not_what_was_written_is_told_by_its_index(damaged: Damaged) -> None:
    ask(damaged.store, r.Create("x", "wf", b"1", entries=(b"[1]", b"[2]")))
    damaged.connection.execute(f"UPDATE {damaged.schema}.log SET entry = 'y' WHERE seq = 1")
    with pytest.raises(Undecodable, match="entry #1"):
        ask(damaged.store, r.Load("x"))
    assert ask(damaged.store, r.Load("x", inspect=True)) == [b"[1]", r.DAMAGED]
    assert ask(damaged.store, r.Load("x", 1, inspect=True)) == [r.DAMAGED]


def test_what_a_text_cannot_hold_is_refused_alone(damaged: Damaged) -> None:
    fresh, refused = damaged.store.apply([r.Create("a", "wf", b"1"), r.Create("zero\0byte", "wf", b"1")])
    assert fresh.fresh
    assert "cannot perform Create" in str(refused)
    (refused,) = damaged.store.apply([r.Get("zero\0byte")])
    assert "cannot perform Get" in str(refused)
