"""What is SQLite's own about the store in SQLite (that it agrees with the memory store is tested beside this)."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replay.backends.sqlite import SqliteStore
from replay.backends.sqlite.file_lock import FileLock
from replay.core import requests as r
from replay.core.errors import ConfigError, ReplayError, StoreUnavailable, Undecodable
from tests.servers.process import until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with contextlib.closing(SqliteStore(tmp_path / "x.db")) as store:
        yield store


def sleeping(store: SqliteStore, id: str) -> None:
    """Make an execution that sleeps until a message comes."""
    claim = r.Claim(f"n-{id}", "w", ("default",), (("wf", ""),), 1, 30.0)
    store.apply([r.Create(id, "wf", b"1", entries=(b"[1]", b"[2]")), claim])
    store.apply([r.Commit(id, f"n-{id}", 2, "c", r.Suspend("sleeping", None, 30.0))])


def test_of_requests_that_are_committed_together_only_the_bad_one_fails(store: SqliteStore) -> None:
    sleeping(store, "x")
    replies: dict[str, Any] = {}

    def send(message_id: str) -> None:
        replies[message_id] = store.apply([r.Deliver("x", message_id, "signal", "go")])[0]

    ids = ["a", "\ud800", "b"]
    threads = [threading.Thread(target=send, args=(id,)) for id in ids]
    with store._writer:
        for thread in threads:
            thread.start()
        until(lambda: len(store._waiting) == len(ids), what="all to wait for one commit")
    for thread in threads:
        thread.join()
    assert isinstance(replies.pop("\ud800"), ReplayError)
    assert [type(reply) for reply in replies.values()] == [r.Delivered, r.Delivered]
    assert len(store.apply([r.Inbox("x")])[0]) == 2


def test_a_read_beside_a_commit_does_not_lose_whom_it_woke(store: SqliteStore) -> None:
    sleeping(store, "x")
    read: list[Any] = []

    def look(statement: str) -> None:
        if statement.startswith("UPDATE"):
            read.extend(store.apply([r.Get("x")]))

    store._db.set_trace_callback(look)
    (reply,) = store.apply([r.Deliver("x", "m", "signal", "go")])
    assert read
    assert reply.woken == ("default",)


def test_a_row_of_the_log_that_was_edited_to_text_is_named(store: SqliteStore) -> None:
    sleeping(store, "x")
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        db.execute("UPDATE log SET entry = '[2]' WHERE seq = 1")
    (reply,) = store.apply([r.Load("x")])
    assert isinstance(reply, Undecodable)
    assert "'x', log entry #1" in str(reply)
    assert store.apply([r.Load("x", inspect=True)]) == [[b"[1]", r.DAMAGED]]


def test_who_waits_too_long_for_another_process_is_told_whom_to_look_for(tmp_path: Path) -> None:
    path = f"{tmp_path}/x.db-lock"
    one, other = FileLock(path), FileLock(path, patience=0.01)
    with one.held():
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"lock of the SQLite file x\.db .*Fix: find it"), other.held():
                pass
    until(lambda: other._waiter is not None and other._waiter.done.is_set(), what="the wait to end")
    impatient = FileLock(path, patience=0.01)
    with pytest.raises(StoreUnavailable), impatient.held():  # `other` has what it waited for
        pass
    with other.held():
        pass
    for lock in (one, other, impatient):
        lock.close()
        lock.close()


def test_an_orphan_does_not_keep_the_lock_of_a_parent_that_was_killed_in_a_commit(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        store = SqliteStore(tmp_path / "x.db")
        with store._transaction():
            orphan = os.fork()  # as a step does with multiprocessing
            if orphan == 0:
                os.write(writing, b"%d" % os.getpid())
                signal.pause()
            until(lambda: os.read(reading, 20), what="the orphan")
            os.write(writing, b"%d" % orphan)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    orphan = int(os.read(reading, 20))
    try:
        with contextlib.closing(FileLock(f"{tmp_path}/x.db-lock", patience=0.01)) as lock, lock.held():
            pass
        with contextlib.closing(SqliteStore(tmp_path / "x.db")) as store:
            assert store.apply([r.Create("x", "wf", b"1")])[0].fresh
    finally:
        os.kill(orphan, signal.SIGKILL)
        os.close(reading)
        os.close(writing)


def rows(path: Path, statement: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(statement).fetchall()


def test_a_file_of_an_older_version_is_brought_up_to_date_and_keeps_what_it_holds(tmp_path: Path) -> None:
    path, indexes = tmp_path / "x.db", "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
    with contextlib.closing(SqliteStore(path)) as store:
        sleeping(store, "x")
        (before,) = store.apply([r.Get("x")])
    made_new = rows(path, indexes)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(
            "DROP INDEX execution_updated; ALTER TABLE execution DROP COLUMN updated_tick; DROP TABLE claim; DROP INDEX schedule_due;"
            " CREATE INDEX schedule_due ON schedule (ns, next_at) WHERE next_at IS NOT NULL; UPDATE meta SET value = '1'"
        )
    with contextlib.closing(SqliteStore(path)) as store:
        assert store.apply([r.Get("x"), r.Load("x", 0)]) == [before, [b"[1]", b"[2]"]]
    assert rows(path, indexes) == made_new
    assert rows(path, "SELECT updated_tick FROM execution") == [(int(before.updated_at * 10),)]


def test_a_file_of_a_newer_version_or_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "x.db").close()
    for script, reason in (("UPDATE meta SET value = '99'", "newer replay"), ("DROP TABLE meta", "not a replay store")):
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db:
            db.executescript(script)
            before = list(db.iterdump())
            with pytest.raises(ConfigError, match=reason):
                SqliteStore(tmp_path / "x.db")
            assert list(db.iterdump()) == before
