"""The store in memory: the reference semantics, for one process; gone when it ends. Also a queue and a bus."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from replay.backends import common
from replay.backends.memory.execution import Execution
from replay.clock import SystemClock
from replay.core import requests as r
from replay.core.errors import ExecutionEnded, OperatorRefused, ReplayError, StoreUnavailable, UnknownExecution
from replay.ports import Clock

_Lane = tuple[str, str, str]


class MemoryStore:
    """See `replay.ports.Store`. One lock makes each batch atomic.

    Args:
        clock: The store's clock (default: the process's).
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._executions: dict[str, Execution] = {}
        self._due: dict[_Lane, list[tuple[float, int, str]]] = {}
        self._timers: list[tuple[float, int, str]] = []  # of executions with a priority
        self._order = itertools.count()
        self._purges: list[tuple[float, str]] = []
        self._claims: dict[str, tuple[float, list[str]]] = {}
        self._schedules: dict[str, r.Schedule] = {}
        self._workers: dict[str, tuple[r.WorkerRow, float]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._woken: dict[str, None] = {}
        self._now = 0.0
        self._closed = False
        self._methods: dict[type[Any], Callable[[Any], Any]] = {
            r.Create: self._create,
            r.Claim: self._claim,
            r.Commit: self._commit,
            r.RenewLeases: self._beat,
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
            r.DropSchedule: self._drop_schedule,
            r.GetSchedule: lambda request: self._schedules.get(request.id),
            r.ListSchedules: self._list_schedules,
            r.Register: self._register,
            r.Workers: self._list_workers,
            r.Ping: lambda request: self._now,
        }

    def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        """See `replay.ports.Store.apply`."""
        replies: list[Any] = []
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store memory:// is closed")
            for request in requests:
                self._now = max(self._now, self._clock.now())
                self._woken = {}
                try:
                    replies.append(self._methods[type(request)](request))
                except ReplayError as refusal:
                    replies.append(refusal)
        return replies

    def close(self) -> None:
        """Answer no more: what is started now would never run."""
        self._closed = True

    # --- due ----------------------------------------------------------------------------------------

    def _set_due(self, x: Execution, due: float | None) -> None:
        x.due_at = due
        x.stamp = next(self._order)  # never used again, not even for another execution of this id
        if due is not None:
            lane = (x.queue, x.workflow, x.version)
            heapq.heappush(self._due.setdefault(lane, []), (due, x.stamp, x.id))
            if x.priority > 0 and due > self._now - r.PRIORITY_STEP:
                heapq.heappush(self._timers, (due, x.stamp, x.id))

    def _move_ahead(self) -> None:
        """Put executions whose instant has come where their priority belongs."""
        while self._timers and self._timers[0][0] <= self._now:
            due, stamp, id = heapq.heappop(self._timers)
            x = self._executions.get(id)
            if x is not None and x.stamp == stamp:
                self._set_due(x, due - x.priority * r.PRIORITY_STEP)

    def _make_ready(self, x: Execution) -> None:
        self._set_due(x, self._now - x.priority * r.PRIORITY_STEP)
        self._woken[x.queue] = None

    def _set_status(self, x: Execution, status: str) -> None:
        if status != x.status:
            counts = self._counts.setdefault(x.workflow, {})
            counts[x.status] -= 1
            counts[status] = counts.get(status, 0) + 1
            x.status = status
        x.updated_at = self._now

    def _peek(self, lane: _Lane) -> tuple[float, int, str] | None:
        heap = self._due.get(lane)
        while heap:
            x = self._executions.get(heap[0][2])
            if x is not None and x.stamp == heap[0][1]:
                return heap[0]
            heapq.heappop(heap)
        return None

    # --- executions ----------------------------------------------------------------------------------

    def _known(self, id: str) -> Execution:
        x = self._executions.get(id)
        if x is None:
            raise common.unknown(id)
        return x

    def _create(self, request: r.Create) -> r.Created:
        x = self._executions.get(request.id)
        if x is not None:
            return r.Created(x.header(), False, self._now)
        x = self._executions[request.id] = Execution(request, self._now)
        counts = self._counts.setdefault(x.workflow, {})
        counts["pending"] = counts.get("pending", 0) + 1
        self._set_due(x, x.due_at)
        self._woken[x.queue] = None
        return r.Created(x.header(), True, self._now)

    def _claim(self, request: r.Claim) -> r.Claims:
        now = self._now
        lanes = [(q, w, v) for q in request.queues for w, v in request.workflows]
        if request.nonce in self._claims:
            held = [self._executions[i] for i in self._claims[request.nonce][1] if i in self._executions]
            claimed = [x for x in held if x.token == request.nonce]
        else:
            if request.revive:
                self._revive(set(lanes))
            self._move_ahead()
            claimed = self._take(request, lanes)
            self._claims[request.nonce] = (now + request.lease, [x.id for x in claimed])
            while self._claims:  # forget claims whose leases are over, oldest first
                first = next(iter(self._claims))
                if self._claims[first][0] > now:
                    break
                del self._claims[first]
        dues = [first[0] for first in map(self._peek, lanes) if first is not None]
        known = {w for w, _ in request.workflows}
        schedules = [
            s for s in self._schedules.values() if not s.paused and s.next_at is not None and s.workflow in known
        ]
        dues += [s.next_at for s in schedules if s.next_at is not None and s.next_at > now]
        return r.Claims(
            now,
            tuple(r.Claimed(x.header(), tuple(x.inbox.values())) for x in claimed),
            max(min(dues), now) if dues else None,
            tuple(
                s for s in sorted(schedules, key=lambda s: s.next_at or 0) if s.next_at is not None and s.next_at <= now
            )[:16],
        )

    def _revive(self, lanes: set[_Lane]) -> None:
        for x in self._executions.values():
            if x.status == "stuck" and x.lost_leases < r.MAX_LOST - 1 and (x.queue, x.workflow, x.version) in lanes:
                self._set_due(x, self._now)

    def _take(self, request: r.Claim, lanes: list[_Lane]) -> list[Execution]:
        now = self._now
        claimed: list[Execution] = []
        while len(claimed) < request.limit:
            firsts = [(first, lane) for lane in lanes if (first := self._peek(lane)) is not None and first[0] <= now]
            if not firsts:
                break
            (_, _, id), lane = min(firsts)
            heapq.heappop(self._due[lane])
            x = self._executions[id]
            if x.token is not None:
                x.lost_leases += 1
                if x.lost_leases >= r.MAX_LOST:
                    self._set_status(x, "stuck")
                    x.token = x.worker = None
                    x.lost_leases = r.MAX_LOST - 1
                    x.current = b'[{"kind":"crash_loop"}]'
                    self._set_due(x, now + r.CRASH_LOOP_DELAY)
                    continue
            cancelling = any(m.kind == "cancel" for m in x.inbox.values())
            self._set_status(x, "cancelling" if cancelling else "running")
            x.token, x.worker = request.nonce, request.worker
            self._set_due(x, now + request.lease)
            claimed.append(x)
        return claimed

    def _commit(self, request: r.Commit) -> r.Committed:
        x = self._executions.get(request.id)
        if x is None:
            raise common.fenced(request.id, "it is gone")
        if x.last_commit == request.commit_id:
            held = x.token == request.token
            return r.Committed(self._now, x.messages(request.seen) if held else (), not held)
        if x.ended_at is not None or x.token != request.token:
            raise common.fenced(request.id, "the lease has passed on")
        if x.length != request.expected:
            raise common.fenced(request.id, f"the log has {x.length} entries, not {request.expected}")
        if request.entries:
            x.log.extend(request.entries)
            x.length = len(x.log)
        for seq in request.consumed:
            self._take_out(x, seq)
        x.last_commit = request.commit_id
        x.updated_at = self._now
        x.lost_leases = 0
        if request.current is not None:
            x.current = request.current
        if request.attempt is not None:
            x.attempt = request.attempt
        x.amendments += request.amendments
        for create in request.creates:
            self._create(create)
        for id in request.cancels:
            self._cancel_quietly(id)
        return self._then(x, request)

    def _then(self, x: Execution, request: r.Commit) -> r.Committed:
        match request.then:
            case r.KeepLease(lease):
                if (
                    x.due_at is None or self._now + lease > x.due_at + lease / 4
                ):  # seldom: each move costs an index entry
                    self._set_due(x, self._now + lease)
                return r.Committed(self._now, x.messages(request.seen), False, tuple(self._woken))
            case r.Suspend(status, wake_at, lease):
                messages = x.messages(request.seen)
                if messages:
                    self._set_due(x, self._now + lease)
                    return r.Committed(self._now, messages, False, tuple(self._woken))
                x.token = x.worker = None
                self._set_status(x, status)
                self._set_due(x, wake_at)
                if wake_at is not None and wake_at <= self._now:
                    self._woken[x.queue] = None
            case r.ReleaseLease():
                x.token = x.worker = None
                self._set_status(x, "pending")
                self._make_ready(x)
            case r.End() as end:
                self._end(x, end)
            case r.Restart(input, entries):
                x.token = x.worker = None
                x.input, x.log, x.length = input, list(entries), len(entries)
                x.run += 1
                x.attempt, x.amendments, x.current = 1, 0, b"[]"
                self._set_status(x, "pending")
                self._make_ready(x)
        return r.Committed(self._now, (), True, tuple(self._woken))

    def _end(self, x: Execution, end: r.End) -> None:
        self._set_status(x, end.status)
        x.result, x.error, x.ended_at = end.result, end.error, self._now
        x.token = x.worker = None
        x.current = b"[]"
        x.inbox.clear()
        x.ends.clear()
        x.cancelled = False
        self._set_due(x, None)
        if x.retention is not None:
            x.purge_at = self._now + x.retention
            heapq.heappush(self._purges, (x.purge_at, x.id))
        payload = common.ended_payload(end)
        watchers = dict.fromkeys(([x.parent_id] if x.parent_id else []) + list(x.watchers))
        x.watchers.clear()
        for watcher in watchers:
            w = self._executions.get(watcher)
            if w is not None and w.ended_at is None:
                self._take_out(w, w.ends.get(x.id))  # what tells of an earlier end is out of date
                self._arrive(w, "ended", x.id, payload)

    def _arrive(self, x: Execution, kind: str, name: str, payload: bytes) -> None:
        x.arrivals += 1
        x.inbox[x.arrivals] = r.Message(x.arrivals, kind, name, payload, self._now)
        if kind == "ended":
            x.ends[name] = x.arrivals
        if x.token is None and x.status not in ("pending", "stuck"):
            self._make_ready(x)

    def _take_out(self, x: Execution, seq: int | None) -> None:
        message = None if seq is None else x.inbox.pop(seq, None)
        if message is not None and message.kind == "ended":
            del x.ends[message.name]

    def _remember(self, x: Execution, message_id: str) -> None:
        x.dedupe[message_id] = x.arrivals
        while next(iter(x.dedupe.values())) <= x.arrivals - r.ACCEPTED_LIMIT:
            del x.dedupe[next(iter(x.dedupe))]

    def _beat(self, request: r.RenewLeases) -> r.RenewedLeases:
        lost, news = [], []
        for held in request.held:
            x = self._executions.get(held.id)
            if x is None or x.token != held.token:
                lost.append(held.id)
                continue
            self._set_due(x, self._now + request.lease)
            if x.arrivals > held.seen:
                news.append(held.id)
        return r.RenewedLeases(self._now, tuple(lost), tuple(news))

    def _load(self, request: r.Load) -> list[bytes]:
        return self._known(request.id).log[request.after :]

    # --- arrivals ----------------------------------------------------------------------------------------

    def _deliver(self, request: r.Deliver) -> r.Delivered:
        x = self._known(request.id)
        message_id = common.accepted_id(request)
        if message_id in x.dedupe:
            return r.Delivered(self._now, True)
        if x.ended_at is not None:
            raise common.has_ended(x.id, x.status)
        duplicate = request.kind == "cancel" and x.cancelled
        if not duplicate:
            self._take_in(x, request)
        if message_id:
            self._remember(x, message_id)
        return r.Delivered(self._now, duplicate, tuple(self._woken))

    def _take_in(self, x: Execution, request: r.Deliver) -> None:
        cancel = request.kind == "cancel"
        if cancel and x.token is None and x.status == "pending" and not x.log:
            self._end(x, r.End("cancelled", error=request.payload))
            return
        self._arrive(x, request.kind, request.name, request.payload)
        if cancel:
            x.cancelled = True
            if x.token is not None:
                self._set_status(x, "cancelling")

    def _cancel_quietly(self, id: str) -> None:
        try:
            self._deliver(r.Deliver(id, "", "cancel"))
        except (UnknownExecution, ExecutionEnded):
            return

    def _watch(self, request: r.Watch) -> r.Delivered:
        x = self._known(request.id)
        watcher = self._executions.get(request.watcher)
        if watcher is None or watcher.ended_at is not None:
            return r.Delivered(self._now)
        if x.ended_at is None:
            x.watchers[watcher.id] = None
            return r.Delivered(self._now)
        waits = x.id in watcher.ends
        if not waits:
            self._arrive(watcher, "ended", x.id, common.ended_payload(r.End(x.status, x.result, x.error)))
        return r.Delivered(self._now, waits, tuple(self._woken))

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
        if x.last_commit == request.nonce:
            return r.Amended(x.header(), self._now)
        if x.status not in request.statuses or x.length != request.expected:
            raise common.not_allowed(x.id, x.status, x.length, request.statuses, request.expected)
        x.log.extend(request.entries)
        x.length = len(x.log)
        x.last_commit = request.nonce
        x.amendments += request.amendments
        if request.attempt is not None:
            x.attempt = request.attempt
        x.token = x.worker = None
        if request.then is not None:
            self._end(x, request.then)
        else:
            self._set_status(x, "pending")
            x.result = x.error = x.ended_at = x.purge_at = x.deadline = None
            x.lost_leases = 0
            self._make_ready(x)
        return r.Amended(x.header(), self._now, tuple(self._woken))

    def _delete(self, request: r.Delete) -> bool:
        x = self._executions.get(request.id)
        if x is None:
            return False
        if x.ended_at is None:
            raise OperatorRefused(
                f"execution {x.id!r} is {x.status}; only ended executions are deleted. Fix: cancel it first"
            )
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
        stored = self._schedules.get(request.row.id)
        if (stored.version if stored is not None else 0) != request.expected:
            return r.ScheduleWritten(False, stored, self._now)
        row = attrs.evolve(request.row, version=request.expected + 1)
        self._schedules[row.id] = row
        for id in request.cancels:
            self._cancel_quietly(id)
        for create in request.creates:
            self._create(create)
        return r.ScheduleWritten(True, row, self._now, tuple(self._woken))

    def _drop_schedule(self, request: r.DropSchedule) -> r.ScheduleWritten:
        stored = self._schedules.get(request.id)
        if stored is None or stored.version != request.expected:
            return r.ScheduleWritten(stored is None, stored, self._now)
        del self._schedules[request.id]
        return r.ScheduleWritten(True, None, self._now)

    def _list_schedules(self, request: r.ListSchedules) -> tuple[r.Schedule, ...]:
        ids = sorted(id for id in self._schedules if id > request.after)
        return tuple(self._schedules[id] for id in ids[: request.limit])

    def _register(self, request: r.Register) -> float:
        self._workers[request.row.name] = (attrs.evolve(request.row, seen_at=self._now), self._now + request.ttl)
        return self._now

    def _list_workers(self, request: r.Workers) -> tuple[r.WorkerRow, ...]:
        self._workers = {n: w for n, w in self._workers.items() if w[1] > self._now}
        return tuple(self._workers[name][0] for name in sorted(self._workers))
