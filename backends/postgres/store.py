"""The store in a PostgreSQL: many processes share it, and every answered request survives a crash of the server.

All requests that threads of this process have waiting are performed in one transaction (group commit): one flush to disk for all.
A transaction that lost against another one, or whose connection was lost, is repeated as it is: every request is idempotent.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import psycopg

from replay.backends.postgres import schema
from replay.backends.postgres.connection import LONGEST_PAUSE, Database, is_blocked, is_conflict, refusal
from replay.backends.postgres.guest import Guests
from replay.backends.postgres.operations import Operations
from replay.backends.postgres.rows import one
from replay.backends.postgres.url import PostgresUrl
from replay.core import requests as r
from replay.core.errors import ReplayError, StoreUnavailable
from replay.ports import Clock

TOGETHER = 2
"""Deadlocks that a batch may lose until its requests are performed one by one, each with fewer locks."""

BLOCKED_PAUSE = 0.1
"""Seconds until what a user's open transaction blocks is performed again."""

_PATIENCE = ("SET LOCAL lock_timeout = '100ms'",)
_BLOCKED = object()
_TIME = "SELECT extract(epoch FROM clock_timestamp())::float8"
_LOCK_PARENTS = """SELECT 1 FROM @execution WHERE ns=%s AND id = ANY(ARRAY(
    SELECT unnest(%s::text[]) UNION SELECT parent_id FROM @execution WHERE ns=%s AND id = ANY(%s::text[])
    AND parent_id IS NOT NULL)) ORDER BY x FOR UPDATE"""


class _Job:
    """The requests of one caller, and their fate."""

    __slots__ = ("done", "error", "replies", "requests")

    def __init__(self, requests: Sequence[r.Request[Any]]) -> None:
        self.requests = requests
        self.replies: list[Any] = []
        self.error: Exception | None = None
        self.done = False


