"""The store in one SQLite file: several processes may share it, and every answered request survives a crash.

All requests that threads of this process have waiting are performed in one transaction (group commit): one flush to disk for all.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import attrs

from replay import requests as r
from replay.backends import common
from replay.backends import sqlite_schema as schema
from replay.core.errors import (
    ConfigError,
    ExecutionEnded,
    OperatorRefused,
    ReplayError,
    StoreUnavailable,
    Undecodable,
    UnknownExecution,
)
from replay.ports import Clock

CHECKPOINT_PAGES = 4000
"""WAL pages (16 MB) after which the store moves them into the file: rare enough to cost nothing, small enough to read fast."""

_HEADER = ", ".join(schema.COLUMNS)
_READS = (r.Load, r.Get, r.Inbox, r.Find, r.Count, r.GetSchedule, r.ListSchedules, r.Workers, r.Ping)


class _Job:
    """The requests of one caller, and their fate."""

    __slots__ = ("done", "error", "replies", "requests")

    def __init__(self, requests: Sequence[r.Request[Any]]) -> None:
        self.requests = requests
        self.replies: list[Any] = []
        self.error: Exception | None = None
        self.done = False


class SqliteStore:
    """See `replay.ports.Store`.

    Args:
        path: The file; created if absent, readable by its owner only.
        namespace: Keeps applications apart that share a file.
        clock: The store's clock (default: the process's).
        synchronous: `FULL` survives a power cut; `NORMAL` only a crash of the process, and is several times as fast.
    """

    def __init__(
        self, path: str | Path, *, namespace: str = "default", clock: Clock | None = None, synchronous: str = "FULL"
    ) -> None:
        if synchronous not in ("FULL", "NORMAL"):
            raise ConfigError(f"synchronous is FULL or NORMAL, not {synchronous!r}")
        self.path = Path(path).absolute()
        self._ns = namespace
        self._synchronous = synchronous
        if clock is None:
            from time import time as now

            self._time: Callable[[], float] = now
        else:
            self._time = clock.now
        self._waiting: list[_Job] = []
        self._writer = threading.Lock()
        self._reader = threading.Lock()
        self._now = 0.0
        self._woken: dict[str, None] = {}
        self._closed = False
        self._open()

    # --- connections -----------------------------------------------------------------------------------

    def _open(self) -> None:
        schema.create_file(self.path)
        self._pid = os.getpid()
        self._lock_file = os.open(f"{self.path}-lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            self._db = schema.connect(self.path, self._synchronous)
            schema.prepare(self._db, self.path)
            self._read = schema.connect(self.path, self._synchronous)
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def close(self) -> None:
        """See `replay.ports.Store.close`."""
        with self._writer, self._reader:
            if not self._closed:
                self._closed = True
                self._db.close()
                self._read.close()
                os.close(self._lock_file)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the store {self.path.name} is closed")
        if self._pid != os.getpid():  # forked: connections must not be shared with the parent
            self._writer, self._reader = threading.Lock(), threading.Lock()
            self._waiting = []
            self._open()

    # --- batches -----------------------------------------------------------------------------------------

    def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        """See `replay.ports.Store.apply`."""
        self._check_open()
        if all(isinstance(request, _READS) for request in requests):
            return self._apply_reads(requests)
        job = _Job(requests)
        self._waiting.append(job)
        with self._writer:  # whoever gets in first performs what the others have waiting too
            if not job.done:
                jobs, self._waiting = self._waiting, []
                self._apply_jobs(jobs)
        if job.error is not None:
            raise job.error
        return job.replies

    def _apply_reads(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        with self._reader:
            try:
                return [self._perform(request, self._read) for request in requests]
            except sqlite3.Error as error:
                raise StoreUnavailable(f"SQLite file {self.path.name}: {error}") from error

    def _apply_jobs(self, jobs: list[_Job]) -> None:
        try:
            with self._transaction():
                for job in jobs:
                    job.replies = [self._perform(request, self._db) for request in job.requests]
        except sqlite3.Error as error:
            for job in jobs:
                job.error = StoreUnavailable(f"SQLite file {self.path.name}: {error}")
        except Exception as error:
            for job in jobs:
                job.error = error
        for job in jobs:
            job.done = True

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        db = self._db
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            self._checkpoint()
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _checkpoint(self) -> None:
        with contextlib.suppress(OSError):
            if os.stat(f"{self.path}-wal").st_size > CHECKPOINT_PAGES * 4096:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _perform(self, request: r.Request[Any], db: sqlite3.Connection) -> Any:
        self._now = max(self._now, self._time())
        self._woken = {}
        try:
            match request:
                case r.Commit():
                    return self._commit(request)
                case r.Create():
                    return self._create(request)
                case r.Claim():
                    return self._claim(request)
                case r.Beat():
                    return self._beat(request)
                case r.Load():
                    return self._load(request, db)
                case r.Deliver():
                    return self._deliver(request)
                case r.Watch():
                    return self._watch(request)
                case r.Forget():
                    return None
                case r.Get():
                    row = db.execute(
                        f"SELECT {_HEADER} FROM execution WHERE ns=? AND id=?", (self._ns, request.id)
                    ).fetchone()
                    return None if row is None else r.Header(*row)
                case r.Inbox():
                    return self._messages(self._known(request.id, db)[0], 0, db)
                case r.Find():
                    return self._find(request, db)
                case r.Count():
                    return self._count(request, db)
                case r.Amend():
                    return self._amend(request)
                case r.Delete():
                    return self._delete(request)
                case r.Purge():
                    return self._purge(request)
                case r.PutSchedule():
                    return self._put_schedule(request)
                case r.DropSchedule():
                    return self._drop_schedule(request)
                case r.GetSchedule():
                    return self._schedule(request.id, db)
                case r.ListSchedules():
                    rows = db.execute(
                        f"{_SCHEDULES} AND id > ? ORDER BY id LIMIT ?", (self._ns, request.after, request.limit)
                    )
                    return tuple(_schedule_of(row) for row in rows)
                case r.Register():
                    row = (self._ns, request.row.name, request.row.info, self._now, self._now + request.ttl)
                    self._db.execute("INSERT OR REPLACE INTO worker VALUES (?, ?, ?, ?, ?)", row)
                    self._db.execute("DELETE FROM worker WHERE ns=? AND until <= ?", (self._ns, self._now))
                    return self._now
                case r.Workers():
                    rows = db.execute(
                        "SELECT name, info, seen_at FROM worker WHERE ns=? AND until > ? ORDER BY name",
                        (self._ns, self._now),
                    )
                    return tuple(r.WorkerRow(*row) for row in rows)
                case r.Ping():
                    return self._now
                case _:
                    raise TypeError(f"{type(request).__name__} is not a request that this store knows")
        except ReplayError as refusal:
            return refusal

    # --- rows -------------------------------------------------------------------------------------------------

    def _known(self, id: str, db: sqlite3.Connection) -> tuple[int, r.Header]:
        row = db.execute(f"SELECT x, {_HEADER} FROM execution WHERE ns=? AND id=?", (self._ns, id)).fetchone()
        if row is None:
            raise common.unknown(id)
        return row[0], r.Header(*row[1:])

    def _set(self, x: int, **columns: Any) -> None:
        names = ", ".join(f"{name}=?" for name in columns)
        self._db.execute(f"UPDATE execution SET {names} WHERE x=?", (*columns.values(), x))

    def _counted(self, workflow: str, status: str, change: int) -> None:
        self._db.execute(
            "INSERT INTO count VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + ?",
            (self._ns, workflow, status, change, change),
        )

    def _move(self, workflow: str, old: str, new: str) -> None:
        if old != new:
            self._counted(workflow, old, -1)
            self._counted(workflow, new, 1)

    def _append(self, x: int, length: int, entries: tuple[bytes, ...]) -> None:
        self._db.executemany(
            "INSERT INTO log VALUES (?, ?, ?, ?)",
            [(x, length + i, entry, zlib.crc32(entry)) for i, entry in enumerate(entries)],
        )

    def _messages(self, x: int, seen: int, db: sqlite3.Connection) -> tuple[r.Message, ...]:
        rows = db.execute("SELECT seq, kind, name, payload, at FROM inbox WHERE x=? AND seq>? ORDER BY seq", (x, seen))
        return tuple(r.Message(*row) for row in rows)

    def _ready_at(self, queue: str, priority: int) -> float:
        self._woken[queue] = None
        return self._now - priority * r.PRIORITY_STEP

    # --- executions --------------------------------------------------------------------------------------------

    def _create(self, request: r.Create) -> r.Created:
        found = self._db.execute(
            f"SELECT {_HEADER} FROM execution WHERE ns=? AND id=?", (self._ns, request.id)
        ).fetchone()
        if found is not None:
            return r.Created(r.Header(*found), False, self._now)
        later = request.at is not None and request.at > self._now
        begin = request.at if later and request.at is not None else self._now
        due = begin if later else self._ready_at(request.queue, request.priority)
        self._woken[request.queue] = None
        header = r.Header(
            request.id, request.workflow, request.version, request.queue, "pending", request.input, self._now, self._now,
            parent_id=request.parent_id, metadata=request.metadata, priority=request.priority, retention=request.retention,
            deadline=None if request.timeout is None else begin + request.timeout, length=len(request.entries),
            amendments=request.amendments, due_at=due,
        )  # fmt: skip
        marks = ", ".join("?" * len(schema.COLUMNS))
        x = self._db.execute(
            f"INSERT INTO execution (ns, {_HEADER}) VALUES (?, {marks})",
            (self._ns, *(getattr(header, name) for name in schema.COLUMNS)),
        ).lastrowid
        assert x is not None
        if request.entries:
            self._append(x, 0, request.entries)
        self._counted(request.workflow, "pending", 1)
        return r.Created(header, True, self._now)

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
            held = self._take(request, lanes)
        claimed = []
        for x, id in held:
            claimed.append(r.Claimed(self._known(id, self._db)[1], self._messages(x, 0, self._db)))
        next_due = self._next_due(lanes)
        known = {w for w, _ in request.workflows}
        schedules = [s for s in map(_schedule_of, self._db.execute(_DUE_SCHEDULES, (ns,))) if s.workflow in known]
        due = tuple(s for s in schedules if s.next_at is not None and s.next_at <= now)[:16]
        later = [s.next_at for s in schedules if s.next_at is not None and s.next_at > now][:1]
        dues = [*later, *([next_due] if next_due is not None else [])]
        return r.Claims(now, tuple(claimed), max(min(dues), now) if dues else None, due)

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
                "SELECT due_at, x, id, workflow, status, token, lost FROM execution"
                " WHERE ns=? AND queue=? AND workflow=? AND version=? AND due_at <= ? ORDER BY due_at, x LIMIT ?",
                (self._ns, *lane, now, request.limit + 8),
            ).fetchall()
        rows.sort()
        taken: list[tuple[int, str]] = []
        for _, x, id, workflow, status, token, lost in rows:
            if len(taken) == request.limit:
                break
            if token is not None and lost + 1 >= r.MAX_LOST:
                self._move(workflow, status, "stuck")
                self._set(
                    x, status="stuck", token=None, worker=None, lost=r.MAX_LOST - 1, updated_at=now,
                    due_at=now + r.CRASH_LOOP_DELAY, current=b'[{"kind":"crash_loop"}]',
                )  # fmt: skip
                continue
            cancel = self._db.execute("SELECT 1 FROM inbox WHERE x=? AND kind='cancel'", (x,)).fetchone()
            new = "cancelling" if cancel else "running"
            self._move(workflow, status, new)
            self._set(
                x, status=new, token=request.nonce, worker=request.worker, updated_at=now, due_at=now + request.lease,
                lost=lost + (token is not None),
            )  # fmt: skip
            taken.append((x, id))
        return taken

    def _commit(self, request: r.Commit) -> r.Committed:
        row = self._db.execute(
            "SELECT x, workflow, queue, status, token, length, last_commit, ended_at, arrivals, due_at, priority"
            " FROM execution WHERE ns=? AND id=?",
            (self._ns, request.id),
        ).fetchone()
        if row is None:
            raise common.fenced(request.id, "it is gone")
        x, workflow, queue, status, token, length, last_commit, ended_at, arrivals, due_at, priority = row
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
        if request.cancels:  # a child that had not begun ends at once, and tells this very execution
            arrivals = self._db.execute("SELECT arrivals FROM execution WHERE x=?", (x,)).fetchone()[0]
        extra: dict[str, Any] = {}
        if request.current is not None:
            extra["current"] = request.current
        if request.attempt is not None:
            extra["attempt"] = request.attempt
        length += len(request.entries)
        # `arrivals` counts consumed messages too, so it only tells that looking is worth while.
        messages = self._messages(x, request.seen, self._db) if arrivals > request.seen else ()
        match request.then:
            case r.Keep(lease):
                return self._keep(x, request, length, lease, due_at, extra, messages)
            case r.Park(_, _, lease) if messages:
                return self._keep(x, request, length, lease, None, extra, messages)
            case r.Park(new, wake_at, _):
                extra |= {"status": new, "due_at": wake_at}
                if wake_at is not None and wake_at <= self._now:
                    self._woken[queue] = None
            case r.Yield():
                new = "pending"
                extra |= {"status": new, "due_at": self._ready_at(queue, priority)}
            case r.Restart(input):
                new = "pending"
                self._db.execute("DELETE FROM log WHERE x=?", (x,))
                self._db.execute("UPDATE execution SET run = run + 1, amendments = 0 WHERE x=?", (x,))
                extra |= {
                    "status": new,
                    "due_at": self._ready_at(queue, priority),
                    "input": input,
                    "attempt": 1,
                    "current": b"[]",
                }
                length = 0
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
        parent, retention = self._db.execute("SELECT parent_id, retention FROM execution WHERE x=?", (x,)).fetchone()
        self._move(workflow, status, end.status)
        self._set(
            x, status=end.status, result=end.result, error=end.error, ended_at=self._now, updated_at=self._now, token=None,
            worker=None, due_at=None, current=b"[]", purge_at=None if retention is None else self._now + retention,
        )  # fmt: skip
        watchers = [id for (id,) in self._db.execute("SELECT id FROM watcher WHERE x=?", (x,))]
        for table in ("inbox", "accepted", "watcher"):
            self._db.execute(f"DELETE FROM {table} WHERE x=?", (x,))
        payload = common.ended_payload(end)
        for watcher in dict.fromkeys(([parent] if parent else []) + watchers):
            with contextlib.suppress(UnknownExecution):
                w, header = self._known(watcher, self._db)
                if header.ended_at is None:
                    self._arrive(w, header, f"end:{id}:{header.run}", "ended", id, payload)

    def _arrive(self, x: int, header: r.Header, message_id: str, kind: str, name: str, payload: bytes) -> bool:
        if not self._db.execute("INSERT OR IGNORE INTO accepted VALUES (?, ?)", (x, message_id)).rowcount:
            return False
        seq = header.arrivals + 1
        self._db.execute("INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?)", (x, seq, kind, name, payload, self._now))
        if header.token is None and header.status not in ("pending", "stuck"):
            self._set(x, arrivals=seq, due_at=self._ready_at(header.queue, header.priority))
        else:
            self._set(x, arrivals=seq)
        return True

    def _beat(self, request: r.Beat) -> r.Beats:
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
        return r.Beats(self._now, tuple(lost), tuple(news))

    def _load(self, request: r.Load, db: sqlite3.Connection) -> list[bytes]:
        row = db.execute("SELECT x FROM execution WHERE ns=? AND id=?", (self._ns, request.id)).fetchone()
        if row is None:
            raise common.unknown(request.id)
        rows = db.execute(
            "SELECT entry, crc FROM log WHERE x=? AND seq>=? ORDER BY seq", (row[0], request.after)
        ).fetchall()
        for index, (entry, crc) in enumerate(rows):
            if zlib.crc32(entry) != crc:
                raise Undecodable(
                    f"execution {request.id!r}, log entry #{request.after + index}: its checksum is wrong (damaged file)"
                )
        return [entry for entry, _ in rows]

    # --- arrivals ---------------------------------------------------------------------------------------------------

    def _deliver(self, request: r.Deliver) -> r.Delivered:
        x, header = self._known(request.id, self._db)
        message_id = "cancel" if request.kind == "cancel" else f"m:{request.message_id}"
        if self._db.execute("SELECT 1 FROM accepted WHERE x=? AND message_id=?", (x, message_id)).fetchone():
            return r.Delivered(self._now, True)
        if header.ended_at is not None:
            raise common.has_ended(header.id, header.status)
        if request.kind == "cancel" and header.token is None and header.status == "pending" and not header.length:
            self._end(x, header.id, header.workflow, header.status, r.End("cancelled", error=request.payload))
            return r.Delivered(self._now, False, tuple(self._woken))
        self._arrive(x, header, message_id, request.kind, request.name, request.payload)
        if request.kind == "cancel" and header.token is not None:
            self._move(header.workflow, header.status, "cancelling")
            self._set(x, status="cancelling", updated_at=self._now)
        return r.Delivered(self._now, False, tuple(self._woken))

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
        payload = common.ended_payload(r.End(header.status, header.result, header.error))
        fresh = self._arrive(w, watcher, f"end:{header.id}:{watcher.run}", "ended", header.id, payload)
        return r.Delivered(self._now, not fresh, tuple(self._woken))

    # --- reading ------------------------------------------------------------------------------------------------------

    def _find(self, query: r.Find, db: sqlite3.Connection) -> r.Found:
        where, values = ["ns=?"], [self._ns]
        if query.statuses:
            where.append(f"status IN ({', '.join('?' * len(query.statuses))})")
            values += query.statuses
        for column, value in (
            ("workflow=?", query.workflow),
            ("parent_id=?", query.parent_id),
            ("created_at>?", query.created_after),
            ("created_at<?", query.created_before),
            ("updated_at>?", query.updated_after),
            ("updated_at<?", query.updated_before),
            ("ended_at IS NULL AND due_at<?", query.due_before),
        ):
            if value is not None:
                where.append(column)
                values.append(value)  # type: ignore[arg-type]
        if query.id_prefix is not None:
            where.append("substr(id, 1, ?)=?")
            values += [len(query.id_prefix), query.id_prefix]  # type: ignore[list-item]
        if query.cursor is not None:
            where.append("(created_at, id) < (?, ?)")
            values += common.read_cursor(query.cursor)  # type: ignore[arg-type]
        rows = db.execute(
            f"SELECT {_HEADER} FROM execution WHERE {' AND '.join(where)} ORDER BY created_at DESC, id DESC", values
        )
        found: list[r.Header] = []
        for row in rows:
            header = r.Header(*row)
            if query.metadata and not common.matches(header, query):
                continue
            if len(found) == query.limit:
                return r.Found(tuple(found), common.make_cursor(found[-1].created_at, found[-1].id))
            found.append(header)
        return r.Found(tuple(found))

    def _count(self, request: r.Count, db: sqlite3.Connection) -> dict[str, int]:
        rows = db.execute(
            "SELECT status, sum(n) FROM count WHERE ns=? AND (? IS NULL OR workflow=?) GROUP BY status HAVING sum(n) > 0",
            (self._ns, request.workflow, request.workflow),
        )
        return dict(rows.fetchall())

    # --- operators --------------------------------------------------------------------------------------------------------

    def _amend(self, request: r.Amend) -> r.Amended:
        x, header = self._known(request.id, self._db)
        if header.last_commit == request.nonce:
            return r.Amended(header, self._now)
        if header.status not in request.statuses or header.length != request.expected:
            raise common.not_allowed(header.id, header.status, header.length, request.statuses, request.expected)
        self._append(x, header.length, request.entries)
        self._set(
            x, length=header.length + len(request.entries), last_commit=request.nonce, token=None, worker=None,
            amendments=header.amendments + request.amendments,
            attempt=header.attempt if request.attempt is None else request.attempt,
        )  # fmt: skip
        if request.then is not None:
            self._end(x, header.id, header.workflow, header.status, request.then)
        else:
            self._move(header.workflow, header.status, "pending")
            self._set(
                x, status="pending", result=None, error=None, ended_at=None, purge_at=None, deadline=None, lost=0, updated_at=self._now,
                due_at=self._ready_at(header.queue, header.priority),
            )  # fmt: skip
        return r.Amended(self._known(request.id, self._db)[1], self._now, tuple(self._woken))

    def _delete(self, request: r.Delete) -> bool:
        try:
            x, header = self._known(request.id, self._db)
        except UnknownExecution:
            return False
        if header.ended_at is None:
            raise OperatorRefused(
                f"execution {header.id!r} is {header.status}; only ended executions are deleted. Fix: cancel it first"
            )
        self._remove(x, header.workflow, header.status)
        return True

    def _remove(self, x: int, workflow: str, status: str) -> None:
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
        return len(rows)

    # --- schedules --------------------------------------------------------------------------------------------------------

    def _schedule(self, id: str, db: sqlite3.Connection) -> r.Schedule | None:
        row = db.execute(f"{_SCHEDULES} AND id=?", (self._ns, id)).fetchone()
        return None if row is None else _schedule_of(row)

    def _put_schedule(self, request: r.PutSchedule) -> r.Put:
        stored = self._schedule(request.row.id, self._db)
        if (stored.version if stored is not None else 0) != request.expected:
            return r.Put(False, stored, self._now)
        row = attrs.evolve(request.row, version=request.expected + 1)
        self._db.execute(
            "INSERT OR REPLACE INTO schedule VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (self._ns, row.id, row.workflow, row.spec, row.state, row.next_at, row.paused, row.version),
        )
        for id in request.cancels:
            self._cancel_quietly(id)
        for create in request.creates:
            self._create(create)
        return r.Put(True, row, self._now, tuple(self._woken))

    def _drop_schedule(self, request: r.DropSchedule) -> r.Put:
        stored = self._schedule(request.id, self._db)
        if stored is None or stored.version != request.expected:
            return r.Put(stored is None, stored, self._now)
        self._db.execute("DELETE FROM schedule WHERE ns=? AND id=?", (self._ns, request.id))
        return r.Put(True, None, self._now)


_SCHEDULES = "SELECT id, workflow, spec, state, next_at, paused, version FROM schedule WHERE ns=?"
_DUE_SCHEDULES = f"{_SCHEDULES} AND paused=0 AND next_at IS NOT NULL ORDER BY next_at LIMIT 64"


def _schedule_of(row: Any) -> r.Schedule:
    id, workflow, spec, state, next_at, paused, version = row
    return r.Schedule(id, workflow, spec, state, next_at, bool(paused), version)


def open_store(url: str, *, namespace: str = "default", clock: Clock | None = None) -> SqliteStore:
    """Open `sqlite:///relative.db` or `sqlite:////absolute.db`; `?synchronous=NORMAL` trades power-cut safety for speed.

    Raises:
        ConfigError: The URL is malformed, or the file is not a replay store.
    """
    path, _, query = url.removeprefix("sqlite://").partition("?")
    options = dict(part.partition("=")[::2] for part in query.split("&") if part)
    if not path.startswith("/") or len(path) < 2 or options.keys() - {"synchronous"}:
        raise ConfigError(
            f"{url!r} is not an SQLite store. Fix: sqlite:///relative.db or sqlite:////absolute/path.db (?synchronous=FULL|NORMAL)"
        )
    return SqliteStore(
        unquote(path[1:]), namespace=namespace, clock=clock, synchronous=options.get("synchronous", "FULL").upper()
    )
