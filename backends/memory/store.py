"""The store in memory: the reference semantics, for one process; gone when it ends. Also a queue and a bus."""

from __future__ import annotations

import contextlib
import heapq
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from replay.backends import common
from replay.backends.memory.claims import Claims
from replay.backends.memory.due_times import DueTimes, Lane
from replay.backends.memory.execution import Execution
from replay.backends.memory.schedules import Schedules
from replay.clock import SystemClock
from replay.core import refusals
from replay.core import requests as r
from replay.core import transitions as t
from replay.core.errors import ExecutionEnded, ReplayError, StoreUnavailable, UnknownExecution
from replay.ports import Clock


def is_hot(x: Execution, request: r.Commit) -> bool:
    """Tell whether *request* is granted and does no more than append entries, report what is current and keep the lease."""
    return (
        type(request.then) is r.KeepLease
        and x.token == request.token
        and x.length == request.expected
        and x.ended_at is None
        and x.last_commit != request.commit_id
        and not (request.consumed or request.creates or request.cancels or request.amendments)
        and request.attempt is None
    )


class MemoryStore:
    """See `replay.ports.Store`. One lock makes each batch atomic.

    Args:
        clock: The store's clock (default: the process's).
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._executions: dict[str, Execution] = {}
        self._due = DueTimes(self._executions)
        self._purges: list[tuple[float, str]] = []
        self._claims = Claims(self._executions)
        self._schedules = Schedules()
        self._workers: dict[str, tuple[r.WorkerRow, float]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._woken: dict[str, None] = {}
        self._now = 0.0
        self._closed = False
        self._methods: dict[type[Any], Callable[[Any], Any]] = {
            r.Create: self._create,
            r.Claim: self._claim,
            r.Commit: self._commit,
            r.RenewLeases: self._renew_leases,
            r.Load: self._load,
            r.Deliver: self._deliver,
            r.Watch: self._watch,
            r.Forget: lambda request: None,
            r.Get: self._get,
            r.Inbox: self._inbox,
            r.Find: self._find,
            r.Count: self._count,
            r.Amend: self._amend,
            r.Delete: self._delete,
            r.Purge: self._purge,
            r.PutSchedule: self._put_schedule,
            r.DropSchedule: lambda request: self._schedules.drop(request, self._now),
            r.GetSchedule: lambda request: self._schedules.get(request.id),
            r.ListSchedules: self._schedules.page,
            r.Register: self._register,
            r.Workers: self._list_workers,
            r.Ping: lambda request: self._now,
        }

    def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        """See `replay.ports.Store.apply`."""
        replies: list[Any] = []
        with self._lock:
            if self._closed and not all(type(request) in r.READS for request in requests):
                raise StoreUnavailable("the store memory:// is closed: it only answers reads")
            for request in requests:
                self._now = max(self._now, self._clock.now())
                self._woken = {}
                try:
                    replies.append(self._methods[type(request)](request))
                except ReplayError as refusal:
                    replies.append(refusal)
        return replies

    def close(self) -> None:
        """Answer reads alone from now on: what is started now would never run. What ran can still be looked at."""
        self._closed = True

    # --- changes ------------------------------------------------------------------------------------

    def _set_due(self, x: Execution, due: float | None) -> None:
        self._due.put(x, due, self._now)

    def _apply(self, x: Execution, change: t.Change) -> None:
        """Apply *change* to its execution; parents and watchers are notified of an end."""
        fields = change.fields
        if "status" in fields:
            self._count_move(x.workflow, x.status, fields["status"])
        for name, value in fields.items():
            setattr(x, name, value)
        if change.empties_log:
            x.log = []
        if change.entries:
            x.log.extend(change.entries)
        for seq in change.consumed:
            x.take_out(seq)
        if change.message is not None:
            x.put_in(change.message)
        if change.accepted:
            x.remember(change.accepted)
        if "due_at" in fields:
            self._set_due(x, x.due_at)
        if change.wakes:
            self._woken[x.queue] = None
        if change.ended is not None:
            self._close(x, change.ended)

    def _count_move(self, workflow: str, old: str, new: str) -> None:
        if old != new:
            counts = self._counts.setdefault(workflow, {})
            counts[old] -= 1
            counts[new] = counts.get(new, 0) + 1

    # --- executions ----------------------------------------------------------------------------------

    def _known(self, id: str) -> Execution:
        x = self._executions.get(id)
        if x is None:
            raise refusals.unknown(id)
        return x

    def _create(self, request: r.Create) -> r.Created:
        x = self._executions.get(request.id)
        if x is not None:
            return r.Created(x.header(), False, self._now)
        header = t.create(request, self._now)
        x = self._executions[request.id] = Execution(header, request.entries)
        counts = self._counts.setdefault(x.workflow, {})
        counts["pending"] = counts.get("pending", 0) + 1
        self._set_due(x, x.due_at)
        self._woken[x.queue] = None
        return r.Created(header, True, self._now)

    def _claim(self, request: r.Claim) -> r.Claims:
        now = self._now
        lanes = [(q, w, v) for q in request.queues for w, v in request.workflows]
        if request.nonce in self._claims:
            claimed = self._claims.held(request.nonce)
        else:
            if request.revive:
                self._revive(set(lanes))
            self._due.move_ahead(now)
            claimed = self._take(request, lanes)
            self._claims.forget(now)
            if claimed:
                self._claims.add(request.nonce, now + request.lease, claimed)
        schedules, later = self._schedules.due({w for w, _ in request.workflows}, now)
        dues = [*self._due.next_of_each(lanes), *later]
        return r.Claims(
            now,
            tuple(r.Claimed(x.header(), tuple(x.inbox.values())) for x in claimed),
            max(min(dues), now) if dues else None,
            schedules,
        )

    def _revive(self, lanes: set[Lane]) -> None:
        for x in self._executions.values():
            if t.is_revived(x) and (x.queue, x.workflow, x.version) in lanes:
                self._set_due(x, self._now)

    def _take(self, request: r.Claim, lanes: list[Lane]) -> list[Execution]:
        now = self._now
        claimed: list[Execution] = []
        while len(claimed) < request.limit and (x := self._due.take(lanes, now)) is not None:
            cancel_waits = any(m.kind == "cancel" for m in x.inbox.values())
            change = t.claim(x, request, cancel_waits, now)
            self._apply(x, change)
            if not change.releases:
                claimed.append(x)
        return claimed

    def _commit(self, request: r.Commit) -> r.Committed:
        x = self._executions.get(request.id)
        if x is None:
            raise refusals.fenced(request.id, "it is gone")
        if is_hot(x, request):
            return self._commit_entries(x, request)
        change = t.commit(x, request, self._now)
        if change is None:
            held = x.token == request.token
            return r.Committed(self._now, x.messages(request.seen) if held else (), not held)
        if t.yields_to_cancel(x, request):
            unseen = x.messages(request.seen)
            if any(message.kind == "cancel" for message in unseen):
                return r.Committed(self._now, unseen)
        self._apply(x, change)
        for create in request.creates:
            self._create(create)
        for id in request.cancels:
            self._cancel_quietly(id, by=request.id)
        return self._conclude(x, request)

    def _commit_entries(self, x: Execution, request: r.Commit) -> r.Committed:
        """Apply a hot commit in place: nearly all commits are such, and two changes for each would cost a step 6 %."""
        x.log.extend(request.entries)
        x.length = len(x.log)
        x.last_commit = request.commit_id
        x.updated_at = self._now
        x.lost_leases = 0
        if request.current is not None:
            x.current = request.current
        renewed = t.renewed_at(x, request.then.lease, self._now) if isinstance(request.then, r.KeepLease) else None
        if renewed is not None:
            self._set_due(x, renewed)
        return r.Committed(self._now, x.messages(request.seen))

    def _conclude(self, x: Execution, request: r.Commit) -> r.Committed:
        unseen = x.messages(request.seen)
        change = t.conclude(x, request, bool(unseen), self._now)
        self._apply(x, change)
        released = change.releases
        return r.Committed(self._now, () if released else unseen, released, tuple(self._woken))

    def _close(self, x: Execution, payload: bytes) -> None:
        """Empty the inbox of an execution that has ended, and notify its parent and its watchers."""
        x.inbox.clear()
        x.ends.clear()
        if x.purge_at is not None:
            heapq.heappush(self._purges, (x.purge_at, x.id))
        watchers = dict.fromkeys(([x.parent_id] if x.parent_id else []) + list(x.watchers))
        x.watchers.clear()
        for watcher in watchers:
            w = self._executions.get(watcher)
            if w is not None:
                self._notify(w, x.id, payload)

    def _notify(self, x: Execution, ended: str, payload: bytes) -> None:
        change = t.notify(x, ended, payload, self._now)
        if change is not None:
            self._apply(x, change)

    def _renew_leases(self, request: r.RenewLeases) -> r.RenewedLeases:
        lost, news = [], []
        for lease in request.held:
            x = self._executions.get(lease.id)
            change = t.renew(x, lease, request.lease, self._now)
            if x is None or change is None:
                lost.append(lease.id)
                continue
            self._apply(x, change)
            if x.arrivals > lease.seen:
                news.append(lease.id)
        return r.RenewedLeases(self._now, tuple(lost), tuple(news))

    def _load(self, request: r.Load) -> list[bytes]:
        return self._known(request.id).log[request.after :]

    # --- arrivals ----------------------------------------------------------------------------------------

    def _deliver(self, request: r.Deliver) -> r.Delivered:
        x = self._known(request.id)
        change = t.deliver(x, request, t.accepted_id(request) in x.dedupe, self._now)
        self._apply(x, change)
        return r.Delivered(self._now, change.duplicate, tuple(self._woken))

    def _cancel_quietly(self, id: str, by: str = "") -> None:
        with contextlib.suppress(UnknownExecution, ExecutionEnded):
            self._deliver(r.Deliver(id, "", "cancel", by))

    def _watch(self, request: r.Watch) -> r.Delivered:
        x = self._known(request.id)
        watcher = self._executions.get(request.watcher)
        told = t.watch(x, watcher, watcher is not None and x.id in watcher.ends)
        if told == "later":
            x.watchers[request.watcher] = None
        elif told == "now" and watcher is not None:
            self._notify(watcher, x.id, t.ended_payload(r.End(x.status, x.result, x.error)))
        return r.Delivered(self._now, told == "duplicate", tuple(self._woken))

    # --- reading ---------------------------------------------------------------------------------------------

    def _get(self, request: r.Get) -> r.Header | None:
        x = self._executions.get(request.id)
        return None if x is None else x.header()

    def _inbox(self, request: r.Inbox) -> tuple[r.Message, ...]:
        return tuple(self._known(request.id).inbox.values())

    def _find(self, request: r.Find) -> r.Found:
        after = None if request.cursor is None else common.read_cursor(request.cursor)
        found: list[r.Header] = []
        newest: Iterable[Execution] = sorted(
            self._executions.values(), key=lambda x: (x.created_at, x.id), reverse=True
        )
        for x in newest:
            if after is not None and (x.created_at, x.id) >= after:
                continue
            header = x.header()
            if common.matches(header, request):
                if len(found) == request.limit:
                    return r.Found(tuple(found), common.make_cursor(found[-1].created_at, found[-1].id))
                found.append(header)
        return r.Found(tuple(found))

    def _count(self, request: r.Count) -> dict[str, int]:
        totals: dict[str, int] = {}
        for workflow, counts in self._counts.items():
            if request.workflow in (None, workflow):
                for status, count in counts.items():
                    if count:
                        totals[status] = totals.get(status, 0) + count
        return totals

    # --- operators ---------------------------------------------------------------------------------------------

    def _amend(self, request: r.Amend) -> r.Amended:
        x = self._known(request.id)
        change = t.amend(x, request, self._now)
        if change is not None:
            self._apply(x, change)
        return r.Amended(x.header(), self._now, tuple(self._woken))

    def _delete(self, request: r.Delete) -> bool:
        x = self._executions.get(request.id)
        if x is None:
            return False
        t.check_delete(x)
        self._counts[x.workflow][x.status] -= 1
        del self._executions[request.id]
        return True

    def _purge(self, request: r.Purge) -> int:
        purged = 0
        while purged < request.limit and self._purges and self._purges[0][0] <= self._now:
            at, id = heapq.heappop(self._purges)
            x = self._executions.get(id)
            if x is not None and x.purge_at == at:
                purged += self._delete(r.Delete(id))
        if request.keep is not None:
            ended = sum(counts.get(status, 0) for counts in self._counts.values() for status in r.ENDED)
            ids = ((x.created_at, x.id) for x in self._executions.values() if x.ended_at is not None)
            for _, id in heapq.nsmallest(min(ended - request.keep, request.limit - purged), ids):
                purged += self._delete(r.Delete(id))
        return purged

    # --- schedules and workers ------------------------------------------------------------------------------------

    def _put_schedule(self, request: r.PutSchedule) -> r.ScheduleWritten:
        row = self._schedules.put(request)
        if row is None:
            return r.ScheduleWritten(False, self._schedules.get(request.row.id), self._now)
        for id in request.cancels:
            self._cancel_quietly(id)
        for create in request.creates:
            self._create(create)
        return r.ScheduleWritten(True, row, self._now, tuple(self._woken))

    def _register(self, request: r.Register) -> float:
        self._workers[request.row.name] = (
            msgspec.structs.replace(request.row, seen_at=self._now),
            self._now + request.ttl,
        )
        return self._now

    def _list_workers(self, request: r.Workers) -> tuple[r.WorkerRow, ...]:
        self._workers = {n: w for n, w in self._workers.items() if w[1] > self._now}
        return tuple(self._workers[name][0] for name in sorted(self._workers))
