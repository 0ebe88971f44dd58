"""`replay backup`: a consistent copy of a live store, which can be put back."""

from __future__ import annotations

from pathlib import Path

from replay import Engine
from tests.e2e.app import five_steps
from tests.e2e.commands import replay


def test_a_live_store_is_copied_and_restored(tmp_path: Path) -> None:
    path, copy = tmp_path / "orders.db", tmp_path / "copy.db"
    where = ("--store", f"sqlite:///{path}")
    with Engine(f"sqlite:///{path}", workflows=[five_steps]) as engine:
        engine.start_many(five_steps, range(50))
        assert "bytes" in replay("backup", str(copy), *where)
        engine.start(five_steps, 51)
    copy.rename(path)
    with Engine(f"sqlite:///{path}") as engine:
        assert engine.count_executions() == {"pending": 50}
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_copied_is_refused(tmp_path: Path) -> None:
    path, there = tmp_path / "orders.db", tmp_path / "there.db"
    there.write_text("mine")
    with Engine(f"sqlite:///{path}"):
        assert "exists" in replay("backup", str(there), "--store", f"sqlite:///{path}", code=2)
    assert there.read_text() == "mine"
    assert "server" in replay("backup", "x.db", "--store", "redis://localhost", code=2)
    assert "no file" in replay("backup", "x.db", "--store", f"sqlite:///{tmp_path}/none.db", code=3)
