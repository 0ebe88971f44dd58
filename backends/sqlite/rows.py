"""The SQLite store's rows: how executions, logs, inboxes, counts and schedules are read and written.

No transaction begins or ends here.
"""

from __future__ import annotations

import sqlite3
import zlib
from typing import Any

from replay.backends import common
from replay.backends.sqlite import schema
from replay.backends.sqlite.find import find
from replay.core import requests as r
from replay.core.errors import Undecodable

HEADER = ", ".join(schema.COLUMNS)
_SCHEDULES = "SELECT id, workflow, spec, state, next_at, paused, version FROM schedule WHERE ns=?"
_DUE_SCHEDULES = f"{_SCHEDULES} AND paused=0 AND next_at IS NOT NULL ORDER BY next_at LIMIT 64"


class Rows:
    """Reads take the connection to read by; writes go to `_db`, whose transaction the caller has begun."""

    _db: sqlite3.Connection

    def __init__(self, namespace: str) -> None:
        self._ns = namespace
        self._now = 0.0
        self._woken: dict[str, None] = {}  # queues that have something due now, for the reply
        self._moves: dict[tuple[str, str], int] = {}  # (workflow, status) -> change, not yet in the table of counts

    # --- executions ------------------------------------------------------------------------------------

    def _header(self, id: str, db: sqlite3.Connection) -> r.Header | None:
        row = db.execute(f"SELECT {HEADER} FROM execution WHERE ns=? AND id=?", (self._ns, id)).fetchone()
        return None if row is None else r.Header(*row)

    def _known(self, id: str, db: sqlite3.Connection) -> tuple[int, r.Header]:
        row = db.execute(f"SELECT x, {HEADER} FROM execution WHERE ns=? AND id=?", (self._ns, id)).fetchone()
        if row is None:
            raise common.unknown(id)
        return row[0], r.Header(*row[1:])

    def _tick(self, instant: float) -> int:
        return int(instant * schema.TICKS)

    def _set(self, x: int, **columns: Any) -> None:
        if "updated_at" in columns:
            columns["updated_tick"] = self._tick(columns["updated_at"])
        names = ", ".join(f"{name}=?" for name in columns)
        self._db.execute(f"UPDATE execution SET {names} WHERE x=?", (*columns.values(), x))

    def _counted(self, workflow: str, status: str, change: int) -> None:
        self._moves[workflow, status] = self._moves.get((workflow, status), 0) + change

    def _move(self, workflow: str, old: str, new: str) -> None:
        if old != new:
            self._counted(workflow, old, -1)
            self._counted(workflow, new, 1)

    def _flush_counts(self) -> None:
        """Write the changed counts: once for a whole transaction, in which most moves cancel out."""
        changes = [(self._ns, *key, n, n) for key, n in self._moves.items() if n]
        self._moves = {}
        self._db.executemany("INSERT INTO count VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + ?", changes)

    def _append(self, x: int, length: int, entries: tuple[bytes, ...]) -> None:
        for seq, entry in enumerate(entries, length):
            self._db.execute("INSERT INTO log VALUES (?, ?, ?, ?)", (x, seq, entry, zlib.crc32(entry)))

    def _messages(self, x: int, seen: int, db: sqlite3.Connection) -> tuple[r.Message, ...]:
        rows = db.execute("SELECT seq, kind, name, payload, at FROM inbox WHERE x=? AND seq>? ORDER BY seq", (x, seen))
        return tuple(r.Message(*row) for row in rows)

    def _ready_at(self, queue: str, priority: int) -> float:
        self._woken[queue] = None
        return self._now - priority * r.PRIORITY_STEP

    def _load(self, request: r.Load, db: sqlite3.Connection) -> list[bytes]:
        row = db.execute("SELECT x FROM execution WHERE ns=? AND id=?", (self._ns, request.id)).fetchone()
        if row is None:
            raise common.unknown(request.id)
        rows = db.execute(
            "SELECT entry, crc FROM log WHERE x=? AND seq>=? ORDER BY seq", (row[0], request.after)
        ).fetchall()
        entries = [entry for entry, _ in rows]
        for index, (entry, crc) in enumerate(rows):
            if isinstance(entry, bytes) and zlib.crc32(entry) == crc:  # text: somebody edited it by hand
                continue
            if not request.inspect:
                raise Undecodable(
                    f"execution {request.id!r}, log entry #{request.after + index}: its checksum is wrong (damaged file)"
                )
            entries[index] = r.DAMAGED
        return entries

    def _find(self, query: r.Find, db: sqlite3.Connection) -> r.Found:
        return find(query, self._ns, db, lambda request: self._count(request, db))

    def _count(self, request: r.Count, db: sqlite3.Connection) -> dict[str, int]:
        if db is self._db:
            self._flush_counts()
        rows = db.execute(
            "SELECT status, sum(n) FROM count WHERE ns=? AND (? IS NULL OR workflow=?) GROUP BY status HAVING sum(n) > 0",
            (self._ns, request.workflow, request.workflow),
        )
        return dict(rows.fetchall())

    # --- schedules and workers -------------------------------------------------------------------------

    def _schedule(self, id: str, db: sqlite3.Connection) -> r.Schedule | None:
        row = db.execute(f"{_SCHEDULES} AND id=?", (self._ns, id)).fetchone()
        return None if row is None else _schedule_of(row)

    def _schedules(self, request: r.ListSchedules, db: sqlite3.Connection) -> tuple[r.Schedule, ...]:
        rows = db.execute(f"{_SCHEDULES} AND id > ? ORDER BY id LIMIT ?", (self._ns, request.after, request.limit))
        return tuple(_schedule_of(row) for row in rows)

    def _next_schedules(self) -> list[r.Schedule]:
        """Return the schedules that are not paused, soonest first."""
        return [_schedule_of(row) for row in self._db.execute(_DUE_SCHEDULES, (self._ns,))]

    def _workers(self, now: float, db: sqlite3.Connection) -> tuple[r.WorkerRow, ...]:
        rows = db.execute(
            "SELECT name, info, seen_at FROM worker WHERE ns=? AND until > ? ORDER BY name", (self._ns, now)
        )
        return tuple(r.WorkerRow(*row) for row in rows)


def _schedule_of(row: Any) -> r.Schedule:
    id, workflow, spec, state, next_at, paused, version = row
    return r.Schedule(id, workflow, spec, state, next_at, bool(paused), version)
