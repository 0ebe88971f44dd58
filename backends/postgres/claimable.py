"""Claims in PostgreSQL: due executions and schedules, leases, and the nonces that make a claim idempotent.

A claim passes over executions that other transactions have locked: workers never wait for each other.
"""

from __future__ import annotations

from typing import Any

import msgspec

from replay.backends import damage
from replay.backends.postgres.connection import AskAgain
from replay.backends.postgres.rows import HEADER, STATE, Execution, Rows, message_of, tick_of
from replay.core import requests as r
from replay.core import transitions as t

MOVES = 1000
"""Executions that one claim puts where their priority belongs, so that it never takes long; the next one goes on."""

OUTBOX_LIMIT = 32
"""Messages of users' transactions that one claim hands out."""

_LANE = "ns=%s AND queue=%s AND workflow=%s AND version=%s"
_ROW = f"{STATE}, {HEADER}"
_DUE = (
    f"SELECT {_ROW} FROM @execution WHERE {_LANE} AND due_at <= %s ORDER BY due_at, x LIMIT %s FOR UPDATE SKIP LOCKED"
)
_NEVER_DUE = (  # not a number is behind all numbers
    f"SELECT {_ROW} FROM @execution WHERE {_LANE} AND due_at >= 'infinity' LIMIT 8 FOR UPDATE SKIP LOCKED"
)
_HELD = f"SELECT {_ROW} FROM @execution WHERE ns=%s AND token=%s ORDER BY due_at, x FOR UPDATE"
_NEXT_DUE = """SELECT min(d.due_at) FROM unnest(%s::text[], %s::text[], %s::text[]) AS l(queue, workflow, version)
    CROSS JOIN LATERAL (SELECT e.due_at FROM @execution AS e WHERE e.ns=%s AND e.queue = l.queue
        AND e.workflow = l.workflow AND e.version = l.version AND e.due_at < 'infinity' ORDER BY e.due_at LIMIT 1) AS d"""
_REVIVE = """UPDATE @execution SET due_at=%s WHERE x IN (
    SELECT e.x FROM @execution AS e JOIN unnest(%s::text[], %s::text[], %s::text[]) AS l(queue, workflow, version)
        ON e.queue = l.queue AND e.workflow = l.workflow AND e.version = l.version
    WHERE e.ns=%s AND e.status='stuck' AND e.lost < %s ORDER BY e.x FOR UPDATE OF e)"""
_MOVE_AHEAD = """UPDATE @execution SET due_at = due_at - priority * %s::float8 WHERE x IN (SELECT x FROM @execution
    WHERE ns=%s AND priority > 0 AND due_at > %s AND due_at <= %s ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED)"""
_LEASE = """UPDATE @execution AS e SET status = q.status, updated_at = %s, updated_tick = %s, token = %s, worker = %s,
    lost = q.lost, due_at = %s FROM unnest(%s::bigint[], %s::text[], %s::int[]) AS q(x, status, lost) WHERE e.x = q.x"""
_RENEW = """UPDATE @execution AS e SET due_at=%s FROM unnest(%s::text[], %s::text[]) AS q(id, token)
    WHERE e.ns=%s AND e.id = q.id AND e.token = q.token RETURNING e.id, e.token, e.arrivals"""
_FORGET = """DELETE FROM @claim AS c WHERE c.ns=%s AND c.until <= %s
    AND NOT EXISTS (SELECT 1 FROM @execution AS e WHERE e.ns = c.ns AND e.token = c.nonce)"""

_OUTBOX = f"SELECT n, id, message_id, kind, name, payload FROM @outbox WHERE ns=%s ORDER BY n LIMIT {OUTBOX_LIMIT}"

Lane = tuple[str, str, str]
_WIDTH = len(Execution._fields)


class OutboxDeliver(r.Deliver, frozen=True, kw_only=True):
    """A message from the outbox, and its place there."""

    n: int


