"""What each request asks of which shards; the counterpart of the scripts in `lua/`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from replay.backends import common
from replay.backends.redis import rows
from replay.backends.redis.claim import claim
from replay.backends.redis.find import find
from replay.backends.redis.plans import Plan, Shards, portions
from replay.backends.redis.scripts import Argument
from replay.core import requests as r
from replay.core.errors import OperatorRefused, ReplayError
from replay.ports import Clock

LOAD_PAGE = 5000
"""Log entries read at once: one read for nearly all logs, and never a reply that blocks the server for long."""


Owe = Callable[[int, list[bytes]], None]
"""Takes a shard, and what its outbox now holds in addition: items and values in turn."""


class Plans:
    """Makes the plan of each request.

    Args:
        shards: Of the namespace.
        clock: Gives the store's time in simulations; None: the server does.
    """

    def __init__(self, shards: Shards, clock: Clock | None) -> None:
        self.shards = shards
        self._clock = clock
        self._script = shards.script
        self._owing: dict[type, Callable[[Any, Owe], Plan[Any]]] = {
            r.Commit: self._commit,
            r.Deliver: self._deliver,
            rows.OwedDeliver: self._deliver,
            r.Watch: self._watch,
            r.Amend: self._amend,
            r.PutSchedule: self._put_schedule,
        }
        self._makers: dict[type, Callable[[Any], Plan[Any]]] = {
            r.Create: self._create,
            rows.OwedCreate: self._create,
            r.Claim: lambda request: claim(shards, request, self._now),
            r.RenewLeases: self._beat,
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

    def of(self, request: r.Request[Any], owe: Owe) -> Plan[Any]:
        """Return the plan of *request*; *owe* is told what its transition writes to a shard's outbox."""
        owing = self._owing.get(type(request))
        return self._makers[type(request)](request) if owing is None else owing(request, owe)

    def _now(self) -> bytes:
        return b"" if self._clock is None else repr(self._clock.now()).encode()

    def _names(self, found: list[bytes]) -> tuple[str, ...]:
        return tuple(name.decode() for name in found)

    # --- executions --------------------------------------------------------------------------------------

    def _block(self, shard: int, create: r.Create) -> list[Argument]:
        foreign = create.parent_id is not None and self.shards.of(create.parent_id) != shard
        return rows.create_block(create, foreign=foreign)

    def _create(self, request: r.Create) -> Plan[r.Created]:
        shard = self.shards.of(request.id)
        (reply,) = yield [self._script(shard, "create", self._now(), *self._block(shard, request))]
        if len(reply) == 1:
            now = float(reply[0])
            return r.Created(common.new_header(request, now), True, now)
        return r.Created(rows.header(reply[1]), False, float(reply[0]))

    def _effects(
        self, shard: int, creates: tuple[r.Create, ...], cancels: tuple[str, ...], *, cancels_first: bool = False
    ) -> tuple[list[Any], list[Any]]:
        """Return how many creates, cancels and owed items there are, and these."""
        here: list[Argument] = []
        owed_creates, owed_cancels, stops = [], [], []
        local = 0
        for create in creates:
            if self.shards.of(create.id) == shard:
                local += 1
                here += self._block(shard, create)
            else:
                foreign = create.parent_id is not None and self.shards.of(create.parent_id) != self.shards.of(create.id)
                owed_creates.append(rows.owed_create(create, foreign=foreign))
        for id in cancels:
            if self.shards.of(id) == shard:
                stops.append(id)
            else:
                owed_cancels.append(rows.owed_cancel(id))
        owed = [*owed_cancels, *owed_creates] if cancels_first else [*owed_creates, *owed_cancels]
        return [local, len(stops), len(owed)], [*here, *stops, *owed]

    def _commit(self, request: r.Commit, owe: Owe) -> Plan[r.Committed]:
        if type(request.then) is r.KeepLease and request.entries and _only_appends(request):
            return self._keep(request, request.then.lease)
        return self._commit_all(request, owe)

    def _keep(self, request: r.Commit, lease: float) -> Plan[r.Committed]:
        reply: Any
        (reply,) = yield [
            self._script(
                self.shards.of(request.id), "keep", self._now(),
                request.id, request.token, request.expected, request.commit_id, request.seen, repr(lease),
                *map(rows.entry, request.entries),
            )
        ]  # fmt: skip
        if type(reply) is bytes:
            return r.Committed(float(reply))
        if reply[0] == b"F":
            raise common.fenced(request.id, reply[1].decode())
        if len(reply) == 1:
            return r.Committed(float(reply[0]), parked=True)
        return r.Committed(float(reply[0]), rows.messages(reply[1]))

    def _commit_all(self, request: r.Commit, owe: Owe) -> Plan[r.Committed]:
        shard = self.shards.of(request.id)
        anew: tuple[bytes, ...] = ()
        match request.then:
            case r.KeepLease(lease):
                then: tuple[Argument, ...] = (b"K", repr(lease), b"", b"", b"")
            case r.Suspend(status, wake_at, lease):
                then = (b"P", repr(lease), status, rows.optional(wake_at), b"")
            case r.ReleaseLease():
                then = (b"Y", b"0", b"", b"", b"")
            case r.End(status, result, error):
                then = (b"E", b"0", status, result or b"", error or b"")
            case r.Restart(input, anew):
                then = (b"R", b"0", b"", input, b"")
        if request.creates or request.cancels:
            counts, effects = self._effects(shard, request.creates, request.cancels)
        else:
            counts, effects = [0, 0, 0], []
        call = self._script(
            shard, "commit", self._now(),
            request.id, request.token, request.expected, request.commit_id, request.seen, *then,
            request.current or b"", rows.optional(request.attempt), request.amendments,
            len(request.entries), len(request.consumed), *counts, len(anew),
            *map(rows.entry, request.entries), *request.consumed, *effects, *map(rows.entry, anew),
        )  # fmt: skip
        (reply,) = yield [call]
        if len(reply) == 1:
            return r.Committed(float(reply[0]))
        if reply[0] == b"F":
            raise common.fenced(request.id, reply[1].decode())
        now, parked, woken, messages, owed = reply
        if owed:
            owe(shard, owed)
        return r.Committed(float(now), rows.messages(messages), bool(parked), self._names(woken))

    def _beat(self, request: r.RenewLeases) -> Plan[r.RenewedLeases]:
        now = self._now()
        held: dict[int, list[Argument]] = {}
        for each in request.held:
            held.setdefault(self.shards.of(each.id), []).extend((each.id, each.token, each.seen))
        if not held:
            return r.RenewedLeases((yield from self._ping(r.Ping())))
        replies = yield [self._script(s, "beat", now, repr(request.lease), *ids) for s, ids in held.items()]
        lost = {id.decode() for reply in replies for id in reply[1]}
        news = {id.decode() for reply in replies for id in reply[2]}
        return r.RenewedLeases(
            max(float(reply[0]) for reply in replies),
            tuple(each.id for each in request.held if each.id in lost),
            tuple(each.id for each in request.held if each.id in news),
        )

    def _load(self, request: r.Load) -> Plan[list[bytes]]:
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
            if stored and state[1] != run:  # it began anew between two pages
                stored, run = [], None
                continue
            run = state[1]
            stored += page
            if len(page) < LOAD_PAGE:
                return rows.checked(request, stored)

    # --- arrivals ------------------------------------------------------------------------------------------------

    def _deliver(self, request: r.Deliver, owe: Owe) -> Plan[r.Delivered]:
        shard = self.shards.of(request.id)
        message_id = common.accepted_id(request)
        if isinstance(request, rows.OwedDeliver):  # what a watcher asks for has no item, and so no id
            message_id = f"o:{request.message_id}" if request.message_id else ""
        args = (request.id, message_id, request.kind, request.name, request.payload)
        ((now, code, status, woken, owed),) = yield [self._script(shard, "deliver", self._now(), *args)]
        if code == b"unknown":
            raise common.unknown(request.id)
        if code == b"ended":
            raise common.has_ended(request.id, status.decode())
        if owed:
            owe(shard, owed)
        return r.Delivered(float(now), code == b"duplicate", self._names(woken))

    def _watch(self, request: r.Watch, owe: Owe) -> Plan[r.Delivered]:
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
        args = (request.id, request.watcher, b"1" if foreign else b"0")
        (reply,) = yield [self._script(shard, "watch", self._now(), *args)]
        now, code = float(reply[0]), reply[1]
        if code == b"unknown":
            raise common.unknown(request.id)
        if code != b"ended":
            return r.Delivered(now, code == b"duplicate", self._names(reply[2]))
        news = rows.OwedDeliver(request.watcher, "", "ended", request.id, reply[2], owed=rows.Owed(shard, b""))
        try:
            return (yield from self._deliver(news, owe))
        except ReplayError:  # the watcher is gone or has ended
            return r.Delivered(now)

    def _forget(self, request: r.Forget) -> Plan[None]:
        owed: rows.Owed | None = getattr(request.item, "owed", None)
        if owed is not None:
            yield [self._script(owed.shard, "forget", b"", owed.item)]

    # --- reading ---------------------------------------------------------------------------------------------------

    def _get(self, request: r.Get) -> Plan[r.Header | None]:
        (reply,) = yield [self._script(self.shards.of(request.id), "get", b"0", request.id)]
        return rows.header(reply[1]) if len(reply) > 1 else None

    def _inbox(self, request: r.Inbox) -> Plan[tuple[r.Message, ...]]:
        (reply,) = yield [self._script(self.shards.of(request.id), "inbox", b"0", request.id)]
        if len(reply) == 1:
            raise common.unknown(request.id)
        return rows.messages(reply[1])

    def _everywhere(self, name: str, *args: Argument) -> Plan[list[Any]]:
        return (yield [self._script(shard, name, self._now(), *args) for shard in range(self.shards.count)])

    def _count(self, request: r.Count) -> Plan[dict[str, int]]:
        totals: dict[str, int] = {}
        for found in (yield from self._everywhere("count", request.workflow or b"")):
            for i in range(0, len(found), 2):
                if found[i + 1]:
                    status = found[i].decode()
                    totals[status] = totals.get(status, 0) + found[i + 1]
        return totals

    # --- operators ----------------------------------------------------------------------------------------------------

    def _amend(self, request: r.Amend, owe: Owe) -> Plan[r.Amended]:
        shard, end = self.shards.of(request.id), request.then
        then = (b"", b"", b"", b"") if end is None else (b"E", end.status, end.result or b"", end.error or b"")
        call = self._script(
            shard, "amend", self._now(), request.id, request.nonce, request.expected, *then,
            rows.optional(request.attempt), request.amendments, len(request.statuses), len(request.entries),
            *request.statuses, *map(rows.entry, request.entries),
        )  # fmt: skip
        (reply,) = yield [call]
        if reply[1] == b"unknown":
            raise common.unknown(request.id)
        if reply[1] == b"refused":
            raise common.not_allowed(request.id, reply[2].decode(), reply[3], request.statuses, request.expected)
        if reply[4]:
            owe(shard, reply[4])
        return r.Amended(rows.header(reply[2]), float(reply[0]), self._names(reply[3]))

    def _delete(self, request: r.Delete) -> Plan[bool]:
        (reply,) = yield [self._script(self.shards.of(request.id), "delete", self._now(), request.id)]
        if reply[0] < 0:
            raise OperatorRefused(
                f"execution {request.id!r} is {reply[1].decode()}; only ended executions are deleted. Fix: cancel it first"
            )
        return bool(reply[0])

    def _purge(self, request: r.Purge) -> Plan[int]:
        order = self.shards.rotation()
        quotas = portions(request.limit, len(order))
        replies = yield [self._script(s, "purge", self._now(), quota) for s, quota in zip(order, quotas, strict=True)]
        purged: int = sum(reply[0] for reply in replies)
        for shard, (_, more) in zip(order, replies, strict=True):
            if more and purged < request.limit and self.shards.count > 1:
                ((again, _),) = yield [self._script(shard, "purge", self._now(), request.limit - purged)]
                purged += again
        if request.keep is not None and purged < request.limit:
            purged += yield from self._purge_excess(request.keep, request.limit - purged)
        return purged

    def _purge_excess(self, keep: int, limit: int) -> Plan[int]:
        replies = yield from self._everywhere("oldest", limit)
        excess = min(limit, sum(total for total, _ in replies) - keep)
        oldest = sorted((float(rows[i + 1]), rows[i].decode()) for _, rows in replies for i in range(0, len(rows), 2))
        if excess <= 0:
            return 0
        # One that was revived meanwhile is refused there.
        removed = yield [self._script(self.shards.of(id), "delete", self._now(), id) for _, id in oldest[:excess]]
        return sum(max(0, reply[0]) for reply in removed)

    # --- schedules and workers -------------------------------------------------------------------------------------------

    def _put_schedule(self, request: r.PutSchedule, owe: Owe) -> Plan[r.ScheduleWritten]:
        row = request.row
        shard = self.shards.of(row.id)
        counts, effects = self._effects(shard, request.creates, request.cancels, cancels_first=True)
        call = self._script(
            shard, "put_schedule", self._now(), row.id, request.expected, row.workflow, row.spec, row.state,
            rows.optional(row.next_at), b"1" if row.paused else b"0", *counts, *effects,
        )  # fmt: skip
        ((now, applied, stored, woken, owed),) = yield [call]
        if owed:
            owe(shard, owed)
        found = rows.schedule(stored)
        if applied and found is not None:
            found = attrs.evolve(row, version=request.expected + 1)
        return r.ScheduleWritten(bool(applied), found, float(now), self._names(woken))

    def _drop_schedule(self, request: r.DropSchedule) -> Plan[r.ScheduleWritten]:
        args = (request.id, request.expected)
        ((now, applied, stored),) = yield [
            self._script(self.shards.of(request.id), "drop_schedule", self._now(), *args)
        ]
        return r.ScheduleWritten(bool(applied), rows.schedule(stored), float(now))

    def _get_schedule(self, request: r.GetSchedule) -> Plan[r.Schedule | None]:
        (row,) = yield [self._script(self.shards.of(request.id), "get_schedule", b"0", request.id)]
        return rows.schedule(row)

    def _list_schedules(self, request: r.ListSchedules) -> Plan[tuple[r.Schedule, ...]]:
        replies = yield from self._everywhere("list_schedules", request.after, request.limit)
        found = [s for reply in replies for s in map(rows.schedule, reply) if s is not None]
        return tuple(sorted(found, key=lambda s: s.id)[: request.limit])

    def _register(self, request: r.Register) -> Plan[float]:
        row = request.row  # all workers are on one shard: they are few
        (now,) = yield [self._script(0, "register", self._now(), row.name, row.info, repr(request.ttl))]
        return float(now)

    def _workers(self, request: r.Workers) -> Plan[tuple[r.WorkerRow, ...]]:
        (flat,) = yield [self._script(0, "workers", self._now())]
        found = [rows.worker(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]
        return tuple(sorted(found, key=lambda row: row.name))

    def _ping(self, request: r.Ping) -> Plan[float]:
        (now,) = yield [self._script(0, "ping", self._now())]
        return float(now)


def _only_appends(commit: r.Commit) -> bool:
    return not (
        commit.consumed
        or commit.creates
        or commit.cancels
        or commit.amendments
        or commit.current is not None
        or commit.attempt is not None
    )
