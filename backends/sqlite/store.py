"""The store in one SQLite file: several processes may share it, and every answered request survives a crash.

All requests that threads of this process have waiting are performed in one transaction (group commit): one flush to disk for all.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from replay.backends.sqlite import identity, schema
from replay.backends.sqlite.file_lock import FileLock
from replay.backends.sqlite.operations import Operations
from replay.core import requests as r
from replay.core.errors import (
    ConfigError,
    ReplayError,
    StoreUnavailable,
)
from replay.ports import Clock
from replay.redaction import masked
from replay.url_options import Options, read_query

CHECKPOINT_EVERY = 200
"""Written requests after which the WAL (by then 2 to 5 MB) is moved into the file, so that it is written from its beginning again.

Overwriting is twice as fast as growing: a commit that makes a file longer also flushes the file system's own journal.
"""


class _Job:
    """The requests of one caller, and their fate."""

    __slots__ = ("done", "error", "replies", "requests")

    def __init__(self, requests: Sequence[r.Request[Any]]) -> None:
        self.requests = requests
        self.replies: list[Any] = []
        self.error: Exception | None = None
        self.done = False


class SqliteStore(Operations):
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
        super().__init__(namespace)
        self._synchronous = synchronous
        if clock is None:
            from time import time as now

            self._time: Callable[[], float] = now
        else:
            self._time = clock.now
        self._waiting: deque[_Job] = deque()
        self._writer = threading.Lock()
        self._reader = threading.Lock()
        self._written = 0
        self._closed = False
        self._open()

    # --- connections -----------------------------------------------------------------------------------

    def _open(self) -> None:
        schema.create_file(self.path)
        self._pid = os.getpid()
        self._lock = FileLock(f"{self.path}-lock")
        with self._lock.held():
            identity.set_stale_wal_aside(self.path, self._lock.descriptor)
            self._db = schema.connect(self.path, self._synchronous)
            schema.prepare(self._db, self.path)
            self._read = schema.connect(self.path, self._synchronous)
        self._identity = identity.identity_of(self.path)

    def close(self) -> None:
        """See `replay.ports.Store.close`."""
        if self._pid != os.getpid():  # forked, and not used since: what there is belongs to the parent
            _inherited.append((self._db, self._read))
            self._closed = True
            return
        with self._writer, self._reader:
            if not self._closed:
                self._closed = True
                self._db.close()
                self._read.close()
                self._lock.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the store {self.path.name} is closed")
        if self._pid != os.getpid():  # forked: connections must not be shared with the parent, nor closed
            _inherited.append((self._db, self._read))
            self._writer, self._reader = threading.Lock(), threading.Lock()
            self._waiting = deque()
            self._open()

    # --- batches -----------------------------------------------------------------------------------------

    def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        """See `replay.ports.Store.apply`."""
        self._check_open()
        if all(type(request) in r.READS for request in requests):
            return self._apply_reads(requests)
        job = _Job(requests)
        self._waiting.append(job)
        with self._writer:  # whoever gets in first performs what the others have waiting too
            if not job.done:
                # One by one: another thread may be adding its job at this moment, and none must get lost in between.
                self._apply_jobs([self._waiting.popleft() for _ in range(len(self._waiting))])
        if job.error is not None:
            raise job.error
        return job.replies

    def _apply_reads(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        with self._reader:
            try:
                return [self._answer(request, self._read) for request in requests]
            except sqlite3.Error as error:
                raise StoreUnavailable(f"SQLite file {self.path.name}: {error}") from error

    def _apply_jobs(self, jobs: list[_Job]) -> None:
        try:
            try:
                with self._transaction():
                    for job in jobs:
                        job.replies = [self._perform(request) for request in job.requests]
                    self._flush_counts()
            except (sqlite3.OperationalError, StoreUnavailable):
                raise
            except Exception:  # one request cannot be written: it must not become everybody's trouble
                for job in jobs:
                    job.replies = [self._perform_alone(request) for request in job.requests]
            self._checkpoint(sum(len(job.requests) for job in jobs))
        except (sqlite3.Error, StoreUnavailable) as error:
            for job in jobs:
                job.error = self._unavailable(error)
        except BaseException:
            for job in jobs:
                job.error = StoreUnavailable(f"SQLite file {self.path.name}: the thread that wrote was interrupted")
            raise
        finally:
            for job in jobs:
                job.done = True

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return (
            error if isinstance(error, StoreUnavailable) else StoreUnavailable(f"SQLite file {self.path.name}: {error}")
        )

    def _perform_alone(self, request: r.Request[Any]) -> Any:
        try:
            with self._transaction():
                reply = self._perform(request)
                self._flush_counts()
            return reply
        except (sqlite3.OperationalError, StoreUnavailable):
            raise
        except Exception as error:
            refusal = ReplayError(
                f"the SQLite store cannot perform {type(request).__name__}: {type(error).__name__}: {error}"
            )
            refusal.__cause__ = error
            return refusal

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        db = self._db
        with self._lock.held():
            identity.check(self.path, self._identity)
            db.execute("BEGIN IMMEDIATE")
            try:
                yield
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                self._moves = {}
                raise

    def _checkpoint(self, written: int) -> None:
        """Move the WAL into the file now and then, as far as no reader is in the way."""
        self._written += written
        if self._written >= CHECKPOINT_EVERY:
            self._written = 0
            with self._lock.held():
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _perform(self, request: r.Request[Any]) -> Any:
        """Perform *request* in the transaction that has begun; time and what was woken are the transaction's own."""
        self._now = max(self._now, self._time())
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
                    return None
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
        except ReplayError as refusal:
            return refusal

    def _answer(self, request: r.Request[Any], db: sqlite3.Connection) -> Any:
        """Answer a read; may run beside a transaction, whose state it leaves alone."""
        try:
            match request:
                case r.Load():
                    return self._load(request, db)
                case r.Get():
                    return self._header(request.id, db)
                case r.Inbox():
                    return self._messages(self._known(request.id, db)[0], 0, db)
                case r.Find():
                    return self._find(request, db)
                case r.Count():
                    return self._count(request, db)
                case r.GetSchedule():
                    return self._schedule(request.id, db)
                case r.ListSchedules():
                    return self._schedules(request, db)
                case r.Workers():
                    return self._workers(max(self._now, self._time()), db)
                case _:  # Ping
                    return max(self._now, self._time())
        except ReplayError as refusal:
            return refusal


