"""Claims in SQLite: due executions and schedules, leases, and the nonces that make a claim idempotent."""

from __future__ import annotations

import json

from replay.backends import damage
from replay.backends.sqlite.rows import Execution, Rows
from replay.core import requests as r
from replay.core import transitions as t

MOVES = 1000
"""Executions that one claim puts where their priority belongs, so that it never takes long; the next one goes on."""

_DUE = (
    "SELECT due_at, x FROM execution"  # the index has both
    " WHERE ns=? AND queue=? AND workflow=? AND version=? AND due_at <= ? ORDER BY due_at, x LIMIT ?"
)
_NEXT_DUE = "SELECT min(due_at) FROM execution WHERE ns=? AND queue=? AND workflow=? AND version=? AND due_at < 9e999"
_NEVER_DUE = (  # text and blobs are behind all numbers
    "SELECT x FROM execution WHERE ns=? AND queue=? AND workflow=? AND version=? AND due_at > 9e999 LIMIT 8"
)
_REVIVE = (
    "UPDATE execution SET due_at=? WHERE ns=? AND queue=? AND workflow=? AND version=? AND status='stuck' AND lost < ?"
)
_FORGET = (
    "DELETE FROM claim WHERE ns=? AND until <= ?"
    " AND NOT EXISTS (SELECT 1 FROM execution AS e WHERE e.ns = claim.ns AND e.token = claim.nonce)"
)


class Claimable(Rows):
    """Requests about leases, within a transaction."""

    def _claim(self, request: r.Claim) -> r.Claims:
        lanes = [(q, w, v) for q in request.queues for w, v in request.workflows]
        key = (self._ns, request.nonce)
        damaged: list[tuple[str, str]] = []
        if self._db.execute("SELECT 1 FROM claim WHERE ns=? AND nonce=?", key).fetchone() is not None:
            held = [x for (x,) in self._db.execute("SELECT x FROM execution WHERE ns=? AND token=?", key)]
        else:
            if request.revive:
                self._db.executemany(_REVIVE, [(self._now, self._ns, *lane, r.MAX_LOST - 1) for lane in lanes])
            self._move_ahead()
            held = self._take(request, lanes, damaged)
            if held:
                self._db.execute("INSERT INTO claim VALUES (?, ?, ?)", (*key, self._now + request.lease))
        due, later = self._due_schedules({w for w, _ in request.workflows})
        dues = [each for each in (later, self._next_due(lanes)) if each is not None]
        claimed = tuple(self._claimed(x) for x in held)
        return r.Claims(self._now, claimed, max(min(dues), self._now) if dues else None, due, (), tuple(damaged))

    def _claimed(self, x: int) -> r.Claimed:
        header = self._header_of(x)
        return r.Claimed(header, self._messages(x, 0, self._db) if header.arrivals else ())

    def _move_ahead(self) -> None:
        """Put executions whose instant has come where their priority belongs; of those made ready none is so near."""
        self._db.execute(
            "UPDATE execution SET due_at = due_at - priority * ? WHERE x IN (SELECT x FROM execution"
            " WHERE ns=? AND priority > 0 AND due_at > ? AND due_at <= ? ORDER BY due_at LIMIT ?)",
            (r.PRIORITY_STEP, self._ns, self._now - r.PRIORITY_STEP, self._now, MOVES),
        )

    def _next_due(self, lanes: list[tuple[str, str, str]]) -> float | None:
        found = [self._db.execute(_NEXT_DUE, (self._ns, *lane)).fetchone()[0] for lane in lanes]
        return min((due for due in found if due is not None), default=None)

    def _take(self, request: r.Claim, lanes: list[tuple[str, str, str]], damaged: list[tuple[str, str]]) -> list[int]:
        """Lease what has been due longest; some more is looked at, for what is parked in place of a lease."""
        due: list[tuple[float, int]] = []
        for lane in lanes:
            due += self._db.execute(_DUE, (self._ns, *lane, self._now, request.limit + 8))
            for (number,) in self._db.execute(_NEVER_DUE, (self._ns, *lane)).fetchall():
                damaged.append(self._set_aside(self._state_of(number)))
        due.sort()
        taken: list[int] = []
        for _, number in due:
            if len(taken) == request.limit:
                break
            x = self._state_of(number)
            if damage.damaged_fields(x._asdict()):
                damaged.append(self._set_aside(x))
                continue
            change = t.claim(x, request, bool(x.arrivals) and self._cancel_waits(x), self._now)
            self._write(x, change.fields)
            if not change.releases:
                taken.append(number)
        return taken

    def _set_aside(self, x: Execution) -> tuple[str, str]:
        """Make a damaged execution `stuck`, with defaults in the places of its damaged fields; return its id and the reason."""
        names = damage.damaged_fields(x._asdict())
        why = f"its stored {', '.join(names)} cannot be read"
        sound = x._replace(**{name: damage.default_of(name) for name in names})
        status = x.status if isinstance(x.status, str) else ""
        fields = {name: getattr(sound, name) for name in names} | {
            "status": "stuck", "updated_at": self._now, "token": None, "worker": None, "lost_leases": r.MAX_LOST - 1,
            "due_at": None, "current": damage.progress(why),
        }  # fmt: skip
        self._write(sound._replace(status=status), fields)
        return sound.id, why

    def _cancel_waits(self, x: Execution) -> bool:
        found = self._db.execute("SELECT 1 FROM inbox WHERE x=? AND kind='cancel'", (x.x,)).fetchone()
        return found is not None

    def _due_schedules(self, workflows: set[str]) -> tuple[tuple[r.Schedule, ...], float | None]:
        """Return the schedules of *workflows* that are due, up to a claim's limit, and the instant at which another will be."""
        if not self._any_timed_schedule():
            return (), None
        soonest = self._soonest_schedules(json.dumps(sorted(workflows)))
        due = [s for s in soonest if s.next_at is not None and s.next_at <= self._now]
        if len(due) <= r.SCHEDULES_LIMIT:  # of no workflow, then, later ones are left out
            later = next((s.next_at for s in soonest if s.next_at is not None and s.next_at > self._now), None)
        else:
            later = self._later_schedule(json.dumps(sorted(workflows)))
        return tuple(due[: r.SCHEDULES_LIMIT]), later

    def _renew_leases(self, request: r.RenewLeases) -> r.RenewedLeases:
        lost, news = [], []
        for lease in request.held:
            x = self._find_state(lease.id)
            change = t.renew(x, lease, request.lease, self._now)
            if x is None or change is None:
                lost.append(lease.id)
                continue
            self._write(x, change.fields)
            if x.arrivals > lease.seen:
                news.append(lease.id)
        return r.RenewedLeases(self._now, tuple(lost), tuple(news))

    def _forget_claims(self) -> None:
        """Forget the nonces of claims whose leases are over."""
        self._db.execute(_FORGET, (self._ns, self._now))
