"""The SQLite store's tables, and how a file is opened so that a crash or a power cut loses nothing that was answered."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from replay.core.errors import ConfigError, StoreUnavailable

VERSION = 3

COLUMNS = (
    "id", "workflow", "version", "queue", "status", "input", "created_at", "updated_at", "result", "error", "ended_at",
    "parent_id", "metadata", "priority", "retention", "deadline", "attempt", "run", "length", "amendments", "arrivals",
    "last_commit", "token", "worker", "lost", "due_at", "current",
)  # fmt: skip
"""An execution's columns in the order of `requests.Header`'s fields."""

TICKS = 10
"""In a second. Changes are indexed by the tick they are in: by their instants, commits side by side would take a fifth longer."""

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE execution (
    x INTEGER PRIMARY KEY, ns TEXT NOT NULL, id TEXT NOT NULL, workflow TEXT NOT NULL, version TEXT NOT NULL,
    queue TEXT NOT NULL, status TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL, ended_at REAL,
    parent_id TEXT, priority INTEGER NOT NULL, retention REAL, deadline REAL, attempt INTEGER NOT NULL DEFAULT 1,
    run INTEGER NOT NULL DEFAULT 0, length INTEGER NOT NULL DEFAULT 0, amendments INTEGER NOT NULL DEFAULT 0,
    arrivals INTEGER NOT NULL DEFAULT 0, last_commit TEXT NOT NULL DEFAULT '', token TEXT, worker TEXT,
    lost INTEGER NOT NULL DEFAULT 0, due_at REAL, purge_at REAL, cancelled INTEGER NOT NULL DEFAULT 0,
    updated_tick INTEGER NOT NULL DEFAULT 0,
    metadata BLOB NOT NULL, current BLOB NOT NULL, input BLOB NOT NULL, result BLOB, error BLOB);
CREATE UNIQUE INDEX execution_id ON execution (ns, id);
CREATE INDEX execution_due ON execution (ns, queue, workflow, version, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX execution_timer ON execution (ns, due_at) WHERE priority > 0;
CREATE INDEX execution_token ON execution (ns, token) WHERE token IS NOT NULL;
CREATE INDEX execution_created ON execution (ns, created_at, id);
CREATE INDEX execution_status ON execution (ns, status, created_at, id);
CREATE INDEX execution_workflow ON execution (ns, workflow, created_at, id);
CREATE INDEX execution_updated ON execution (ns, updated_tick);
CREATE INDEX execution_parent ON execution (ns, parent_id, created_at, id) WHERE parent_id IS NOT NULL;
CREATE INDEX execution_purge ON execution (ns, purge_at) WHERE purge_at IS NOT NULL;
CREATE TABLE metadata (ns TEXT, term TEXT, created_at REAL, id TEXT, PRIMARY KEY (ns, term, created_at, id)) WITHOUT ROWID;
CREATE TABLE log (x INTEGER, seq INTEGER, entry BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (x, seq)) WITHOUT ROWID;
CREATE TABLE inbox (x INTEGER, seq INTEGER, kind TEXT NOT NULL, name TEXT NOT NULL, payload BLOB NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (x, seq)) WITHOUT ROWID;
CREATE INDEX inbox_ended ON inbox (x, name) WHERE kind = 'ended';
CREATE TABLE accepted (x INTEGER, message_id TEXT, seq INTEGER NOT NULL, PRIMARY KEY (x, message_id)) WITHOUT ROWID;
CREATE INDEX accepted_seq ON accepted (x, seq);
CREATE TABLE watcher (x INTEGER, id TEXT, PRIMARY KEY (x, id)) WITHOUT ROWID;
CREATE TABLE count (ns TEXT, workflow TEXT, status TEXT, n INTEGER NOT NULL, PRIMARY KEY (ns, workflow, status)) WITHOUT ROWID;
CREATE TABLE schedule (ns TEXT, id TEXT, workflow TEXT NOT NULL, spec BLOB NOT NULL, state BLOB NOT NULL, next_at REAL,
    paused INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (ns, id)) WITHOUT ROWID;
CREATE INDEX schedule_due ON schedule (ns, workflow, next_at) WHERE next_at IS NOT NULL AND paused = 0;
CREATE TABLE worker (ns TEXT, name TEXT, info BLOB NOT NULL, seen_at REAL NOT NULL, until REAL NOT NULL,
    PRIMARY KEY (ns, name)) WITHOUT ROWID;
CREATE TABLE claim (ns TEXT, nonce TEXT, until REAL NOT NULL, PRIMARY KEY (ns, nonce)) WITHOUT ROWID;
"""

UPGRADES = {
    1: f"""
ALTER TABLE execution ADD COLUMN updated_tick INTEGER NOT NULL DEFAULT 0;
UPDATE execution SET updated_tick = CAST(updated_at * {TICKS} AS INTEGER);
CREATE INDEX execution_updated ON execution (ns, updated_tick);
""",
    2: """
CREATE TABLE claim (ns TEXT, nonce TEXT, until REAL NOT NULL, PRIMARY KEY (ns, nonce)) WITHOUT ROWID;
INSERT INTO claim SELECT DISTINCT ns, token, 0 FROM execution WHERE token IS NOT NULL;
DROP INDEX schedule_due;
CREATE INDEX schedule_due ON schedule (ns, workflow, next_at) WHERE next_at IS NOT NULL AND paused = 0;
""",
}
"""Statements that make a file of each older version one of the next."""


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """Open *path*.

    `wal_autocheckpoint=0`: versions 3.7.0 to 3.51.2 can lose commits when a checkpoint of one connection races with another
    that resets the WAL; the store checkpoints by itself, while it holds the lock that every writer takes.
    """
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0, cached_statements=256)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={synchronous}")
        db.execute("PRAGMA wal_autocheckpoint=0")
    except sqlite3.DatabaseError as error:
        raise open_error(path, error) from error
    return db


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, bring an older one up to date (the writer lock is held).

    Raises:
        ConfigError: It is somebody else's, or of a newer version.
    """
    try:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            db.executescript(f"BEGIN IMMEDIATE; {TABLES} INSERT INTO meta VALUES ('version', '{VERSION}'); COMMIT;")
            return
        if "meta" not in tables or "execution" not in tables:
            raise ConfigError(f"{path} is an SQLite database, but not a replay store. Fix: choose another path")
        found = int(db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()[0])
        for old in range(found, VERSION):
            done = f"UPDATE meta SET value = '{old + 1}' WHERE key = 'version'"
            db.executescript(f"BEGIN IMMEDIATE; {UPGRADES[old]} {done}; COMMIT;")
    except sqlite3.DatabaseError as error:
        raise open_error(path, error) from error
    if found > VERSION:
        raise ConfigError(
            f"{path} was written by a newer replay (schema {found}; this one knows {VERSION}). Fix: upgrade"
        )


def open_error(path: Path, error: sqlite3.DatabaseError) -> Exception:
    """Return what to raise when *path* cannot be opened."""
    if "not a database" in str(error):
        return ConfigError(f"{path} is not an SQLite database. Fix: choose another path, or restore the file")
    return StoreUnavailable(f"SQLite file {path}: {error}")


def create_file(path: Path) -> None:
    """Create *path* for its owner only, if it does not exist.

    Raises:
        ConfigError: Its folder does not exist, or it cannot be written.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise ConfigError(
            f"cannot open {path}: {error.strerror}. Fix: create its folder, or choose another path"
        ) from error