_inherited: list[tuple[sqlite3.Connection, sqlite3.Connection]] = []  # kept from being closed, see `_check_open`


def open_store(url: str, *, namespace: str = "default", clock: Clock | None = None) -> SqliteStore:
    """Open `sqlite:///relative.db` or `sqlite:////absolute.db`; `?synchronous=NORMAL` trades power-cut safety for speed.

    Raises:
        ConfigError: The URL is malformed, or the file is not a replay store.
    """
    path, _, query = url.partition("://")[2].partition("?")
    if path == "/:memory:":
        raise ConfigError(
            "an SQLite store is a file. Fix: memory:// for a store within one process, or sqlite:///orders.db"
        )
    try:
        options = Options(read_query(query, ("synchronous",)))
        synchronous = options.word("synchronous", ("FULL", "NORMAL", "full", "normal")) or "FULL"
        if not path.startswith("/") or len(path) < 2 or "\0" in unquote(path):
            raise ValueError("its path is not that of a file")
    except ValueError as problem:
        raise ConfigError(
            f"{masked(url)!r} is not a usable URL of an SQLite store: {problem}. "
            "Fix: sqlite:///relative.db or sqlite:////absolute/path.db (?synchronous=FULL|NORMAL)"
        ) from None
    return SqliteStore(unquote(path[1:]), namespace=namespace, clock=clock, synchronous=synchronous.upper())
