"""Requests within a user's own transaction: they commit with the user's rows, or not at all.

Nothing but inserts happens there. A lock on an execution's row would hold its worker up until the user commits, and with it all
that this worker commits together: so a start is an insert, and a message is put into the outbox, from which workers deliver it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from replay.backends import common, damage
from replay.backends.postgres import schema
from replay.backends.postgres.bus import topic_of
from replay.backends.postgres.connection import Database
from replay.backends.postgres.messages import Message, payloads
from replay.backends.postgres.rows import FIELDS, HEADER, tick_of
from replay.core import refusals
from replay.core import requests as r
from replay.core import transitions as t
from replay.core.errors import ConfigError

_FIX = (
    "Fix: pass a connection or cursor of psycopg 3, a connection or session of SQLAlchemy on postgresql+psycopg://, "
    "or Django's `transaction.get_connection()` with psycopg 3"
)
_TIME = "SELECT extract(epoch FROM clock_timestamp())::float8"
_CREATE = f"""WITH made AS (
        INSERT INTO @execution (ns, updated_tick, {HEADER}) VALUES (%s, %s{", %s" * len(schema.COLUMNS)})
        ON CONFLICT (ns, id) DO NOTHING RETURNING x, ns, id, workflow, created_at),
    terms AS (INSERT INTO @metadata SELECT made.ns, term, made.created_at, made.id
        FROM made, unnest(%s::text[]) AS q(term) ON CONFLICT DO NOTHING),
    counted AS (INSERT INTO @count (ns, workflow, status, n) SELECT ns, workflow, 'pending', 1 FROM made)
    SELECT made.x, pg_notify(%s, %s) FROM made"""
_PUT = """WITH put AS (INSERT INTO @outbox (ns, id, message_id, kind, name, payload, at)
    VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING n) SELECT n, pg_notify(%s, %s) FROM put"""


class Guests:
    """Performs requests on connections of users.

    Args:
        db: The store's own connection, for the store's identity and schema.
        namespace: The store's namespace.
    """

    def __init__(self, db: Database, namespace: str) -> None:
        self._db = db
        self._ns = namespace
        self._topic = topic_of(db.url.schema, namespace)
        self._known: weakref.WeakSet[psycopg.Connection[Any]] = weakref.WeakSet()

    def apply(self, connection: Any, requests: Sequence[r.Request[Any]], identity: str, now: float | None) -> list[Any]:
        """Perform *requests* on *connection*, in its transaction. Its errors are the user's, who rolls back or goes on.

        Args:
            connection: The user's connection.
            requests: `Create`, `Deliver` and `Get`.
            identity: The store's.
            now: The store's time, None for the server's.

        Raises:
            ConfigError: The connection is none of psycopg's, or leads to another store.
        """
        found = unwrap(connection)
        if found not in self._known:
            self._check(found, identity)
            self._known.add(found)
        if now is None:
            (now,) = self._execute(found, _TIME, ()).fetchone()
        return [self._perform(found, request, now) for request in requests]

    def _execute(self, connection: psycopg.Connection[Any], statement: str, values: Sequence[Any]) -> Any:
        cursor = connection.cursor(binary=True, row_factory=tuple_row)
        return cursor.execute(self._db.text(statement), values or None, prepare=False)

    def _check(self, connection: psycopg.Connection[Any], identity: str) -> None:
        """Check that *connection* leads to this store, by statements that cannot fail and spoil the user's transaction."""
        table = f'"{self._db.url.schema}".meta'
        found: Any = self._execute(connection, "SELECT to_regclass(%s)", (table,)).fetchone()
        if found[0] is not None:
            found = self._execute(connection, "SELECT value FROM @meta WHERE key = 'identity'", ()).fetchone()
        if found is None or found[0] != identity:
            raise ConfigError(
                f"connection= leads to database {connection.info.dbname!r} of {connection.info.host}, which does not hold the "
                f"store {self._db.url.shown}. Fix: pass a connection to the store's own database"
            )

    def _perform(self, connection: psycopg.Connection[Any], request: r.Request[Any], now: float) -> Any:
        match request:
            case r.Create():
                return self._create(connection, request, now)
            case r.Deliver():
                return self._put(connection, request, now)
            case r.Get():
                return self._get(connection, request.id)
            case _:
                raise TypeError(f"{type(request).__name__} cannot be performed in a user's transaction")

    def _get(self, connection: psycopg.Connection[Any], id: str) -> r.Header | None:
        row = self._execute(
            connection, f"SELECT {HEADER} FROM @execution WHERE ns=%s AND id=%s", (self._ns, id)
        ).fetchone()
        return None if row is None else damage.header_of(row)

    def _create(self, connection: psycopg.Connection[Any], request: r.Create, now: float) -> r.Created:
        header = t.create(request, now)
        values = [getattr(header, name) for name in FIELDS]
        terms = list(common.terms(request.metadata))
        row = (self._ns, tick_of(now), *values, terms, self._topic, _hint(request.queue))
        if self._execute(connection, _CREATE, row).fetchone() is not None:
            return r.Created(header, True, now)
        return r.Created(self._get(connection, request.id) or header, False, now)

    def _put(self, connection: psycopg.Connection[Any], request: r.Deliver, now: float) -> r.Delivered:
        found = self._get(connection, request.id)
        if found is None:
            raise refusals.unknown(request.id)
        if found.ended_at is not None:
            raise refusals.has_ended(request.id, found.status)
        message = (request.id, request.message_id, request.kind, request.name, request.payload)
        self._execute(connection, _PUT, (self._ns, *message, now, self._topic, _hint(found.queue)))
        return r.Delivered(now)


def _hint(queue: str) -> str:
    """Return the payload that wakes the workers of *queue* over the bus."""
    (payload,) = payloads(Message(f"ready:{queue}", b""), os.urandom(6).hex())
    return payload


def unwrap(connection: Any) -> psycopg.Connection[Any]:
    """Return psycopg's connection within *connection*. No other library is imported for that.

    Raises:
        ConfigError: There is none.
    """
    found = connection
    if isinstance(found, psycopg.Cursor):
        found = found.connection
    elif callable(getattr(found, "ensure_connection", None)):  # Django's
        found.ensure_connection()
        found = found.connection
    else:
        if callable(getattr(found, "connection", None)):  # a session of SQLAlchemy
            found = found.connection()
        inner = getattr(found, "connection", None)  # a connection of SQLAlchemy
        found = getattr(inner, "driver_connection", None) or found
    if isinstance(found, psycopg.Connection):
        return found
    raise ConfigError(f"connection= is a {type(connection).__module__}.{type(connection).__qualname__}. {_FIX}")