class PostgresStore(Operations):
    """See `replay.ports.Store`.

    Args:
        url: Server, login and options.
        namespace: Keeps applications apart that share a schema.
        clock: The store's clock (default: the server's).
    """

    def __init__(self, url: PostgresUrl, *, namespace: str = "default", clock: Clock | None = None) -> None:
        super().__init__(namespace)
        self.url = url
        self._clock = clock
        self._closed = False
        self._identity: str | None = None
        self._guests: Guests | None = None
        self._open()
        try:
            self._db.patiently(lambda: schema.prepare(self._db))
        except psycopg.Error as error:
            self.close()
            raise refusal(url, error) from error
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"PostgresStore({self.url.shown!r}, namespace={self._ns!r})"

    # --- connections -----------------------------------------------------------------------------------

    def _open(self) -> None:
        self._pid = os.getpid()
        self._db, self._read = Database(self.url), Database(self.url)
        self._waiting: deque[_Job] = deque()
        self._moves = {}

    def close(self) -> None:
        """See `replay.ports.Store.close`."""
        self._closed = True
        if self._pid != os.getpid():  # forked, and not used since: what there is belongs to the parent
            _inherited.append((self._db.leave(), self._read.leave()))
            return
        with self._db.lock, self._read.lock:
            self._db.close()
            self._read.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the store {self.url.shown} is closed")
        if self._pid != os.getpid():  # forked: connections must not be shared with the parent, nor closed
            _inherited.append((self._db.leave(), self._read.leave()))
            self._open()

    # --- in users' transactions --------------------------------------------------------------------------

    def apply_within(self, connection: Any, requests: Sequence[r.Request[Any]]) -> list[Any]:
        """Perform `Create`, `Deliver` and `Get` on a user's connection, in the transaction that it is in.

        Raises:
            ConfigError: *connection* is none of psycopg's, or leads to another database.
        """
        self._check_open()
        if self._identity is None:
            statement = "SELECT value FROM @meta WHERE key = 'identity'"
            with self._read.lock:
                self._identity = one(self._read.patiently(lambda: self._read.execute(statement).fetchone()))[0]
        if self._guests is None:
            self._guests = Guests(self._db, self._ns)
        now = None if self._clock is None else self._clock.now()
        return self._guests.apply(connection, requests, self._identity or "", now)

    # --- batches -----------------------------------------------------------------------------------------

    def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        """See `replay.ports.Store.apply`."""
        self._check_open()
        if all(type(request) in r.READS for request in requests):
            return self._apply_reads(requests)
        job = _Job(requests)
        self._waiting.append(job)
        with self._db.lock:  # whoever gets in first performs what the others have waiting too
            if not job.done:
                # One by one: another thread may be adding its job at this moment, and none must get lost in between.
                self._apply_jobs([self._waiting.popleft() for _ in range(len(self._waiting))])
        if job.error is not None:
            raise job.error
        if any(reply is _BLOCKED for reply in job.replies):
            self._apply_again(job)
        return job.replies

    def _apply_again(self, job: _Job) -> None:
        """Perform again what a user's open transaction blocks, without holding others up meanwhile.

        Raises:
            StoreUnavailable: It is blocked for the URL's `deadline`.
        """
        deadline, pause = time.monotonic() + self.url.deadline, BLOCKED_PAUSE
        blocked = [index for index, reply in enumerate(job.replies) if reply is _BLOCKED]
        while blocked:
            if time.monotonic() + pause > deadline:
                raise StoreUnavailable(
                    f"{self.url.shown}: an open transaction has started the same execution, and does not end. "
                    "Fix: ask again; keep transactions with starts in them short"
                )
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
            with self._db.lock:
                for index in blocked:
                    job.replies[index] = self._perform_alone(job.requests[index])
            blocked = [index for index in blocked if job.replies[index] is _BLOCKED]

    def _apply_reads(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        with self._read.lock:
            return [self._read_alone(request) for request in requests]

    def _read_alone(self, request: r.Request[Any]) -> Any:
        try:
            return self._read.patiently(lambda: self._answer(request, self._read))
        except psycopg.Error as error:
            return self._cannot(request, error)

    def _apply_jobs(self, jobs: list[_Job]) -> None:
        try:
            replies = iter(self._perform_together([request for job in jobs for request in job.requests]))
            for job in jobs:
                job.replies = [next(replies) for _ in job.requests]
        except ReplayError as error:
            for job in jobs:
                job.error = error
        except BaseException:
            for job in jobs:
                job.error = StoreUnavailable(f"{self.url.shown}: the thread that wrote was interrupted")
            raise
        finally:
            for job in jobs:
                job.done = True

    def _perform_together(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        try:
            return self._db.patiently(lambda: self._transact(requests), conflicts=TOGETHER)
        except ReplayError:
            raise
        except Exception:  # one request cannot be written, or locks too much: it must not become everybody's trouble
            return [self._perform_alone(request) for request in requests]

    def _perform_alone(self, request: r.Request[Any]) -> Any:
        try:
            return self._db.patiently(lambda: self._transact([request]))[0]
        except ReplayError:
            raise
        except Exception as error:
            if is_blocked(error):
                return _BLOCKED
            if is_conflict(error):
                raise StoreUnavailable(f"{self.url.shown}: transactions conflict again and again: {error}") from error
            return self._cannot(request, error)

    def _cannot(self, request: r.Request[Any], error: Exception) -> ReplayError:
        text = (str(error).strip().splitlines() or [""])[0]
        found = ReplayError(
            f"the PostgreSQL store cannot perform {type(request).__name__}: {type(error).__name__}: {text}"
        )
        found.__cause__ = error
        return found

    def _transact(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        """Perform *requests* in one transaction."""
        self._moves = {}
        with self._db.transaction(*(_PATIENCE if any(map(_creates, requests)) else ())):
            self._lock_named(requests)
            now = self._server_time(self._db)
            self._now = max(self._now, now)
            replies = [self._perform(request) for request in requests]
            self._flush_counts()
        return replies

    def _server_time(self, db: Database) -> float:
        """Return the time of the server, or of the clock that we were given."""
        if self._clock is not None:
            return self._clock.now()
        row = db.execute(_TIME).fetchone()
        assert row is not None
        return float(row[0])

    def _lock_named(self, requests: Sequence[r.Request[Any]]) -> None:
        """Lock all executions that *requests* name, in their order: who locks one by one waits for somebody who waits for him."""
        ids: dict[str, None] = {}
        children: dict[str, None] = {}  # whose end notifies a parent
        for request in requests:
            match request:
                case r.Commit():
                    ids.update(dict.fromkeys((request.id, *request.cancels)))
                    children.update(dict.fromkeys(request.cancels))
                    if isinstance(request.then, r.End):
                        children[request.id] = None
                case r.Deliver():
                    ids[request.id] = None
                    if request.kind == "cancel":
                        children[request.id] = None
                case r.Amend():
                    ids[request.id] = None
                    if request.then is not None:
                        children[request.id] = None
                case r.Watch():
                    ids.update(dict.fromkeys((request.id, request.watcher)))
                case r.Delete():
                    ids[request.id] = None
                case r.RenewLeases():
                    ids.update(dict.fromkeys(lease.id for lease in request.held))
                case r.PutSchedule():
                    ids.update(dict.fromkeys(request.cancels))
                    children.update(dict.fromkeys(request.cancels))
        if children:
            self._db.execute(_LOCK_PARENTS, (self._ns, list(ids), self._ns, list(children)))
        else:
            self._lock_all(ids)

    def _perform(self, request: r.Request[Any]) -> Any:
        """Perform *request* in the transaction that has begun; what was woken is the request's own."""
        self._woken = {}
        if type(request) in r.READS:
            return self._answer(request, self._db)
        try:
            match request:
                case r.Commit():
                    return self._commit(request)
                case r.Create():
                    return self._create(request)
                case r.Claim():
                    return self._claim(request)
                case r.RenewLeases():
                    return self._renew_leases(request)
                case r.Deliver():
                    return self._deliver(request)
                case r.Watch():
                    return self._watch(request)
                case r.Forget():
                    return self._forget(request)
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
                case r.Register():
                    return self._register(request)
                case _:
                    raise TypeError(f"{type(request).__name__} is not a request that this store knows")
        except ReplayError as refused:
            return refused

    def _answer(self, request: r.Request[Any], db: Database) -> Any:
        """Answer a read; may run beside a transaction, whose state it leaves alone."""
        try:
            match request:
                case r.Load():
                    return self._load(request, db)
                case r.Get():
                    return self._header(request.id, db)
                case r.Inbox():
                    return self._inbox(request.id, db)
                case r.Find():
                    return self._find(request, db)
                case r.Count():
                    return self._count(request, db)
                case r.GetSchedule():
                    return self._schedule(request.id, db)
                case r.ListSchedules():
                    return self._schedules(request, db)
                case r.Workers():
                    return self._workers(max(self._now, self._server_time(db)), db)
                case _:  # Ping
                    db.execute("SELECT 1").fetchone()
                    return max(self._now, self._server_time(db))
        except ReplayError as refused:
            return refused


def _creates(request: r.Request[Any]) -> bool:
    """Tell whether a user's open transaction, which may have made the same execution, can block *request*."""
    return isinstance(request, r.Create) or (isinstance(request, r.Commit | r.PutSchedule) and bool(request.creates))


_inherited: list[object] = []  # kept from being closed, see `_check_open`
