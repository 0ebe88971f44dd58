"""Handlers of requests: the calls of each request, and its reply from theirs. The counterpart of `lua/scripts/`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from replay.backends import common
from replay.backends.redis import rows
from replay.backends.redis.claim import claim
from replay.backends.redis.find import find
from replay.backends.redis.round_trips import RoundTrips
from replay.backends.redis.scripts import Argument, Call
from replay.backends.redis.shards import Shards, portions
from replay.core import requests as r
from replay.core.errors import OperatorRefused, ReplayError
from replay.ports import Clock

LOAD_PAGE = 5000
"""Log entries of one read: enough for nearly all logs, and no reply blocks the server for long."""


OnOutbox = Callable[[int, list[bytes]], None]
"""Takes a shard, and the items that a transition added to its outbox: names and values in turn."""


class Handlers:
    """The handler of each request type.

    Args:
        shards: The namespace's shards.
        clock: The store's time in simulations; None: the server's clock.
        fast: Commits that only append entries run the short script `keep`; False runs `commit` for all (for comparisons).
    """

    def __init__(self, shards: Shards, clock: Clock | None, *, fast: bool = True) -> None:
        self.shards = shards
        self._clock = clock
        self._fast = fast
        self._script = shards.script
        self._with_outbox: dict[type, Callable[[Any, OnOutbox], RoundTrips[Any]]] = {
            r.Commit: self._commit,
            r.Deliver: self._deliver,
            rows.OutboxDeliver: self._deliver,
            r.Watch: self._watch,
            r.Amend: self._amend,
            r.PutSchedule: self._put_schedule,
        }
        self._handlers: dict[type, Callable[[Any], RoundTrips[Any]]] = {
            r.Create: self._create,
            rows.OutboxCreate: self._create,
            r.Claim: lambda request: claim(shards, request, self._now),
            r.RenewLeases: self._renew_leases,
            r.Load: self._load,
            r.Forget: self._forget,
            r.Get: self._get,
            r.Inbox: self._inbox,
            r.Find: lambda request: find(shards, request, self._now()),
            r.Count: self._count,
            r.Delete: self._delete,
            r.Purge: self._purge,
            r.DropSchedule: self._drop_schedule,
            r.GetSchedule: self._get_schedule,
            r.ListSchedules: self._list_schedules,
            r.Register: self._register,
            r.Workers: self._workers,
            r.Ping: self._ping,
        }

    def start(self, request: r.Request[Any], on_outbox: OnOutbox) -> RoundTrips[Any]:
        """Return the round trips of *request*; *on_outbox* gets the outbox items of its transition."""
        handler = self._with_outbox.get(type(request))
        return self._handlers[type(request)](request) if handler is None else handler(request, on_outbox)

    def index_schedules(self) -> list[Call]:
        """Return the calls that complete the indexes of schedules with those that version 0.1 wrote."""
        return [self._script(shard, "index_schedules", self._now()) for shard in range(self.shards.count)]

    def _now(self) -> bytes:
        return b"" if self._clock is None else repr(self._clock.now()).encode()

    def _names(self, found: list[bytes]) -> tuple[str, ...]:
        return tuple(name.decode() for name in found)

    # --- executions --------------------------------------------------------------------------------------

    def _block(self, shard: int, create: r.Create) -> list[Argument]:
        foreign = create.parent_id is not None and self.shards.of(create.parent_id) != shard
        return rows.create_block(create, foreign=foreign)

    def _create(self, request: r.Create) -> RoundTrips[r.Created]:
        shard = self.shards.of(request.id)
        (reply,) = yield [self._script(shard, "create", self._now(), *self._block(shard, request))]
        if len(reply) == 1:
            now = float(reply[0])
            return r.Created(common.new_header(request, now), True, now)
        return r.Created(rows.header(reply[1]), False, float(reply[0]))

    def _effects(
        self,
        shard: int,
        creates: tuple[r.Create, ...],
        cancels: tuple[str, ...],
        *,
        cancels_first: bool = False,
        by: str = "",
    ) -> tuple[dict[str, Argument], list[Argument]]:
        """Return the numbers of creates, cancels and outbox items, and these."""
        here: list[Argument] = []
        outbox_creates, outbox_cancels, stops = [], [], []
        local = 0
        for create in creates:
            home = self.shards.of(create.id)
            block = self._block(home, create)
            if home == shard:
                local += 1
                here += block
            else:
                outbox_creates.append(rows.outbox_create(block))
        for id in cancels:
            if self.shards.of(id) == shard:
                stops.append(id)
            else:
                outbox_cancels.append(rows.outbox_cancel(id, by))
        outbox = [*outbox_cancels, *outbox_creates] if cancels_first else [*outbox_creates, *outbox_cancels]
        counts: dict[str, Argument] = {"n_creates": local, "n_cancels": len(stops), "n_outbox": len(outbox)}
        return counts, [*here, *stops, *outbox]

    def _commit(self, request: r.Commit, on_outbox: OnOutbox) -> RoundTrips[r.Committed]:
        if self._fast and type(request.then) is r.KeepLease and request.entries and _only_appends(request):
            return self._keep(request, request.then.lease)
        return self._commit_all(request, on_outbox)

    def _keep(self, request: r.Commit, lease: float) -> RoundTrips[r.Committed]:
        reply: Any
        (reply,) = yield [
            self._script(
                self.shards.of(request.id), "keep", self._now(), *map(rows.entry, request.entries),
                id=request.id, token=request.token, expected=request.expected, commit_id=request.commit_id,
                seen=request.seen, lease=repr(lease),
            )
        ]  # fmt: skip
        if type(reply) is bytes:
            return r.Committed(float(reply))
        if reply[0] == b"F":
            raise common.fenced(request.id, reply[1].decode())
        if len(reply) == 1:
            return r.Committed(float(reply[0]), parked=True)
        return r.Committed(float(reply[0]), rows.messages(reply[1]))

    def _commit_all(self, request: r.Commit, on_outbox: OnOutbox) -> RoundTrips[r.Committed]:
        shard = self.shards.of(request.id)
        anew: tuple[bytes, ...] = ()
        match request.then:
            case r.KeepLease(lease):
                then = _then(b"K", lease=repr(lease))
            case r.Suspend(status, wake_at, lease):
                then = _then(b"P", lease=repr(lease), status=status, value=rows.optional(wake_at))
            case r.ReleaseLease():
                then = _then(b"Y")
            case r.End(status, result, error):
                then = _then(b"E", status=status, value=result or b"", err=error or b"")
            case r.Restart(input, anew):
                then = _then(b"R", value=input)
        counts, effects = _NO_EFFECTS
        if request.creates or request.cancels:
            counts, effects = self._effects(shard, request.creates, request.cancels, by=request.id)
        call = self._script(
            shard, "commit", self._now(),
            *map(rows.entry, request.entries), *request.consumed, *effects, *map(rows.entry, anew),
            id=request.id, token=request.token, expected=request.expected, commit_id=request.commit_id,
            seen=request.seen, **then, progress=request.current or b"", attempt=rows.optional(request.attempt),
            amendments=request.amendments, n_entries=len(request.entries), n_consumed=len(request.consumed), **counts,
            n_restart=len(anew),
        )  # fmt: skip
        (reply,) = yield [call]
        if len(reply) == 1:
            return r.Committed(float(reply[0]))
        if reply[0] == b"F":
            raise common.fenced(request.id, reply[1].decode())
        now, parked, woken, messages, outbox = reply
        if outbox:
            on_outbox(shard, outbox)
        return r.Committed(float(now), rows.messages(messages), bool(parked), self._names(woken))

    def _renew_leases(self, request: r.RenewLeases) -> RoundTrips[r.RenewedLeases]:
        now = self._now()
        held: dict[int, list[Argument]] = {}
        for each in request.held:
            held.setdefault(self.shards.of(each.id), []).extend((each.id, each.token, each.seen))
        if not held:
            return r.RenewedLeases((yield from self._ping(r.Ping())))
        replies = yield [
            self._script(s, "renew_leases", now, *ids, lease=repr(request.lease)) for s, ids in held.items()
        ]
        lost = {id.decode() for reply in replies for id in reply[1]}
        news = {id.decode() for reply in replies for id in reply[2]}
        return r.RenewedLeases(
            max(float(reply[0]) for reply in replies),
            tuple(each.id for each in request.held if each.id in lost),
            tuple(each.id for each in request.held if each.id in news),
        )

    def _load(self, request: r.Load) -> RoundTrips[list[bytes]]:
        shard, id, command = self.shards.of(request.id), request.id, self.shards.command
        stored: list[bytes] = []
        run: bytes | None = None
        while True:
            first = request.after + len(stored)
            state, page = yield [
                command(shard, b"HMGET", f"e:{id}", b"st", b"run"),
                command(shard, b"LRANGE", f"l:{id}", first, first + LOAD_PAGE - 1),
            ]
            if state[0] is None:
                raise common.unknown(id)
            if stored and state[1] != run:  # it restarted between two pages
                stored, run = [], None
                continue
            run = state[1]
            stored += page
            if len(page) < LOAD_PAGE:
                return rows.checked(request, stored)

    # --- arrivals ------------------------------------------------------------------------------------------------

    def _deliver(self, request: r.Deliver, on_outbox: OnOutbox) -> RoundTrips[r.Delivered]:
        shard = self.shards.of(request.id)
        message_id = common.accepted_id(request)
        if isinstance(request, rows.OutboxDeliver):  # the answer to a watcher has no item, and so no id
            message_id = f"o:{request.message_id}" if request.message_id else ""
        call = self._script(
            shard, "deliver", self._now(),
            id=request.id, message_id=message_id, kind=request.kind, name=request.name, payload=request.payload,
        )  # fmt: skip
        ((now, code, status, woken, outbox),) = yield [call]
        if code == b"unknown":
            raise common.unknown(request.id)
        if code == b"ended":
            raise common.has_ended(request.id, status.decode())
        if outbox:
            on_outbox(shard, outbox)
        return r.Delivered(float(now), code == b"duplicate", self._names(woken))

    def _watch(self, request: r.Watch, on_outbox: OnOutbox) -> RoundTrips[r.Delivered]:
        shard, home = self.shards.of(request.id), self.shards.of(request.watcher)
        foreign = shard != home
        if foreign:
            watched, watcher, now = yield [
                self.shards.command(shard, b"HMGET", f"e:{request.id}", b"st"),
                self.shards.command(home, b"HMGET", f"e:{request.watcher}", b"st", b"ea"),
                self._script(shard, "ping", self._now()),
            ]
            if watched[0] is not None and (watcher[0] is None or watcher[1] is not None):
                return r.Delivered(float(now))
        flag = b"1" if foreign else b"0"
        (reply,) = yield [
            self._script(shard, "watch", self._now(), id=request.id, watcher=request.watcher, foreign=flag)
        ]
        now, code = float(reply[0]), reply[1]
        if code == b"unknown":
            raise common.unknown(request.id)
        if code != b"ended":
            return r.Delivered(now, code == b"duplicate", self._names(reply[2]))
        origin = rows.OutboxItem(shard, b"")
        message = rows.OutboxDeliver(request.watcher, "", "ended", request.id, reply[2], origin=origin)
        try:
            return (yield from self._deliver(message, on_outbox))
        except ReplayError:  # the watcher is gone or has ended
            return r.Delivered(now)

    def _forget(self, request: r.Forget) -> RoundTrips[None]:
        if isinstance(request.item, rows.OutboxCreate | rows.OutboxDeliver):
            origin = request.item.origin
            yield [self._script(origin.shard, "forget", b"", item=origin.name)]

    # --- reading ---------------------------------------------------------------------------------------------------

    def _get(self, request: r.Get) -> RoundTrips[r.Header | None]:
        (reply,) = yield [self._script(self.shards.of(request.id), "get", b"0", id=request.id)]
        return rows.header(reply[1]) if len(reply) > 1 else None

    def _inbox(self, request: r.Inbox) -> RoundTrips[tuple[r.Message, ...]]:
        (reply,) = yield [self._script(self.shards.of(request.id), "inbox", b"0", id=request.id)]
        if len(reply) == 1:
            raise common.unknown(request.id)
        return rows.messages(reply[1])

    def _everywhere(self, script: str, **named: Argument) -> RoundTrips[list[Any]]:
        return (yield [self._script(shard, script, self._now(), **named) for shard in range(self.shards.count)])

    def _count(self, request: r.Count) -> RoundTrips[dict[str, int]]:
        totals: dict[str, int] = {}
        for found in (yield from self._everywhere("count", workflow=request.workflow or b"")):
            for i in range(0, len(found), 2):
                if found[i + 1]:
                    status = found[i].decode()
                    totals[status] = totals.get(status, 0) + found[i + 1]
        return totals

    # --- operators ----------------------------------------------------------------------------------------------------

    def _amend(self, request: r.Amend, on_outbox: OnOutbox) -> RoundTrips[r.Amended]:
        shard, end = self.shards.of(request.id), request.then
        then: dict[str, Argument] = {"action": b"", "status": b"", "result": b"", "err": b""}
        if end is not None:
            then = {"action": b"E", "status": end.status, "result": end.result or b"", "err": end.error or b""}
        call = self._script(
            shard, "amend", self._now(), *request.statuses, *map(rows.entry, request.entries),
            id=request.id, nonce=request.nonce, expected=request.expected, **then,
            attempt=rows.optional(request.attempt), amendments=request.amendments, n_statuses=len(request.statuses),
            n_entries=len(request.entries),
        )  # fmt: skip
        (reply,) = yield [call]
        if reply[1] == b"unknown":
            raise common.unknown(request.id)
        if reply[1] == b"refused":
            raise common.not_allowed(request.id, reply[2].decode(), reply[3], request.statuses, request.expected)
        if reply[4]:
            on_outbox(shard, reply[4])
        return r.Amended(rows.header(reply[2]), float(reply[0]), self._names(reply[3]))

    def _delete(self, request: r.Delete) -> RoundTrips[bool]:
        (reply,) = yield [self._script(self.shards.of(request.id), "delete", self._now(), id=request.id)]
        if reply[0] < 0:
            raise OperatorRefused(
                f"execution {request.id!r} is {reply[1].decode()}; only ended executions are deleted. Fix: cancel it first"
            )
        return bool(reply[0])

    def _purge(self, request: r.Purge) -> RoundTrips[int]:
        order = self.shards.rotation()
        quotas = portions(request.limit, len(order))
        replies = yield [
            self._script(s, "purge", self._now(), limit=quota) for s, quota in zip(order, quotas, strict=True)
        ]
        purged: int = sum(reply[0] for reply in replies)
        for shard, (_, more) in zip(order, replies, strict=True):
            if more and purged < request.limit and self.shards.count > 1:
                ((again, _),) = yield [self._script(shard, "purge", self._now(), limit=request.limit - purged)]
                purged += again
        if request.keep is not None and purged < request.limit:
            purged += yield from self._purge_excess(request.keep, request.limit - purged)
        return purged

    def _purge_excess(self, keep: int, limit: int) -> RoundTrips[int]:
        replies = yield from self._everywhere("oldest", wanted=limit)
        excess = min(limit, sum(total for total, _ in replies) - keep)
        oldest = sorted((float(rows[i + 1]), rows[i].decode()) for _, rows in replies for i in range(0, len(rows), 2))
        if excess <= 0:
            return 0
        # The script refuses an execution that was revived meanwhile.
        removed = yield [self._script(self.shards.of(id), "delete", self._now(), id=id) for _, id in oldest[:excess]]
        return sum(max(0, reply[0]) for reply in removed)

    # --- schedules and workers -------------------------------------------------------------------------------------------

    def _put_schedule(self, request: r.PutSchedule, on_outbox: OnOutbox) -> RoundTrips[r.ScheduleWritten]:
        row = request.row
        shard = self.shards.of(row.id)
        counts, effects = self._effects(shard, request.creates, request.cancels, cancels_first=True)
        call = self._script(
            shard, "put_schedule", self._now(), *effects, id=row.id, expected=request.expected, workflow=row.workflow,
            spec=row.spec, state=row.state, next_at=rows.optional(row.next_at), paused=b"1" if row.paused else b"0",
            **counts,
        )  # fmt: skip
        ((now, applied, stored, woken, outbox),) = yield [call]
        if outbox:
            on_outbox(shard, outbox)
        found = rows.schedule(stored)
        if applied and found is not None:
            found = msgspec.structs.replace(row, version=request.expected + 1)
        return r.ScheduleWritten(bool(applied), found, float(now), self._names(woken))

    def _drop_schedule(self, request: r.DropSchedule) -> RoundTrips[r.ScheduleWritten]:
        shard = self.shards.of(request.id)
        ((now, applied, stored),) = yield [
            self._script(shard, "drop_schedule", self._now(), id=request.id, expected=request.expected)
        ]
        return r.ScheduleWritten(bool(applied), rows.schedule(stored), float(now))

    def _get_schedule(self, request: r.GetSchedule) -> RoundTrips[r.Schedule | None]:
        (row,) = yield [self._script(self.shards.of(request.id), "get_schedule", b"0", id=request.id)]
        return rows.schedule(row)

    def _list_schedules(self, request: r.ListSchedules) -> RoundTrips[tuple[r.Schedule, ...]]:
        replies = yield from self._everywhere("list_schedules", after=request.after, limit=request.limit)
        found = [s for reply in replies for s in map(rows.schedule, reply) if s is not None]
        return tuple(sorted(found, key=lambda s: s.id)[: request.limit])

    def _register(self, request: r.Register) -> RoundTrips[float]:
        row = request.row  # all workers are on shard 0: they are few
        now, *_ = yield [
            self._script(0, "register", self._now(), name=row.name, info=row.info, ttl=repr(request.ttl)),
            *self.index_schedules(),  # processes of version 0.1 may still write schedules
        ]
        return float(now)

    def _workers(self, request: r.Workers) -> RoundTrips[tuple[r.WorkerRow, ...]]:
        (flat,) = yield [self._script(0, "workers", self._now())]
        found = [rows.worker(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]
        return tuple(sorted(found, key=lambda row: row.name))

    def _ping(self, request: r.Ping) -> RoundTrips[float]:
        (now,) = yield [self._script(0, "ping", self._now())]
        return float(now)


_NO_EFFECTS: tuple[dict[str, Argument], list[Argument]] = ({"n_creates": 0, "n_cancels": 0, "n_outbox": 0}, [])


def _then(
    action: bytes, *, lease: str = "0", status: str = "", value: Argument = b"", err: bytes = b""
) -> dict[str, Argument]:
    return {"action": action, "lease": lease, "status": status, "value": value, "err": err}


def _only_appends(commit: r.Commit) -> bool:
    return not (
        commit.consumed
        or commit.creates
        or commit.cancels
        or commit.amendments
        or commit.current is not None
        or commit.attempt is not None
    )
