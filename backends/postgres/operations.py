"""Requests of operators, schedules and workers that write into the PostgreSQL store."""

from __future__ import annotations

from zlib import crc32

from replay.backends import common, damage
from replay.backends.postgres.rows import one
from replay.backends.postgres.transitions import Transitions
from replay.core import requests as r
from replay.core import transitions as t

_PURGEABLE = (
    "SELECT x, workflow, status FROM @execution WHERE ns=%s AND purge_at <= %s ORDER BY purge_at LIMIT %s"
    " FOR UPDATE SKIP LOCKED"
)
_OLDEST = (
    "SELECT created_at, id, x, workflow, status FROM @execution WHERE ns=%s AND status=%s"
    " ORDER BY created_at, id LIMIT %s FOR UPDATE"
)
_PUT = (
    "INSERT INTO @schedule VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (ns, id) DO UPDATE SET"
    " workflow = excluded.workflow, spec = excluded.spec, state = excluded.state, next_at = excluded.next_at,"
    " paused = excluded.paused, version = excluded.version WHERE schedule.version = excluded.version - 1 RETURNING 1"
)
_REGISTER = (
    "INSERT INTO @worker VALUES (%s, %s, %s, %s, %s) ON CONFLICT (ns, name) DO UPDATE SET"
    " info = excluded.info, seen_at = excluded.seen_at, until = excluded.until"
)


class Operations(Transitions):
    """As `Transitions`: one request each, within a transaction."""

    def _amend(self, request: r.Amend) -> r.Amended:
        x = self._state(request.id)
        change = t.amend(x, request, self._now)
        if change is not None:
            self._apply(x, change)
        return r.Amended(self._header_of(x.x), self._now, tuple(self._woken))

    def _delete(self, request: r.Delete) -> bool:
        x = self._find_state(request.id)
        if x is None:
            return False
        if not damage.is_progress_of_damage(self._header_of(x.x).current):
            t.check_delete(x)
        self._remove([(x.x, x.workflow, x.status)])
        return True

    def _remove(self, rows: list[tuple[int, str, str]]) -> None:
        """Remove executions, whose rows are locked, with all their traces."""
        if not rows:
            return
        xs = [x for x, _, _ in rows]
        removed = self._db.execute(
            "DELETE FROM @execution WHERE x = ANY(%s::bigint[]) RETURNING id, created_at, metadata", (xs,)
        ).fetchall()
        terms = [(term, at, id) for id, at, metadata in removed for term in common.terms(metadata)]
        if terms:
            self._db.execute(
                "DELETE FROM @metadata AS m USING unnest(%s::text[], %s::float8[], %s::text[]) AS q(term, at, id)"
                " WHERE m.ns=%s AND m.term = q.term AND m.created_at = q.at AND m.id = q.id",
                (*map(list, zip(*terms, strict=True)), self._ns),
            )
        for table in ("log", "inbox", "accepted", "watcher"):
            self._db.execute(f"DELETE FROM @{table} WHERE x = ANY(%s::bigint[])", (xs,))
        for _, workflow, status in rows:
            self._counted(workflow, status, -1)

    def _purge(self, request: r.Purge) -> int:
        rows = self._db.execute(_PURGEABLE, (self._ns, self._now, request.limit)).fetchall()
        self._remove(rows)
        return len(rows) + (0 if request.keep is None else self._purge_excess(request.keep, request.limit - len(rows)))

    def _purge_excess(self, keep: int, limit: int) -> int:
        key = crc32(f"replay:{self._db.url.schema}:keep:{self._ns}".encode())
        if not one(self._db.execute("SELECT pg_try_advisory_xact_lock(%s::bigint)", (key,)).fetchone())[0]:
            return 0  # two workers that count at once would remove twice as many
        counts = self._count(r.Count(), self._db)
        excess = min(limit, sum(n for status, n in counts.items() if status in r.ENDED) - keep)
        if excess <= 0:
            return 0
        oldest = [  # of each status by its index
            row for status in r.ENDED for row in self._db.execute(_OLDEST, (self._ns, status, excess))
        ]
        self._remove([(x, workflow, status) for _, _, x, workflow, status in sorted(oldest)[:excess]])
        return min(excess, len(oldest))

    def _put_schedule(self, request: r.PutSchedule) -> r.ScheduleWritten:
        stored = self._schedule(request.row.id, self._db, " FOR UPDATE")
        row = t.put_schedule(stored, request)
        if row is None or not self._put(row):
            return r.ScheduleWritten(False, self._schedule(request.row.id, self._db), self._now)
        for id in request.cancels:
            self._cancel_quietly(id)
        for create in request.creates:
            self._create(create)
        return r.ScheduleWritten(True, row, self._now, tuple(self._woken))

    def _put(self, row: r.Schedule) -> bool:
        """Write a schedule; False if another transaction has just made one of this id."""
        values = (self._ns, row.id, row.workflow, row.spec, row.state, row.next_at, row.paused, row.version)
        return self._db.execute(_PUT, values).fetchone() is not None

    def _drop_schedule(self, request: r.DropSchedule) -> r.ScheduleWritten:
        stored = self._schedule(request.id, self._db, " FOR UPDATE")
        if stored is None or stored.version != request.expected:
            return r.ScheduleWritten(stored is None, stored, self._now)
        self._db.execute("DELETE FROM @schedule WHERE ns=%s AND id=%s", (self._ns, request.id))
        return r.ScheduleWritten(True, None, self._now)

    def _register(self, request: r.Register) -> float:
        row = (self._ns, request.row.name, request.row.info, self._now, self._now + request.ttl)
        self._db.execute(_REGISTER, row)
        self._db.execute("DELETE FROM @worker WHERE ns=%s AND until <= %s", (self._ns, self._now))
        self._forget_claims()
        self._fold_counts()
        return self._now
