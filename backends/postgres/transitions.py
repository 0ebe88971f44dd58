"""Requests that create, claim, commit and deliver: the decisions of `core.transitions`, applied to the rows.

Each method is one request, within a transaction. The decision comes before the first write, and after the lock of its execution.
"""

from __future__ import annotations

import contextlib

from replay.backends import common
from replay.backends.postgres import schema
from replay.backends.postgres.claimable import Claimable
from replay.backends.postgres.rows import FIELDS, HEADER, Execution, tick_of
from replay.core import refusals
from replay.core import requests as r
from replay.core import transitions as t
from replay.core.errors import ExecutionEnded, UnknownExecution

_INSERT = (
    f"INSERT INTO @execution (ns, updated_tick, {HEADER}) VALUES (%s, %s{', %s' * len(schema.COLUMNS)})"
    " ON CONFLICT (ns, id) DO NOTHING RETURNING x"
)
_TERMS = (
    "INSERT INTO @metadata SELECT %s, term, %s, %s FROM unnest(%s::text[]) AS q(term)"
    " ON CONFLICT DO NOTHING"  # left behind by hand
)


class Transitions(Claimable):
    """Requests that advance executions."""

    # --- changes ---------------------------------------------------------------------------------------

    def _apply(self, x: Execution, change: t.Change) -> None:
        """Apply *change* to its execution; parents and watchers are notified of an end."""
        self._write_log(x, change)
        self._write_inbox(x, change)
        self._write(x, change.fields)
        self._finish(x, change)

    def _finish(self, x: Execution, change: t.Change) -> None:
        """Apply the parts of *change* beyond the log, the inbox and the row itself."""
        if change.accepted:
            self._remember(x, change)
        if change.wakes:
            self._woken[x.queue] = None
        if change.ended is not None:
            self._close(x, change.ended)

    def _write_log(self, x: Execution, change: t.Change) -> None:
        if change.empties_log:
            self._db.execute("DELETE FROM @log WHERE x=%s", (x.x,))
        if change.entries:
            self._append(x.x, 0 if change.empties_log else x.length, change.entries)

    def _write_inbox(self, x: Execution, change: t.Change) -> None:
        if change.consumed:
            self._db.execute("DELETE FROM @inbox WHERE x=%s AND seq = ANY(%s::int[])", (x.x, list(change.consumed)))
        if change.message is not None:
            m = change.message
            if m.kind == "ended":  # an earlier end of the same execution is out of date
                self._db.execute("DELETE FROM @inbox WHERE x=%s AND kind='ended' AND name=%s", (x.x, m.name))
            row = (x.x, m.seq, m.kind, m.name, m.payload, m.at)
            self._db.execute("INSERT INTO @inbox VALUES (%s, %s, %s, %s, %s, %s)", row)

    def _remember(self, x: Execution, change: t.Change) -> None:
        arrivals = change.fields.get("arrivals", x.arrivals)
        self._db.execute("INSERT INTO @accepted VALUES (%s, %s, %s)", (x.x, change.accepted, arrivals))
        if arrivals > r.ACCEPTED_LIMIT:
            self._db.execute("DELETE FROM @accepted WHERE x=%s AND seq <= %s", (x.x, arrivals - r.ACCEPTED_LIMIT))

    def _close(self, x: Execution, payload: bytes) -> None:
        """Empty the inbox of an execution that has ended, and notify its parent and its watchers."""
        watchers = [id for (id,) in self._db.execute("DELETE FROM @watcher WHERE x=%s RETURNING id", (x.x,))]
        if x.arrivals:
            self._db.execute("DELETE FROM @inbox WHERE x=%s", (x.x,))
        notified = dict.fromkeys(([x.parent_id] if x.parent_id else []) + sorted(watchers))
        self._lock_all(notified)
        for watcher in notified:
            w = self._find_state(watcher)
            if w is not None:
                self._notify(w, x.id, payload)

    def _notify(self, x: Execution, ended: str, payload: bytes) -> None:
        change = t.notify(x, ended, payload, self._now)
        if change is not None:
            self._apply(x, change)

    # --- creating --------------------------------------------------------------------------------------

    def _create(self, request: r.Create) -> r.Created:
        header = t.create(request, self._now)
        values = (getattr(header, name) for name in FIELDS)
        row = self._db.execute(_INSERT, (self._ns, tick_of(self._now), *values)).fetchone()
        if row is None:
            found = self._header(request.id, self._db)
            return r.Created(header if found is None else found, False, self._now)  # None: deleted at this moment
        self._woken[request.queue] = None
        if request.entries:
            self._append(row[0], 0, request.entries)
        if terms := list(common.terms(request.metadata)):
            self._db.execute(_TERMS, (self._ns, header.created_at, header.id, terms))
        self._counted(request.workflow, "pending", 1)
        return r.Created(header, True, self._now)

    # --- committing --------------------------------------------------------------------------------------

    def _commit(self, request: r.Commit) -> r.Committed:
        x = self._find_state(request.id)
        if x is None:
            raise refusals.fenced(request.id, "it is gone")
        change = t.commit(x, request, self._now)
        if change is None:
            held = x.token == request.token
            return r.Committed(self._now, self._messages(x.x, request.seen) if held else (), not held)
        if t.yields_to_cancel(x, request):
            messages = self._messages(x.x, request.seen)
            if any(message.kind == "cancel" for message in messages):
                return r.Committed(self._now, messages)
        self._write_log(x, change)
        self._write_inbox(x, change)
        for create in request.creates:
            self._create(create)
        for id in request.cancels:
            self._cancel_quietly(id, by=request.id)
        if request.cancels:  # one may be this very execution, or a child that had not begun: it ended and notified us
            x = self._state(request.id)
        # `arrivals` counts consumed messages too, so it only shows that looking is worth while.
        unseen = self._messages(x.x, request.seen) if x.arrivals > request.seen else ()
        conclusion = t.conclude(x, request, bool(unseen), self._now)
        if conclusion.empties_log:
            self._write_log(x, conclusion)
        self._write(x, {**change.fields, **conclusion.fields})  # one UPDATE for both
        self._finish(x, conclusion)
        released = conclusion.releases
        return r.Committed(self._now, () if released else unseen, released, tuple(self._woken))

    # --- arrivals ----------------------------------------------------------------------------------------

    def _deliver(self, request: r.Deliver) -> r.Delivered:
        x = self._state(request.id)
        remembered = self._db.execute(
            "SELECT 1 FROM @accepted WHERE x=%s AND message_id=%s", (x.x, t.accepted_id(request))
        ).fetchone()
        change = t.deliver(x, request, remembered is not None, self._now)
        self._apply(x, change)
        return r.Delivered(self._now, change.duplicate, tuple(self._woken))

    def _cancel_quietly(self, id: str, by: str = "") -> None:
        with contextlib.suppress(UnknownExecution, ExecutionEnded):
            self._deliver(r.Deliver(id, "", "cancel", by))

    def _watch(self, request: r.Watch) -> r.Delivered:
        self._lock_all((request.id, request.watcher))
        x = self._state(request.id)
        watcher = self._find_state(request.watcher)
        waits = watcher is not None and self._end_waits(watcher, x.id)
        told = t.watch(x, watcher, waits)
        if told == "later":
            self._db.execute("INSERT INTO @watcher VALUES (%s, %s) ON CONFLICT DO NOTHING", (x.x, request.watcher))
        elif told == "now" and watcher is not None:
            header = self._header_of(x.x)
            self._notify(watcher, x.id, t.ended_payload(r.End(header.status, header.result, header.error)))
        return r.Delivered(self._now, told == "duplicate", tuple(self._woken))

    def _end_waits(self, x: Execution, ended: str) -> bool:
        found = self._db.execute("SELECT 1 FROM @inbox WHERE x=%s AND kind='ended' AND name=%s", (x.x, ended))
        return found.fetchone() is not None
