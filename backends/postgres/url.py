"""URLs of PostgreSQL: one server or several hosts of one cluster, their options, and their form without secrets."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import unquote

import attrs

from replay.core.errors import ConfigError
from replay.redaction import masked
from replay.url_options import Options, UrlParts, host_and_port, split_url, tls_context

Pooler = Literal["transaction"]

PORT = 5432
_SCHEMES = ("postgresql", "postgres")
_FILES = ("sslrootcert", "sslcert", "sslkey")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_KNOWN = {*_FILES, "sslmode", "schema", "pooler", "migrate", "deadline", "connect_timeout", "socket"}
_SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_REMEDY = (
    "Fix: postgresql://user:password@host:5432/database (several hosts: host1:5432,host2:5432), "
    "with special characters percent-encoded"
)


@attrs.frozen
class PostgresUrl:
    """A parsed URL.

    Attributes:
        shown: The URL without secrets.
        login: Host, port, database, user, password and TLS, as psycopg's parameters.
        schema: Schema of the tables.
        pooler: `transaction` if a pooler gives each transaction another connection.
        migrate: Whether opening a store may create and alter tables.
        deadline: Seconds of retries before `StoreUnavailable`.
    """

    shown: str
    login: dict[str, Any] = attrs.field(repr=False)
    schema: str = "replay"
    pooler: Pooler | None = None
    migrate: bool = True
    deadline: float = 10.0


def read_url(url: str) -> PostgresUrl:
    """Parse *url*.

    Raises:
        ConfigError: It is malformed, or an option is wrong; the message does not contain its password.
    """
    try:
        return _read(url)
    except ValueError as problem:
        raise ConfigError(f"{masked(url)!r} is not a usable URL of a PostgreSQL: {problem}. {_REMEDY}") from None


def _read(url: str) -> PostgresUrl:
    parts = split_url(url, _KNOWN)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"its scheme is none of {', '.join(_SCHEMES)}")
    options = parts.options
    schema = options.text("schema") or "replay"
    if not _SCHEMA.fullmatch(schema):
        raise options.refusal("schema", "a name of a-z, 0-9 and _, at most 63 characters, that does not begin with pg_")
    pooler: Pooler | None = "transaction" if options.word("pooler", ("transaction",)) else None
    migrate = options.flag("migrate")
    return PostgresUrl(
        masked(url),
        {**_place(parts), **_tls(options), "connect_timeout": max(2, round(options.seconds("connect_timeout", 5.0)))},
        schema,
        pooler,
        migrate is not False,
        options.seconds("deadline", 10.0, least=0.0),
    )


def _place(parts: UrlParts) -> dict[str, Any]:
    hosts, _, path = parts.place.partition("/")
    database = unquote(path)
    if not database or "/" in database or "\0" in database:
        raise ValueError("its path does not name one database")
    if "socket" in parts.options:
        if hosts:
            raise ValueError("it names a host and a socket's folder")
        found = [(parts.options.text("socket"), PORT)]
        if not found[0][0].startswith("/") or "," in found[0][0]:
            raise parts.options.refusal("socket", "the path of a folder")
    else:
        if "" in (each := hosts.split(",")) and len(each) > 1:
            raise ValueError("a host is empty")
        found = [host_and_port(host, PORT) for host in each]
    place: dict[str, Any] = {
        "host": ",".join(host for host, _ in found), "port": ",".join(str(port) for _, port in found), "dbname": database,
    }  # fmt: skip
    if any("\0" in text for text in (parts.user, parts.password)):
        raise ValueError("its user or password holds a zero byte")
    return place | {name: value for name, value in (("user", parts.user), ("password", parts.password)) if value}


def _tls(options: Options) -> dict[str, Any]:
    """Return libpq's parameters for TLS; files are read once, since libpq tells of a bad one like of an outage."""
    mode = options.word("sslmode", _SSL_MODES)
    given = [name for name in _FILES if name in options]
    if given and mode == "disable":
        raise ValueError(f"{', '.join(given)} with sslmode=disable")
    if mode in ("verify-ca", "verify-full") and "sslrootcert" not in options:
        raise ValueError(f"sslmode={mode} needs sslrootcert")
    if given and not (given == ["sslrootcert"] and options.text("sslrootcert") == "system"):
        tls_context(options, *_FILES)
    return {name: options.text(name) for name in ("sslmode", *_FILES) if name in options}
