"""Requests of operators, schedules and workers that write into the SQLite store."""

from __future__ import annotations

from replay.backends import common, damage
from replay.backends.sqlite.transitions import Transitions
from replay.core import requests as r
from replay.core import transitions as t


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
        (current,) = self._db.execute("SELECT current FROM execution WHERE x=?", (x.x,)).fetchone()
        if not damage.is_progress_of_damage(current):
            t.check_delete(x)
        self._remove(x.x, x.workflow, x.status)
        return True

    def _remove(self, x: int, workflow: str, status: str) -> None:
        (id, created_at, metadata) = self._db.execute(
            "SELECT id, created_at, metadata FROM execution WHERE x=?", (x,)
        ).fetchone()
        for term in common.terms(metadata):
            key = (self._ns, term, created_at, id)
            self._db.execute("DELETE FROM metadata WHERE ns=? AND term=? AND created_at=? AND id=?", key)
        for table in ("execution", "log", "inbox", "accepted", "watcher"):
            self._db.execute(f"DELETE FROM {table} WHERE x=?", (x,))
        self._counted(workflow, status, -1)

    def _purge(self, request: r.Purge) -> int:
        rows = self._db.execute(
            "SELECT x, workflow, status FROM execution WHERE ns=? AND purge_at <= ? ORDER BY purge_at LIMIT ?",
            (self._ns, self._now, request.limit),
        ).fetchall()
        for row in rows:
            self._remove(*row)
        return len(rows) + (0 if request.keep is None else self._purge_excess(request.keep, request.limit - len(rows)))

    def _purge_excess(self, keep: int, limit: int) -> int:
        ended = ",".join(f"'{status}'" for status in sorted(r.ENDED))
        self._flush_counts()  # what this transaction has removed or ended so far counts, too
        counted = f"SELECT COALESCE(SUM(n), 0) FROM count WHERE ns=? AND status IN ({ended})"  # our own
        (count,) = self._db.execute(counted, (self._ns,)).fetchone()
        excess: int = min(limit, count - keep)
        if excess <= 0:
            return 0
        oldest = [  # of each status by its index
            row
            for status in r.ENDED
            for row in self._db.execute(
                "SELECT created_at, id, x, workflow, status FROM execution WHERE ns=? AND status=? ORDER BY created_at, id LIMIT ?",
                (self._ns, status, excess),
            )
        ]
        for _, _, x, workflow, status in sorted(oldest)[:excess]:
            self._remove(x, workflow, status)
        return excess

    def _put_schedule(self, request: r.PutSchedule) -> r.ScheduleWritten:
        stored = self._schedule(request.row.id, self._db)
        row = t.put_schedule(stored, request)
        if row is None:
            return r.ScheduleWritten(False, stored, self._now)
        self._db.execute(
            "INSERT OR REPLACE INTO schedule VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (self._ns, row.id, row.workflow, row.spec, row.state, row.next_at, row.paused, row.version),
        )
        for id in request.cancels:
            self._cancel_quietly(id)
        for create in request.creates:
            self._create(create)
        return r.ScheduleWritten(True, row, self._now, tuple(self._woken))

    def _drop_schedule(self, request: r.DropSchedule) -> r.ScheduleWritten:
        stored = self._schedule(request.id, self._db)
        if stored is None or stored.version != request.expected:
            return r.ScheduleWritten(stored is None, stored, self._now)
        self._db.execute("DELETE FROM schedule WHERE ns=? AND id=?", (self._ns, request.id))
        return r.ScheduleWritten(True, None, self._now)

    def _register(self, request: r.Register) -> float:
        row = (self._ns, request.row.name, request.row.info, self._now, self._now + request.ttl)
        self._db.execute("INSERT OR REPLACE INTO worker VALUES (?, ?, ?, ?, ?)", row)
        self._db.execute("DELETE FROM worker WHERE ns=? AND until <= ?", (self._ns, self._now))
        self._forget_claims()
        return self._now