class Claimable(Rows):
    """Requests about leases, within a transaction."""

    def _claim(self, request: r.Claim) -> r.Claims:
        lanes = [(q, w, v) for q in request.queues for w, v in request.workflows]
        damaged: list[tuple[str, str]] = []
        if self._was_claimed(request.nonce):
            claimed = self._held(request.nonce)
        else:
            if request.revive:
                columns = _columns(lanes)
                self._db.execute(_REVIVE, (self._now, *columns, self._ns, r.MAX_LOST - 1))
            self._db.execute(_MOVE_AHEAD, (r.PRIORITY_STEP, self._ns, self._now - r.PRIORITY_STEP, self._now, MOVES))
            claimed = self._take(request, lanes, damaged)
            if claimed:
                self._remember_claim(request)
        outbox = self._db.execute(_OUTBOX, (self._ns,))  # fetched after the next ones, which costs no round trip
        due, later = self._due_schedules({w for w, _ in request.workflows})
        dues = [each for each in (later, self._next_due(lanes)) if each is not None]
        return r.Claims(
            self._now, tuple(claimed), max(min(dues), self._now) if dues else None, due,
            tuple(OutboxDeliver(*message, n=n) for n, *message in outbox.fetchall()), tuple(damaged),
        )  # fmt: skip

    def _was_claimed(self, nonce: str) -> bool:
        # A repetition waits for the claim that it repeats, which may still run on a connection that we lost.
        self._db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"{self._ns}:{nonce}",))
        found = self._db.execute("SELECT 1 FROM @claim WHERE ns=%s AND nonce=%s", (self._ns, nonce))
        return found.fetchone() is not None

    def _remember_claim(self, request: r.Claim) -> None:
        """Remember the claim.

        Raises:
            AskAgain: The same claim was made on another connection meanwhile, and this is its repetition.
        """
        done = self._db.execute(
            "INSERT INTO @claim VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
            (self._ns, request.nonce, self._now + request.lease),
        )
        if done.fetchone() is None:
            raise AskAgain(f"claim {request.nonce!r} was made meanwhile")

    def _held(self, nonce: str) -> list[r.Claimed]:
        rows = self._db.execute(_HELD, (self._ns, nonce)).fetchall()
        messages = self._messages_of(rows)
        return [r.Claimed(damage.header_of(row[_WIDTH:]), messages.get(row[0], ())) for row in rows]

    def _messages_of(self, rows: list[Any]) -> dict[int, tuple[r.Message, ...]]:
        """Return the inboxes of executions by their number."""
        xs = [x.x for x in (Execution._make(row[:_WIDTH]) for row in rows) if x.arrivals]
        found: dict[int, list[r.Message]] = {}
        if xs:
            statement = "SELECT x, seq, kind, name, payload, at FROM @inbox WHERE x = ANY(%s) ORDER BY x, seq"
            for x, *message in self._db.execute(statement, (xs,)):
                found.setdefault(x, []).append(message_of(*message))
        return {x: tuple(messages) for x, messages in found.items()}

    def _next_due(self, lanes: list[Lane]) -> float | None:
        row = self._db.execute(_NEXT_DUE, (*_columns(lanes), self._ns)).fetchone()
        return None if row is None or row[0] is None else float(row[0])

    def _take(self, request: r.Claim, lanes: list[Lane], damaged: list[tuple[str, str]]) -> list[r.Claimed]:
        """Lease what has been due longest; some more is looked at, for what is parked in place of a lease."""
        due: list[Any] = []
        for lane in lanes:
            due += self._db.execute(_DUE, (self._ns, *lane, self._now, request.limit + 8))
            for row in self._db.execute(_NEVER_DUE, (self._ns, *lane)).fetchall():
                damaged.append(self._set_aside(Execution._make(row[:_WIDTH])))
        position = Execution._fields.index("due_at")
        due.sort(key=lambda row: (row[position], row[0]))
        messages = self._messages_of(due)
        taken: list[tuple[Execution, t.Change]] = []
        claimed: list[r.Claimed] = []
        for row in due:
            if len(taken) == request.limit:
                break
            x = Execution._make(row[:_WIDTH])
            if damage.damaged_fields(x._asdict()):
                damaged.append(self._set_aside(x))
                continue
            inbox = messages.get(x.x, ())
            change = t.claim(x, request, any(message.kind == "cancel" for message in inbox), self._now)
            if change.releases:
                self._write(x, change.fields)
                continue
            taken.append((x, change))
            header = damage.header_of(row[_WIDTH:])
            claimed.append(r.Claimed(msgspec.structs.replace(header, **change.fields), inbox))
        self._lease(request, taken)
        return claimed

    def _lease(self, request: r.Claim, taken: list[tuple[Execution, t.Change]]) -> None:
        """Write the leases, all in one statement: of what `core.transitions.claim` sets, they differ in status and losses."""
        if not taken:
            return
        for x, change in taken:
            self._move(x.workflow, x.status, change.fields["status"])
        columns = (
            [x.x for x, _ in taken],
            [change.fields["status"] for _, change in taken],
            [change.fields["lost_leases"] for _, change in taken],
        )
        self._db.execute(
            _LEASE, (self._now, tick_of(self._now), request.nonce, request.worker, self._now + request.lease, *columns)
        )

    def _set_aside(self, x: Execution) -> tuple[str, str]:
        """Make a damaged execution `stuck`, with defaults in the places of its damaged fields; return its id and the reason."""
        names = damage.damaged_fields(x._asdict())
        why = f"its stored {', '.join(names)} cannot be read"
        fields = {name: damage.default_of(name) for name in names} | {
            "status": "stuck", "updated_at": self._now, "token": None, "worker": None, "lost_leases": r.MAX_LOST - 1,
            "due_at": None, "current": damage.progress(why),
        }  # fmt: skip
        self._write(x, fields)
        return x.id, why

    def _due_schedules(self, workflows: set[str]) -> tuple[tuple[r.Schedule, ...], float | None]:
        """Return the schedules of *workflows* that are due, up to a claim's limit, and the instant at which another will be."""
        soonest = self._soonest_schedules(workflows)
        due = [s for s in soonest if s.next_at is not None and s.next_at <= self._now]
        if len(due) <= r.SCHEDULES_LIMIT:  # of no workflow, then, later ones are left out
            later = next((s.next_at for s in soonest if s.next_at is not None and s.next_at > self._now), None)
        else:
            later = self._later_schedule(workflows)
        return tuple(due[: r.SCHEDULES_LIMIT]), later

    def _renew_leases(self, request: r.RenewLeases) -> r.RenewedLeases:
        held = {(lease.id, lease.token): lease for lease in request.held}
        if not held:
            return r.RenewedLeases(self._now)
        ids, tokens = map(list, zip(*sorted(held), strict=True))
        rows = self._db.execute(_RENEW, (self._now + request.lease, ids, tokens, self._ns)).fetchall()
        arrivals = {(id, token): count for id, token, count in rows}
        lost = [lease.id for lease in request.held if (lease.id, lease.token) not in arrivals]
        news = [lease.id for lease in request.held if arrivals.get((lease.id, lease.token), 0) > lease.seen]
        return r.RenewedLeases(self._now, tuple(lost), tuple(news))

    def _forget(self, request: r.Forget) -> None:
        if isinstance(request.item, OutboxDeliver):
            self._db.execute("DELETE FROM @outbox WHERE n=%s", (request.item.n,))

    def _forget_claims(self) -> None:
        """Forget the nonces of claims whose leases are over."""
        self._db.execute(_FORGET, (self._ns, self._now))


def _columns(lanes: list[Lane]) -> tuple[list[str], list[str], list[str]]:
    return [q for q, _, _ in lanes], [w for _, w, _ in lanes], [v for _, _, v in lanes]
