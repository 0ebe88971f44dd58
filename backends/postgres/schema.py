"""The PostgreSQL store's tables: their versions, and how a database is brought up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import psycopg
from psycopg import errors

from replay.backends.postgres.connection import Database
from replay.backends.postgres.url import PostgresUrl
from replay.core.errors import ConfigError

COLUMNS = (
    "id", "workflow", "version", "queue", "status", "input", "created_at", "updated_at", "result", "error", "ended_at",
    "parent_id", "metadata", "priority", "retention", "deadline", "attempt", "run", "length", "amendments", "arrivals",
    "last_commit", "token", "worker", "lost", "due_at", "current",
)  # fmt: skip
"""An execution's columns in the order of `requests.Header`'s fields."""

TICKS = 10
"""In a second. Changes are indexed by the tick they are in: by their instants, no commit could do without the index."""

_FOLDER = Path(__file__).parent / "migrations"


def migrations() -> tuple[str, ...]:
    """Return the migrations in order; the one at index n leads from version n to n + 1."""
    return tuple(path.read_text(encoding="utf-8") for path in sorted(_FOLDER.glob("*.sql")))


def needed(found: int, schema: str) -> str:
    """Return the SQL that leads from version *found* to the newest one, empty if there is none to do."""
    steps = [
        f"BEGIN;\n{migration.replace('@', f'{_quoted(schema)}.')}{_done(schema, version)}\nCOMMIT;\n"
        for version, migration in enumerate(migrations())
        if version >= found
    ]
    return "".join([f"{_begin(schema)}\n", *steps]) if steps else ""


def _quoted(schema: str) -> str:
    return f'"{schema}"'


def _begin(schema: str) -> str:
    return (
        f"CREATE SCHEMA IF NOT EXISTS {_quoted(schema)};\n"
        f"CREATE TABLE IF NOT EXISTS {_quoted(schema)}.meta (key text PRIMARY KEY, value text NOT NULL);"
    )


def _done(schema: str, version: int) -> str:
    return (
        f"INSERT INTO {_quoted(schema)}.meta VALUES ('version', '{version + 1}')"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value;"
    )


def prepare(db: Database) -> None:
    """Make the tables, or bring those of an older version up to date. One process at a time does so.

    Raises:
        ConfigError: They are of a newer version; or they are missing or older, and we may not change them.
    """
    url = db.url
    newest = len(migrations())
    found = version_of(db)
    if found < newest:
        if not url.migrate:
            raise ConfigError(_remedy(url, found, "the URL says migrate=0"))
        _migrate(db)
        found = version_of(db)
    if found > newest + 1:  # one release beyond ours only adds to what we use
        raise ConfigError(
            f"{url.shown} was changed by a newer replay (schema {found}; this one knows {newest}). Fix: upgrade"
        )


def version_of(db: Database) -> int:
    """Return the version of the tables, 0 if there are none."""
    try:
        row = db.execute("SELECT value FROM @meta WHERE key = 'version'").fetchone()
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        return 0
    return 0 if row is None else int(row[0])


def _migrate(db: Database) -> None:
    """Run the missing migrations under a lock, on a connection of its own: what a lock waits for must not hold another up."""
    key = crc32(f"replay:{db.url.schema}".encode())
    with db.open() as connection:
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
            found = _version_within(connection, db)
            if found == 0:
                connection.execute(_begin(db.url.schema).encode())
            for version, migration in enumerate(migrations()):
                if version >= found:
                    connection.execute(db.text(migration))
                    connection.execute(_done(db.url.schema, version).encode())
            connection.execute("COMMIT")
        except errors.InsufficientPrivilege as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(_remedy(db.url, 0, reason)) from error


def _version_within(connection: psycopg.Connection[Any], db: Database) -> int:
    table = connection.execute("SELECT to_regclass(%s)", (f"{_quoted(db.url.schema)}.meta",)).fetchone()
    if table is None or table[0] is None:
        return 0
    row = connection.execute(db.text("SELECT value FROM @meta WHERE key = 'version'")).fetchone()
    return 0 if row is None else int(row[0])


def _remedy(url: PostgresUrl, found: int, reason: str) -> str:
    state = f"are of version {found}, {len(migrations())} is needed" if found else "are missing"
    return (
        f"{url.shown}: the tables in schema {url.schema} {state}, and cannot be changed ({reason}). "
        "Fix: let a user with the rights run `replay db migrate`, or the SQL that `replay db migrate --dry-run` prints"
    )
