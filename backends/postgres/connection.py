"""One connection to a PostgreSQL, opened again after a loss, and the classes of its errors."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import errors

from replay.backends.postgres.url import PostgresUrl
from replay.core.errors import ConfigError, ReplayError, StoreUnavailable
from replay.logs import get_logger

log = get_logger("replay.postgres")

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between attempts to connect."""

MOST_CONFLICTS = 50
"""Deadlocks in a row that one transaction may lose."""

_KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""A silent partition ends a connection within some ten seconds, not after a quarter of an hour."""

_LOST_CLASSES = ("08", "57P", "53")
_LOST_STATES = {"25006", "25P03", "57014"}  # a demoted primary; a session that idled too long; a cancelled statement
_REFUSED_CLASSES = ("28", "3D", "3F", "42")
_OLDEST = 140_000


class AskAgain(Exception):
    """The server rolled a transaction back in favour of another one: the same requests are performed once more."""


def is_conflict(error: Exception) -> bool:
    """Tell whether a transaction lost against another one: a deadlock, or a claim that was repeated meanwhile."""
    return isinstance(error, AskAgain | errors.DeadlockDetected | errors.SerializationFailure)


def is_blocked(error: Exception) -> bool:
    """Tell whether a transaction gave up waiting for a lock: a user's own transaction may hold one for long."""
    return isinstance(error, errors.LockNotAvailable)


def is_loss(error: Exception) -> bool:
    """Tell whether the server, or the way to it, was lost: the same requests are performed on another connection."""
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state.startswith(_LOST_CLASSES) or state in _LOST_STATES


def refusal(url: PostgresUrl, error: psycopg.Error) -> ReplayError:
    """Return the error to raise for a server that refuses us for good."""
    text = str(error).strip().splitlines()[0]
    if _is_refusal(error):
        return ConfigError(f"{url.shown}: {text}. Fix: check user, password, database and rights")
    return StoreUnavailable(f"{url.shown}: {text}")


_LOGIN_TEXTS = ("password authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")


def _is_refusal(error: psycopg.Error) -> bool:
    """Tell whether to connect again is useless. An error of connecting has no code, and its text may be translated."""
    if error.sqlstate is not None:
        return bool(error.sqlstate.startswith(_REFUSED_CLASSES))
    return any(text in str(error) for text in _LOGIN_TEXTS)


class Database:
    """A connection in autocommit that is opened when it is first used. One thread at a time may use it, under `lock`.

    Statements name tables as `@name`; the schema takes the place of the `@`, so that no session state is needed.
    """

    def __init__(self, url: PostgresUrl) -> None:
        self.url = url
        self.lock = threading.Lock()
        self.statements = 0
        self._prefix = f'"{url.schema}".'
        self._texts: dict[str, bytes] = {}
        self._connection: psycopg.Connection[Any] | None = None
        self._closed = False

    # --- statements --------------------------------------------------------------------------------------

    def execute(self, statement: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Perform one statement; results come in binary."""
        cursor = self.connected().cursor(binary=True)
        self.statements += 1
        cursor.execute(self.text(statement), values or None)
        return cursor

    def text(self, statement: str) -> bytes:
        """Return *statement* with the schema in its place."""
        text = self._texts.get(statement)
        if text is None:
            text = self._texts[statement] = statement.replace("@", self._prefix).encode()
        return text

    @contextlib.contextmanager
    def transaction(self, *beginning: str) -> Iterator[None]:
        """Perform *beginning* and the block's statements as one transaction.

        Statements whose results nobody fetches cost no round trip.
        """
        connection = self.connected()
        try:
            with connection.pipeline():
                self.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                for statement in beginning:
                    self.execute(statement)
                yield
                self.execute("COMMIT")
        except BaseException as error:
            self._end(connection, error)
            raise

    def _end(self, connection: psycopg.Connection[Any], error: BaseException) -> None:
        """Roll back, or give the connection up if its state is unknown: then the server rolls back."""
        if isinstance(error, Exception) and not connection.closed:
            with contextlib.suppress(psycopg.Error):
                connection.execute("ROLLBACK")
                return
        self.drop()

    # --- the connection ----------------------------------------------------------------------------------

    def connected(self) -> psycopg.Connection[Any]:
        """Return the open connection.

        Raises:
            psycopg.Error: There is none, and none can be opened.
            StoreUnavailable: It was closed for good.
        """
        found = self._connection
        if found is not None and not found.closed:
            return found
        if self._closed:
            raise StoreUnavailable(f"the store {self.url.shown} is closed")
        self._connection = self.open()
        return self._connection

    def open(self) -> psycopg.Connection[Any]:
        """Open a connection of its own for the caller.

        Raises:
            psycopg.Error: Nobody answers, or we are refused.
            ConfigError: The server is too old, or its database is not in UTF-8.
        """
        several = {"target_session_attrs": "read-write"} if "," in self.url.login["host"] else {}
        options = {**_KEEPALIVE, **several, "application_name": "replay"}
        connection = psycopg.connect(**{**options, **self.url.login}, autocommit=True)
        connection.prepare_threshold = None if self.url.pooler else 2
        version, encoding = connection.info.server_version, connection.info.parameter_status("server_encoding")
        problem = ""
        if version < _OLDEST:
            problem = f"PostgreSQL is {version // 10_000}, 14 is needed. Fix: upgrade the server"
        elif encoding not in ("UTF8", None):
            problem = f"its database is in {encoding}. Fix: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        if problem:
            connection.close()
            raise ConfigError(f"{self.url.shown}: {problem}")
        return connection

    def drop(self) -> None:
        """Give the connection up; the next statement opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def leave(self) -> object:
        """Return the connection without closing it, as it is the parent's after a fork."""
        connection, self._connection = self._connection, None
        return connection

    def close(self) -> None:
        """Close for good. Safe to call twice."""
        self._closed = True
        self.drop()

    def patiently(self, work: Callable[[], T], conflicts: int = MOST_CONFLICTS) -> T:
        """Perform *work*, again after conflicts and losses: each of our transactions may be repeated as it is.

        Raises:
            StoreUnavailable: The server was away for the URL's `deadline`.
            ConfigError: The server refuses us.
            psycopg.Error, AskAgain: It lost against others more often than *conflicts*, or its statement is refused.
        """
        deadline = time.monotonic() + self.url.deadline
        pause = FIRST_PAUSE
        while True:
            try:
                return work()
            except (psycopg.Error, AskAgain) as error:
                if is_conflict(error):
                    log.debug("a transaction lost against another one and is repeated: %s", error)
                    conflicts -= 1
                    if conflicts < 0:
                        raise
                    continue
                if not is_loss(error) or not isinstance(error, psycopg.Error):
                    raise
                self.drop()
                if _is_refusal(error) or time.monotonic() + pause > deadline:
                    raise refusal(self.url, error) from error
                time.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
