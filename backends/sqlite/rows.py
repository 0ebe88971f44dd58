"""The SQLite store's rows: how executions, logs, inboxes, counts and schedules are read and written.

No transaction begins or ends here.
"""

from __future__ import annotations

import sqlite3
import zlib
from typing import Any, NamedTuple

from replay.backends import damage
from replay.backends.sqlite import schema
from replay.backends.sqlite.find import find
from replay.core import refusals
from replay.core import requests as r
from replay.core.errors import Undecodable

HEADER = ", ".join(schema.COLUMNS)
_SCHEDULES = "SELECT id, workflow, spec, state, next_at, paused, version FROM schedule WHERE ns=?"
_SOONEST = f"""{_SCHEDULES} AND id IN (
    SELECT s.id FROM json_each(?) AS w CROSS JOIN schedule AS s ON s.ns=? AND s.id IN (
        SELECT id FROM schedule WHERE ns=? AND workflow = w.value AND paused=0 AND next_at IS NOT NULL
        ORDER BY next_at, id LIMIT {r.SCHEDULES_LIMIT + 1}))
    ORDER BY next_at, id"""
_LATER = """SELECT min(s.next_at) FROM json_each(?) AS w CROSS JOIN schedule AS s
    ON s.ns=? AND s.workflow = w.value AND s.paused=0 AND s.next_at > ? AND s.next_at < 9e999"""

FIELDS = r.Header.__struct_fields__
"""Fields of a header, in the order of their columns."""

_COLUMN = dict(zip(FIELDS, schema.COLUMNS, strict=True))


class Execution(NamedTuple):
    """A row of the table of executions without its payloads: what `core.transitions.State` asks for, and what indexes need."""

    x: int
    id: str
    workflow: str
    queue: str
    status: str
    updated_at: float
    ended_at: float | None
    parent_id: str | None
    priority: int
    retention: float | None
    attempt: int
    run: int
    length: int
    amendments: int
    arrivals: int
    last_commit: str
    token: str | None
    lost_leases: int
    due_at: float | None
    cancelled: bool


STATE = ", ".join(_COLUMN.get(name, name) for name in Execution._fields)
_BY_ID = f"SELECT {STATE} FROM execution WHERE ns=? AND id=?"
_BY_X = f"SELECT {STATE} FROM execution WHERE x=?"
_HEADER_BY_X = f"SELECT {HEADER} FROM execution WHERE x=?"
_updates: dict[tuple[str, ...], str] = {}  # statements by the fields that they set: there are some twenty


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
        return None if row is None else damage.header_of(row)

    def _known(self, id: str, db: sqlite3.Connection) -> tuple[int, r.Header]:
        row = db.execute(f"SELECT x, {HEADER} FROM execution WHERE ns=? AND id=?", (self._ns, id)).fetchone()
        if row is None:
            raise refusals.unknown(id)
        return row[0], damage.header_of(row[1:])

    def _tick(self, instant: float) -> int:
        return int(instant * schema.TICKS)

    def _find_state(self, id: str) -> Execution | None:
        row = self._db.execute(_BY_ID, (self._ns, id)).fetchone()
        return None if row is None else Execution._make(row)

    def _state(self, id: str) -> Execution:
        found = self._find_state(id)
        if found is None:
            raise refusals.unknown(id)
        return found

    def _state_of(self, x: int) -> Execution:
        return Execution._make(self._db.execute(_BY_X, (x,)).fetchone())

    def _header_of(self, x: int) -> r.Header:
        return damage.header_of(self._db.execute(_HEADER_BY_X, (x,)).fetchone())

    def _write(self, x: Execution, fields: dict[str, Any]) -> None:
        """Set *fields* of an execution, and what indexes need of them."""
        if not fields:
            return
        if "status" in fields:
            self._move(x.workflow, x.status, fields["status"])
        if "updated_at" in fields and (tick := self._tick(fields["updated_at"])) != self._tick(x.updated_at):
            fields = {**fields, "updated_tick": tick}  # seldom: each move costs an index entry
        names = tuple(fields)
        statement = _updates.get(names)
        if statement is None:
            columns = ", ".join(f"{_COLUMN.get(name, name)}=?" for name in names)
            statement = _updates[names] = f"UPDATE execution SET {columns} WHERE x=?"
        self._db.execute(statement, (*fields.values(), x.x))

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
        return tuple(_message_of(*row) for row in rows)

    def _load(self, request: r.Load, db: sqlite3.Connection) -> list[bytes]:
        row = db.execute("SELECT x FROM execution WHERE ns=? AND id=?", (self._ns, request.id)).fetchone()
        if row is None:
            raise refusals.unknown(request.id)
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

    def _any_timed_schedule(self) -> bool:
        found = self._db.execute(
            "SELECT 1 FROM schedule WHERE ns=? AND paused=0 AND next_at IS NOT NULL LIMIT 1", (self._ns,)
        )
        return found.fetchone() is not None

    def _soonest_schedules(self, workflows: str) -> list[r.Schedule]:
        """Return, of each of *workflows* (a JSON list), one unpaused schedule more than a claim hands out, soonest first."""
        rows = self._db.execute(_SOONEST, (self._ns, workflows, self._ns, self._ns))
        return [_schedule_of(row) for row in rows]

    def _later_schedule(self, workflows: str) -> float | None:
        (at,) = self._db.execute(_LATER, (workflows, self._ns, self._now)).fetchone()
        return None if at is None else float(at)

    def _workers(self, now: float, db: sqlite3.Connection) -> tuple[r.WorkerRow, ...]:
        rows = db.execute(
            "SELECT name, info, seen_at FROM worker WHERE ns=? AND until > ? ORDER BY name", (self._ns, now)
        )
        return tuple(
            r.WorkerRow(str(name), _bytes(info), seen if isinstance(seen, float) else 0.0) for name, info, seen in rows
        )


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _message_of(seq: int, kind: Any, name: Any, payload: Any, at: Any) -> r.Message:
    """Return a message; a damaged one has the kind `unreadable`, and stays in its inbox."""
    if isinstance(kind, str) and isinstance(name, str) and isinstance(payload, bytes) and isinstance(at, float):
        return r.Message(seq, kind, name, payload, at)
    return r.Message(seq, "unreadable", "", _bytes(payload), 0.0)


def _schedule_of(row: Any) -> r.Schedule:
    """Return a schedule; a damaged one has an empty specification, and is due never."""
    id, workflow, spec, state, next_at, paused, version = row
    sound = isinstance(workflow, str) and isinstance(version, int) and isinstance(next_at, float | int | None)
    if not sound:
        return r.Schedule(str(id), str(workflow), b"", b"", None, False, version if isinstance(version, int) else 0)
    return r.Schedule(id, workflow, _bytes(spec), _bytes(state), next_at, bool(paused), version)
