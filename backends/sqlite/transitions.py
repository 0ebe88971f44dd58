"""The SQLite store's transitions: what creating, claiming, committing, delivering and ending do to the rows."""

from __future__ import annotations

import contextlib
from typing import Any

import attrs

from replay.backends import common
from replay.backends.sqlite import schema
from replay.backends.sqlite.rows import HEADER, Rows
from replay.core import requests as r
from replay.core.errors import ExecutionEnded, UnknownExecution

_FIELDS = tuple(field.name for field in attrs.fields(r.Header))  # in the order of their columns

MOVES = 1000
"""Executions that one claim puts where their priority belongs, so that it never takes long; the next one goes on."""


class Transitions(Rows):
    """Each method is one request of `replay.core.requests`, within a transaction: it validates first, then writes."""

    # --- creating --------------------------------------------------------------------------------------

    def _create(self, request: r.Create) -> r.Created:
        found = self._header(request.id, self._db)
        if found is not None:
            return r.Created(found, False, self._now)
        self._woken[request.queue] = None
        header = common.new_header(request, self._now)
        marks = ", ".join("?" * len(schema.COLUMNS))
        x = self._db.execute(
            f"INSERT INTO execution (ns, updated_tick, {HEADER}) VALUES (?, ?, {marks})",
            (self._ns, self._tick(self._now), *(getattr(header, name) for name in _FIELDS)),
        ).lastrowid
        assert x is not None
        if request.entries:
            self._append(x, 0, request.entries)
        for term in common.terms(request.metadata):
            self._db.execute("INSERT INTO metadata VALUES (?, ?, ?, ?)", (self._ns, term, header.created_at, header.id))
        self._counted(request.workflow, "pending", 1)
        return r.Created(header, True, self._now)

    # --- claiming ---------------------------------------------------------------------------------------

    def _claim(self, request: r.Claim) -> r.Claims:
        now, ns = self._now, self._ns
        lanes = [(q, w, v) for q in request.queues for w, v in request.workflows]
        held = self._db.execute("SELECT x, id FROM execution WHERE ns=? AND token=?", (ns, request.nonce)).fetchall()
        if not held:
            if request.revive:
                self._db.executemany(
                    "UPDATE execution SET due_at=? WHERE ns=? AND queue=? AND workflow=? AND version=? AND status='stuck'"
                    " AND lost < ?",
                    [(now, ns, *lane, r.MAX_LOST - 1) for lane in lanes],
                )
            self._move_ahead()
            held = self._take(request, lanes)
        claimed = []
        for x, id in held:
            header = self._known(id, self._db)[1]
            claimed.append(r.Claimed(header, self._messages(x, 0, self._db) if header.arrivals else ()))
        next_due = self._next_due(lanes)
        known = {w for w, _ in request.workflows}
        schedules = [s for s in self._next_schedules() if s.workflow in known]
        due = tuple(s for s in schedules if s.next_at is not None and s.next_at <= now)[:16]
        later = [s.next_at for s in schedules if s.next_at is not None and s.next_at > now][:1]
        dues = [*later, *([next_due] if next_due is not None else [])]
        return r.Claims(now, tuple(claimed), max(min(dues), now) if dues else None, due)

    def _move_ahead(self) -> None:
        """Put executions whose instant has come where their priority belongs; of those made ready none is so near."""
        self._db.execute(
            "UPDATE execution SET due_at = due_at - priority * ? WHERE x IN (SELECT x FROM execution"
            " WHERE ns=? AND priority > 0 AND due_at > ? AND due_at <= ? ORDER BY due_at LIMIT ?)",
            (r.PRIORITY_STEP, self._ns, self._now - r.PRIORITY_STEP, self._now, MOVES),
        )

    def _next_due(self, lanes: list[tuple[str, str, str]]) -> float | None:
        found = [
            self._db.execute(
                "SELECT min(due_at) FROM execution WHERE ns=? AND queue=? AND workflow=? AND version=? AND due_at IS NOT NULL",
                (self._ns, *lane),
            ).fetchone()[0]
            for lane in lanes
        ]
        return min((due for due in found if due is not None), default=None)

    def _take(self, request: r.Claim, lanes: list[tuple[str, str, str]]) -> list[tuple[int, str]]:
        now = self._now
        rows = []
        for lane in lanes:
            rows += self._db.execute(
                "SELECT due_at, x, id, workflow, status, token, lost, arrivals FROM execution"
                " WHERE ns=? AND queue=? AND workflow=? AND version=? AND due_at <= ? ORDER BY due_at, x LIMIT ?",
                (self._ns, *lane, now, request.limit + 8),
            ).fetchall()
        rows.sort()
        taken: list[tuple[int, str]] = []
        for _, x, id, workflow, status, token, lost, arrivals in rows:
            if len(taken) == request.limit:
                break
            if token is not None and lost + 1 >= r.MAX_LOST:
                self._move(workflow, status, "stuck")
                self._set(
                    x, status="stuck", token=None, worker=None, lost=r.MAX_LOST - 1, updated_at=now,
                    due_at=now + r.CRASH_LOOP_DELAY, current=b'[{"kind":"crash_loop"}]',
                )  # fmt: skip
                continue
            new = "cancelling" if arrivals and self._is_cancelled(x) else "running"
            self._move(workflow, status, new)
            self._set(
                x, status=new, token=request.nonce, worker=request.worker, updated_at=now, due_at=now + request.lease,
                lost=lost + (token is not None),
            )  # fmt: skip
            taken.append((x, id))
        return taken

    def _beat(self, request: r.RenewLeases) -> r.RenewedLeases:
        lost, news = [], []
        for held in request.held:
            row = self._db.execute(
                "SELECT x, token, arrivals FROM execution WHERE ns=? AND id=?", (self._ns, held.id)
            ).fetchone()
            if row is None or row[1] != held.token:
                lost.append(held.id)
                continue
            self._set(row[0], due_at=self._now + request.lease)
            if row[2] > held.seen:
                news.append(held.id)
        return r.RenewedLeases(self._now, tuple(lost), tuple(news))

    # --- committing --------------------------------------------------------------------------------------

    def _is_cancelled(self, x: int) -> bool:
        found = self._db.execute("SELECT 1 FROM inbox WHERE x=? AND kind='cancel'", (x,)).fetchone()
        return found is not None

    def _commit(self, request: r.Commit) -> r.Committed:
        row = self._db.execute(
            "SELECT x, workflow, queue, status, token, length, last_commit, ended_at, arrivals, due_at, priority, updated_at"
            " FROM execution WHERE ns=? AND id=?",
            (self._ns, request.id),
        ).fetchone()
        if row is None:
            raise common.fenced(request.id, "it is gone")
        x, workflow, queue, status, token, length, last_commit, ended_at, arrivals, due_at, priority, updated_at = row
        if last_commit == request.commit_id:
            held = token == request.token
            return r.Committed(self._now, self._messages(x, request.seen, self._db) if held else (), not held)
        if ended_at is not None or token != request.token:
            raise common.fenced(request.id, "the lease has passed on")
        if length != request.expected:
            raise common.fenced(request.id, f"the log has {length} entries, not {request.expected}")
        if request.entries:
            self._append(x, length, request.entries)
        for seq in request.consumed:
            self._db.execute("DELETE FROM inbox WHERE x=? AND seq=?", (x, seq))
        for create in request.creates:
            self._create(create)
        for id in request.cancels:
            self._cancel_quietly(id)
        if request.cancels:  # one may be this very execution, or a child that had not begun, ended at once and told it
            arrivals, status = self._db.execute("SELECT arrivals, status FROM execution WHERE x=?", (x,)).fetchone()
        extra: dict[str, Any] = {}
        if self._tick(updated_at) != self._tick(self._now):
            extra["updated_tick"] = self._tick(self._now)
        if request.current is not None:
            extra["current"] = request.current
        if request.attempt is not None:
            extra["attempt"] = request.attempt
        length += len(request.entries)
        # `arrivals` counts consumed messages too, so it only tells that looking is worth while.
        messages = self._messages(x, request.seen, self._db) if arrivals > request.seen else ()
        match request.then:
            case r.KeepLease(lease):
                return self._keep(x, request, length, lease, due_at, extra, messages)
            case r.Suspend(_, _, lease) if messages:
                return self._keep(x, request, length, lease, None, extra, messages)
            case r.Suspend(new, wake_at, _):
                extra |= {"status": new, "due_at": wake_at}
                if wake_at is not None and wake_at <= self._now:
                    self._woken[queue] = None
            case r.ReleaseLease():
                new = "pending"
                extra |= {"status": new, "due_at": self._ready_at(queue, priority)}
            case r.Restart(input, entries):
                new = "pending"
                self._db.execute("DELETE FROM log WHERE x=?", (x,))
                self._append(x, 0, entries)
                self._db.execute("UPDATE execution SET run = run + 1, amendments = 0 WHERE x=?", (x,))
                extra |= {
                    "status": new,
                    "due_at": self._ready_at(queue, priority),
                    "input": input,
                    "attempt": 1,
                    "current": b"[]",
                }
                length = len(entries)
            case r.End() as end:
                self._bump(x, request, length, extra)
                self._end(x, request.id, workflow, status, end)
                return r.Committed(self._now, (), True, tuple(self._woken))
        self._move(workflow, status, new)
        self._bump(x, request, length, {**extra, "token": None, "worker": None})
        return r.Committed(self._now, (), True, tuple(self._woken))

    def _keep(
        self,
        x: int,
        request: r.Commit,
        length: int,
        lease: float,
        due_at: float | None,
        extra: dict[str, Any],
        messages: tuple[r.Message, ...],
    ) -> r.Committed:
        """Go on with the lease; its index entry is moved seldom, since that costs more than the rest of the commit."""
        if due_at is None or self._now + lease > due_at + lease / 4:
            extra["due_at"] = self._now + lease
        self._bump(x, request, length, extra)
        return r.Committed(self._now, messages, False, tuple(self._woken))

    def _bump(self, x: int, request: r.Commit, length: int, extra: dict[str, Any]) -> None:
        if not extra and not request.amendments:
            self._db.execute(
                "UPDATE execution SET length=?, last_commit=?, updated_at=?, lost=0 WHERE x=?",
                (length, request.commit_id, self._now, x),
            )
            return
        if request.amendments:
            self._db.execute("UPDATE execution SET amendments = amendments + ? WHERE x=?", (request.amendments, x))
        self._set(x, length=length, last_commit=request.commit_id, updated_at=self._now, lost=0, **extra)

    def _end(self, x: int, id: str, workflow: str, status: str, end: r.End) -> None:
        parent, retention, arrivals = self._db.execute(
            "SELECT parent_id, retention, arrivals FROM execution WHERE x=?", (x,)
        ).fetchone()
        self._move(workflow, status, end.status)
        self._set(
            x, status=end.status, result=end.result, error=end.error, ended_at=self._now, updated_at=self._now, token=None,
            worker=None, due_at=None, current=b"[]", cancelled=0, purge_at=None if retention is None else self._now + retention,
        )  # fmt: skip
        watchers = [id for (id,) in self._db.execute("SELECT id FROM watcher WHERE x=?", (x,))]
        if arrivals:
            self._db.execute("DELETE FROM inbox WHERE x=?", (x,))
        if watchers:
            self._db.execute("DELETE FROM watcher WHERE x=?", (x,))
        payload = common.ended_payload(end)
        for watcher in dict.fromkeys(([parent] if parent else []) + watchers):
            with contextlib.suppress(UnknownExecution):
                w, header = self._known(watcher, self._db)
                if header.ended_at is None:  # what tells of an earlier end is out of date
                    self._db.execute("DELETE FROM inbox WHERE x=? AND kind='ended' AND name=?", (w, id))
                    self._arrive(w, header, "ended", id, payload)

    # --- arrivals ----------------------------------------------------------------------------------------

    def _arrive(self, x: int, header: r.Header, kind: str, name: str, payload: bytes) -> None:
        seq = header.arrivals + 1
        self._db.execute("INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?)", (x, seq, kind, name, payload, self._now))
        if header.token is None and header.status not in ("pending", "stuck"):
            self._set(x, arrivals=seq, due_at=self._ready_at(header.queue, header.priority))
        else:
            self._set(x, arrivals=seq)

    def _deliver(self, request: r.Deliver) -> r.Delivered:
        x, header = self._known(request.id, self._db)
        message_id = common.accepted_id(request)
        if self._db.execute("SELECT 1 FROM accepted WHERE x=? AND message_id=?", (x, message_id)).fetchone():
            return r.Delivered(self._now, True)
        if header.ended_at is not None:
            raise common.has_ended(header.id, header.status)
        fresh = True
        if request.kind == "cancel":
            fresh = self._cancel(x, header, request)
        else:
            self._arrive(x, header, request.kind, request.name, request.payload)
        if message_id:
            self._remember(x, message_id)
        return r.Delivered(self._now, not fresh, tuple(self._woken))

    def _cancel(self, x: int, header: r.Header, request: r.Deliver) -> bool:
        """Return whether it is the first in this life."""
        if self._db.execute("SELECT cancelled FROM execution WHERE x=?", (x,)).fetchone()[0]:
            return False
        if header.token is None and header.status == "pending" and not header.length:
            self._end(x, header.id, header.workflow, header.status, r.End("cancelled", error=request.payload))
            return True
        self._arrive(x, header, request.kind, request.name, request.payload)
        self._set(x, cancelled=1)
        if header.token is not None:
            self._move(header.workflow, header.status, "cancelling")
            self._set(x, status="cancelling", updated_at=self._now)
        return True

    def _remember(self, x: int, message_id: str) -> None:
        (arrivals,) = self._db.execute("SELECT arrivals FROM execution WHERE x=?", (x,)).fetchone()
        self._db.execute("INSERT INTO accepted VALUES (?, ?, ?)", (x, message_id, arrivals))
        if arrivals > r.ACCEPTED_LIMIT:
            self._db.execute("DELETE FROM accepted WHERE x=? AND seq <= ?", (x, arrivals - r.ACCEPTED_LIMIT))

    def _cancel_quietly(self, id: str) -> None:
        with contextlib.suppress(UnknownExecution, ExecutionEnded):
            self._deliver(r.Deliver(id, "", "cancel"))

    def _watch(self, request: r.Watch) -> r.Delivered:
        x, header = self._known(request.id, self._db)
        try:
            w, watcher = self._known(request.watcher, self._db)
        except UnknownExecution:
            return r.Delivered(self._now)
        if watcher.ended_at is not None:
            return r.Delivered(self._now)
        if header.ended_at is None:
            self._db.execute("INSERT OR IGNORE INTO watcher VALUES (?, ?)", (x, watcher.id))
            return r.Delivered(self._now)
        waits = self._db.execute("SELECT 1 FROM inbox WHERE x=? AND kind='ended' AND name=?", (w, header.id)).fetchone()
        if not waits:
            payload = common.ended_payload(r.End(header.status, header.result, header.error))
            self._arrive(w, watcher, "ended", header.id, payload)
        return r.Delivered(self._now, bool(waits), tuple(self._woken))
