"""The SQLite file under a running process, and a backup that is put back: nothing is accepted into nowhere, nothing is overlaid."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from replay.backends.sqlite import SqliteStore
from replay.core import requests as r
from replay.core.errors import StoreUnavailable
from tests.asking import ask
from tests.e2e.processes import ROOT


def ids(store: SqliteStore) -> list[str]:
    return sorted(header.id for header in ask(store, r.Find()).headers)


def replace(path: Path) -> None:
    with contextlib.closing(SqliteStore(path.with_name("other.db"))):
        pass
    path.with_name("other.db").rename(path)


LOSSES: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: path.unlink(),
    "moved": lambda path: path.rename(path.with_name("moved.db")),
    "replaced": replace,
    "deleted with its folder": lambda path: shutil.rmtree(path.parent),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_file_that_is_lost_under_a_store_is_refused_at_the_next_transaction(loss: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "orders.db"
    path.parent.mkdir()
    with contextlib.closing(SqliteStore(path)) as store:
        ask(store, r.Create("before", "wf", b"1"))
        LOSSES[loss](path)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"orders.db .* while this process had it open"):
                ask(store, r.Create("after", "wf", b"1"))


def test_a_file_that_is_put_back_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    with contextlib.closing(SqliteStore(path)) as store:
        path.rename(tmp_path / "moved.db")
        with pytest.raises(StoreUnavailable):
            ask(store, r.Create("a", "wf", b"1"))
        (tmp_path / "moved.db").rename(path)
        ask(store, r.Create("a", "wf", b"1"))
        assert ids(store) == ["a"]


def killed_after(path: Path, *names: str) -> None:
    """Let a process create executions and die without a word, so that they stand in the WAL alone."""
    code = (
        "import os, sys; from replay.backends.sqlite import SqliteStore; from replay.core import requests as r\n"
        "store = SqliteStore(sys.argv[1]); store.apply([r.Create(id, 'wf', b'1') for id in sys.argv[2:]]); os._exit(9)"
    )
    found = subprocess.run([sys.executable, "-c", code, str(path), *names], check=False, cwd=ROOT)
    assert found.returncode == 9
    assert path.with_name(path.name + "-wal").stat().st_size


def test_a_backup_that_is_put_back_is_not_overlaid_by_the_wal_of_the_file_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, backup = tmp_path / "orders.db", tmp_path / "backup.db"
    killed_after(path, "old")
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    killed_after(path, "bad")
    backup.rename(path)
    with caplog.at_level(logging.WARNING, "replay"), contextlib.closing(SqliteStore(path)) as store:
        assert ids(store) == ["old"]
    assert "set aside" in caplog.text
    assert len(list(tmp_path.glob("orders.db-wal.of-replaced-file-*"))) == 1
    with contextlib.closing(SqliteStore(path)) as store:
        assert ids(store) == ["old"]


@pytest.mark.parametrize("move", [shutil.copytree, os.rename], ids=["copied", "moved"])
def test_a_folder_that_is_copied_or_moved_as_a_whole_keeps_its_wal(
    move: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    killed_after(first / "orders.db", "a", "b")
    move(first, second)
    with contextlib.closing(SqliteStore(second / "orders.db")) as store:
        assert ids(store) == ["a", "b"]


def test_a_file_of_a_crashed_process_keeps_its_wal(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    killed_after(path, "a")
    killed_after(path, "b")
    with contextlib.closing(SqliteStore(path)) as store:
        assert ids(store) == ["a", "b"]
