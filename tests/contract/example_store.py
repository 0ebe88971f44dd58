"""A complete store in SQL that PostgreSQL shares, small enough to read in one sitting: `docs/backends.md` walks through it.

It keeps the *requests*, in the order in which they were answered, and every process holds the state that they lead to: the
memory store is a deterministic function of (state, request, time), so replicas that read the same rows are the same. One
transaction appends a batch under an exclusive lock; that is all the atomicity there is to write.

What a store for production adds: snapshots, so that opening does not read all that ever happened.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from replay.backends.memory import MemoryStore
from replay.codec import TaggedJson
from replay.core import requests as r
from replay.core.errors import StoreUnavailable
from replay.ports import Clock

READS = (r.Load, r.Get, r.Inbox, r.Find, r.Count, r.GetSchedule, r.ListSchedules, r.Workers, r.Ping)

# PostgreSQL: at DOUBLE PRECISION, body BYTEA.
TABLE = "CREATE TABLE IF NOT EXISTS request (seq INTEGER PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL)"


class RecordedTime:
    """The replica's clock: the time at which the request that is being applied was answered first."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at


class RequestLogStore:
    """See `replay.ports.Store`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._codec = TaggedJson()  # requests are attrs values of a trusted module: no format of our own
        self._lock = threading.Lock()
        # PostgreSQL: psycopg.connect(...); its placeholders are %s.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self._db.execute(TABLE)
        self._forget()

    def _forget(self) -> None:
        self._time = RecordedTime()
        self._replica = MemoryStore(self._time)
        self._seen = 0

    def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        """Answer a batch in one transaction."""
        with self._lock:
            try:
                # PostgreSQL: BEGIN; LOCK TABLE request IN EXCLUSIVE MODE
                self._db.execute("BEGIN IMMEDIATE")
                self._catch_up()
                replies = [self._answer(request) for request in requests]
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._forget()  # the replica may hold what was not committed
                if isinstance(error, sqlite3.Error):
                    raise StoreUnavailable(f"the database does not answer: {error}") from error
                raise
            return replies

    def _catch_up(self) -> None:
        """Apply what other processes have appended since."""
        rows = self._db.execute("SELECT seq, at, body FROM request WHERE seq > ? ORDER BY seq", (self._seen,))
        for seq, at, body in rows.fetchall():
            self._time.at, self._seen = at, seq
            self._replica.apply([self._codec.decode(body)])

    def _answer(self, request: r.Request[Any]) -> Any:
        self._time.at = max(self._time.at, self._clock.now())  # PostgreSQL: clock_timestamp(), one clock for all
        if not isinstance(request, READS):
            self._seen += 1
            row = (self._seen, self._time.at, self._codec.encode(request))
            self._db.execute("INSERT INTO request (seq, at, body) VALUES (?, ?, ?)", row)
        return self._replica.apply([request])[0]

    def close(self) -> None:
        """Release the connection."""
        self._db.close()
