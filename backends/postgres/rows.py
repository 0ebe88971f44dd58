"""The PostgreSQL store's rows: how executions, logs, inboxes, counts and schedules are read and written.

No transaction begins or ends here. Who decides about an execution has locked its row before (`_find_state`), so that what is
read of its inbox, its accepted messages and its watchers stays so until the transaction ends.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from replay.backends import damage
from replay.backends.postgres import schema
from replay.backends.postgres.connection import Database
from replay.backends.postgres.find import find
from replay.core import refusals
from replay.core import requests as r
from replay.core.errors import Undecodable

HEADER = ", ".join(schema.COLUMNS)
FIELDS = r.Header.__struct_fields__
"""Fields of a header, in the order of their columns."""

FOLD_AFTER = 500
"""Changes of counts written by this process until it adds up what is there."""

FOLD_LIMIT = 20_000
"""Changes that are added up at once."""

_COLUMN = dict(zip(FIELDS, schema.COLUMNS, strict=True))
_SCHEDULES = "SELECT id, workflow, spec, state, next_at, paused, version FROM @schedule"
_TIMED = "NOT s.paused AND s.next_at IS NOT NULL"
_SOONEST = f"""SELECT s.* FROM unnest(%s::text[]) AS w(name) CROSS JOIN LATERAL (
    {_SCHEDULES} AS s WHERE s.ns=%s AND s.workflow = w.name AND {_TIMED}
    ORDER BY s.next_at, s.id LIMIT {r.SCHEDULES_LIMIT + 1}) AS s ORDER BY s.next_at, s.id"""
_LATER = f"""SELECT min(s.next_at) FROM unnest(%s::text[]) AS w(name) CROSS JOIN LATERAL (
    SELECT s.next_at FROM @schedule AS s WHERE s.ns=%s AND s.workflow = w.name AND {_TIMED}
    AND s.next_at > %s AND s.next_at < 'infinity' ORDER BY s.next_at LIMIT 1) AS s"""
_FOLD = f"""WITH old AS (DELETE FROM @count WHERE seq IN (
        SELECT seq FROM @count WHERE ns=%s ORDER BY seq LIMIT {FOLD_LIMIT} FOR UPDATE SKIP LOCKED)
    RETURNING ns, workflow, status, n)
    INSERT INTO @count (ns, workflow, status, n)
    SELECT ns, workflow, status, sum(n) FROM old GROUP BY ns, workflow, status HAVING sum(n) <> 0"""


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
_BY_ID = f"SELECT {STATE} FROM @execution WHERE ns=%s AND id=%s FOR UPDATE"
_LOCK = "SELECT 1 FROM @execution WHERE ns=%s AND id = ANY(%s::text[]) ORDER BY x FOR UPDATE"
_HEADER_BY_X = f"SELECT {HEADER} FROM @execution WHERE x=%s"
_updates: dict[tuple[str, ...], str] = {}  # statements by the fields that they set: there are some twenty


class Rows:
    """Reads take the connection to read by; writes go to `_db`, whose transaction the caller has begun."""

    _db: Database

    def __init__(self, namespace: str) -> None:
        self._ns = namespace
        self._now = 0.0
        self._woken: dict[str, None] = {}  # queues that have something due now, for the reply
        self._moves: dict[tuple[str, str], int] = {}  # (workflow, status) -> change, not yet in the table of counts
        self._unfolded = 0

    # --- executions ------------------------------------------------------------------------------------

    def _header(self, id: str, db: Database) -> r.Header | None:
        row = db.execute(f"SELECT {HEADER} FROM @execution WHERE ns=%s AND id=%s", (self._ns, id)).fetchone()
        return None if row is None else damage.header_of(row)

    def _find_state(self, id: str) -> Execution | None:
        """Lock an execution and return its state."""
        row = self._db.execute(_BY_ID, (self._ns, id)).fetchone()
        return None if row is None else Execution._make(row)

    def _state(self, id: str) -> Execution:
        found = self._find_state(id)
        if found is None:
            raise refusals.unknown(id)
        return found

    def _lock_all(self, ids: Iterable[str]) -> None:
        """Lock several executions in their order. One alone is locked when its state is read."""
        several = list(ids)
        if len(several) > 1:
            self._db.execute(_LOCK, (self._ns, several))

    def _header_of(self, x: int) -> r.Header:
        return damage.header_of(one(self._db.execute(_HEADER_BY_X, (x,)).fetchone()))

    def _write(self, x: Execution, fields: dict[str, Any]) -> None:
        """Set *fields* of an execution, and what indexes need of them."""
        if not fields:
            return
        if "status" in fields:
            self._move(x.workflow, x.status, fields["status"])
        if "updated_at" in fields and (tick := tick_of(fields["updated_at"])) != tick_of(x.updated_at):
            fields = {**fields, "updated_tick": tick}  # seldom: without it, the row's indexes stay as they are
        names = tuple(fields)
        statement = _updates.get(names)
        if statement is None:
            columns = ", ".join(f"{_COLUMN.get(name, name)}=%s" for name in names)
            statement = _updates[names] = f"UPDATE @execution SET {columns} WHERE x=%s"
        self._db.execute(statement, (*fields.values(), x.x))

    def _counted(self, workflow: str, status: str, change: int) -> None:
        self._moves[workflow, status] = self._moves.get((workflow, status), 0) + change

    def _move(self, workflow: str, old: str, new: str) -> None:
        if old != new:
            self._counted(workflow, old, -1)
            self._counted(workflow, new, 1)

    def _flush_counts(self) -> None:
        """Write the changes of counts: once for a whole transaction, in which most moves cancel out."""
        changes = [(workflow, status, n) for (workflow, status), n in self._moves.items() if n]
        self._moves = {}
        if not changes:
            return
        workflows, statuses, numbers = map(list, zip(*changes, strict=True))
        self._db.execute(
            "INSERT INTO @count (ns, workflow, status, n) SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::bigint[])",
            (self._ns, workflows, statuses, numbers),
        )
        self._unfolded += len(changes)
        if self._unfolded >= FOLD_AFTER:
            self._fold_counts()

    def _fold_counts(self) -> None:
        """Add up the changes of counts; those that another transaction adds up at this moment are left to it."""
        self._unfolded = 0
        self._db.execute(_FOLD, (self._ns,))

    def _append(self, x: int, length: int, entries: Sequence[bytes]) -> None:
        rows = range(length, length + len(entries))
        self._db.execute(
            "INSERT INTO @log SELECT %s, * FROM unnest(%s::int[], %s::bytea[], %s::bigint[])",
            (x, list(rows), list(entries), [zlib.crc32(entry) for entry in entries]),
        )

    def _messages(self, x: int, seen: int) -> tuple[r.Message, ...]:
        rows = self._db.execute(
            "SELECT seq, kind, name, payload, at FROM @inbox WHERE x=%s AND seq>%s ORDER BY seq", (x, seen)
        )
        return tuple(message_of(*row) for row in rows)

    def _inbox(self, id: str, db: Database) -> tuple[r.Message, ...]:
        rows = db.execute(
            "SELECT i.seq, i.kind, i.name, i.payload, i.at FROM @execution AS e LEFT JOIN @inbox AS i ON i.x = e.x"
            " WHERE e.ns=%s AND e.id=%s ORDER BY i.seq",
            (self._ns, id),
        ).fetchall()
        if not rows:
            raise refusals.unknown(id)
        return tuple(message_of(*row) for row in rows if row[0] is not None)

    def _load(self, request: r.Load, db: Database) -> list[bytes]:
        rows = db.execute(
            "SELECT l.entry, l.crc FROM @execution AS e LEFT JOIN @log AS l ON l.x = e.x AND l.seq >= %s"
            " WHERE e.ns=%s AND e.id=%s ORDER BY l.seq",
            (request.after, self._ns, request.id),
        ).fetchall()
        if not rows:
            raise refusals.unknown(request.id)
        entries = [entry for entry, _ in rows if entry is not None]
        for index, (entry, (_, crc)) in enumerate(zip(entries, rows, strict=False)):
            if zlib.crc32(entry) == crc:
                continue
            if not request.inspect:
                raise Undecodable(
                    f"execution {request.id!r}, log entry #{request.after + index}: its checksum is wrong (damaged row)"
                )
            entries[index] = r.DAMAGED
        return entries

    def _find(self, query: r.Find, db: Database) -> r.Found:
        return find(query, self._ns, db, lambda request: self._count(request, db))

    def _count(self, request: r.Count, db: Database) -> dict[str, int]:
        if db is self._db:
            self._flush_counts()
        rows = db.execute(
            "SELECT status, sum(n)::bigint FROM @count WHERE ns=%s AND (%s::text IS NULL OR workflow=%s)"
            " GROUP BY status HAVING sum(n) > 0",
            (self._ns, request.workflow, request.workflow),
        )
        return dict(rows.fetchall())

    # --- schedules and workers -------------------------------------------------------------------------

    def _schedule(self, id: str, db: Database, lock: str = "") -> r.Schedule | None:
        row = db.execute(f"{_SCHEDULES} WHERE ns=%s AND id=%s{lock}", (self._ns, id)).fetchone()
        return None if row is None else _schedule_of(row)

    def _schedules(self, request: r.ListSchedules, db: Database) -> tuple[r.Schedule, ...]:
        rows = db.execute(
            f"{_SCHEDULES} WHERE ns=%s AND id > %s ORDER BY id LIMIT %s", (self._ns, request.after, request.limit)
        )
        return tuple(_schedule_of(row) for row in rows)

    def _soonest_schedules(self, workflows: Iterable[str]) -> list[r.Schedule]:
        """Return, of each of *workflows*, one unpaused schedule more than a claim hands out, soonest first."""
        rows = self._db.execute(_SOONEST, (sorted(workflows), self._ns))
        return [_schedule_of(row) for row in rows]

    def _later_schedule(self, workflows: Iterable[str]) -> float | None:
        (at,) = one(self._db.execute(_LATER, (sorted(workflows), self._ns, self._now)).fetchone())
        return None if at is None else float(at)

    def _workers(self, now: float, db: Database) -> tuple[r.WorkerRow, ...]:
        rows = db.execute(
            "SELECT name, info, seen_at FROM @worker WHERE ns=%s AND until > %s ORDER BY name", (self._ns, now)
        )
        return tuple(r.WorkerRow(*row) for row in rows)


def one(row: Any) -> Any:
    """Return the row of a statement that always has one."""
    assert row is not None, "a statement that always has a row gave none"
    return row


def tick_of(instant: float) -> int:
    """Return the tick of an instant; a damaged one is in the first."""
    return int(instant * schema.TICKS) if math.isfinite(instant) and abs(instant) <= damage.LATEST else 0


def message_of(seq: int, kind: str, name: str, payload: bytes, at: float) -> r.Message:
    """Return a message; a damaged one has the kind `unreadable`, and stays in its inbox."""
    if math.isfinite(at):
        return r.Message(seq, kind, name, payload, at)
    return r.Message(seq, "unreadable", "", payload, 0.0)


def _schedule_of(row: Any) -> r.Schedule:
    """Return a schedule; a damaged one has an empty specification, and is due never."""
    id, workflow, spec, state, next_at, paused, version = row
    if next_at is not None and not math.isfinite(next_at):
        return r.Schedule(id, workflow, b"", b"", None, False, version)
    return r.Schedule(id, workflow, spec, state, next_at, paused, version)
