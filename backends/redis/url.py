"""URLs of Redis: one server, a service behind Sentinels, or a cluster; their options, and their form without secrets."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import unquote

import attrs

from replay.core.errors import ConfigError
from replay.redaction import masked
from replay.url_options import Options, UrlParts, host_and_port, split_url, tls_context

Kind = Literal["single", "sentinel", "cluster"]

_KINDS: dict[str, Kind] = {
    "redis": "single",
    "rediss": "single",
    "redis+sentinel": "sentinel",
    "redis+cluster": "cluster",
}
_PORTS = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS = (*_FILES, "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL = ("sentinel_username", "sentinel_password")
_KNOWN = {*_TLS, *_SENTINEL, "db", "tls", "shards", "ack_replicas", "deadline", "socket_timeout"}

MOST_SHARDS = 4096
"""Each claim may visit every shard of a namespace, and a cluster of 100 primaries is spread evenly by some hundreds."""

MOST_REPLICAS = 100
MOST_DATABASES = 1_000_000
_REMEDY = (
    "Fix: redis://user:password@host:6379/0, rediss://..., redis+sentinel://host:26379,host2:26379/service?db=0 "
    "or redis+cluster://host:6379,host2:6379, with special characters percent-encoded"
)


@attrs.frozen
class RedisUrl:
    """A parsed URL.

    Attributes:
        shown: The URL without secrets.
        hosts: The server, the Sentinels, or some nodes of the cluster.
        service: The primary's name among the Sentinels.
        login: User and password for the servers, as redis-py's options; `sentinel_login` for the Sentinels.
        tls: redis-py's options for TLS, None without it.
        shards: Number of shards of a new namespace, None for the default.
        ack_replicas: Number of replicas that must have each batch before its reply.
        deadline: Seconds of retries before `StoreUnavailable`.
        socket_timeout: Seconds that one reply may take.
    """

    kind: Kind
    shown: str
    hosts: tuple[tuple[str, int], ...]
    db: int = 0
    service: str = ""
    login: dict[str, Any] = attrs.field(factory=dict, repr=False)
    sentinel_login: dict[str, Any] = attrs.field(factory=dict, repr=False)
    tls: dict[str, Any] | None = None
    shards: int | None = None
    ack_replicas: int = 0
    deadline: float = 10.0
    socket_timeout: float = 5.0

    @property
    def default_shards(self) -> int:
        """Return the number of shards of a new namespace. A cluster spreads shards, so it gets several."""
        return self.shards or (16 if self.kind == "cluster" else 1)


def read_url(url: str, **overrides: Any) -> RedisUrl:
    """Parse *url*. *overrides* (not None) take precedence over its query.

    Raises:
        ConfigError: It is malformed, or an option is wrong; the message does not contain its password.
    """
    try:
        return _read(url, {name: value for name, value in overrides.items() if value is not None})
    except ValueError as problem:
        raise ConfigError(f"{masked(url)!r} is not a usable URL of a Redis: {problem}. {_REMEDY}") from None


def _read(url: str, overrides: dict[str, Any]) -> RedisUrl:
    parts = split_url(url, _KNOWN)
    kind = _KINDS.get(parts.scheme)
    if kind is None:
        raise ValueError(f"its scheme is none of {', '.join(_KINDS)}")
    options = Options({**parts.options.given, **overrides})
    hosts, _, path = parts.place.partition("/")
    service, db = _service_and_db(kind, [unquote(part) for part in path.split("/") if part], options)
    if kind != "sentinel" and (given := [name for name in _SENTINEL if name in options]):
        raise ValueError(f"{' and '.join(given)} need redis+sentinel://")
    return RedisUrl(
        kind,
        masked(url),
        _hosts(kind, hosts),
        db,
        service,
        _login(parts.user, parts.password),
        _login(options.text("sentinel_username"), options.text("sentinel_password")),
        _tls(parts, options),
        options.whole("shards", 1, 1, MOST_SHARDS) if "shards" in options else None,
        options.whole("ack_replicas", 0, 0, MOST_REPLICAS),
        options.seconds("deadline", 10.0, least=0.0),
        options.seconds("socket_timeout", 5.0),
    )


def _hosts(kind: Kind, text: str) -> tuple[tuple[str, int], ...]:
    hosts = text.split(",")
    if len(hosts) > 1 and (kind == "single" or "" in hosts):
        raise ValueError(
            "it names several hosts, which only Sentinels and clusters have" if kind == "single" else "a host is empty"
        )
    return tuple(host_and_port(each, _PORTS[kind]) for each in hosts)


def _login(user: str, password: str) -> dict[str, Any]:
    return {name: value for name, value in (("username", user), ("password", password)) if value}


def _service_and_db(kind: Kind, path: list[str], options: Options) -> tuple[str, int]:
    service = ""
    if kind == "sentinel":
        if not path:
            raise ValueError("it lacks the service's name behind the Sentinels")
        service = path.pop(0)
    numbers = Options({"db": path.pop(0)} if path else {})
    if path:
        raise ValueError("its path is not a database number")
    db = numbers.whole("db", 0, 0, MOST_DATABASES)
    if "db" in options:
        if "db" in numbers and options.whole("db", 0, 0, MOST_DATABASES) != db:
            raise ValueError(f"db is {options.text('db')!r}, and its path says {db}")
        db = options.whole("db", 0, 0, MOST_DATABASES)
    if kind == "cluster" and db:
        raise ValueError(f"db is {db}, a cluster has only database 0")
    return service, db


def _tls(parts: UrlParts, options: Options) -> dict[str, Any] | None:
    """Return redis-py's options for TLS, None without it."""
    asked = options.flag("tls")
    if parts.scheme == "rediss" and asked is False:
        raise ValueError(f"tls is {options.text('tls')!r}, rediss:// is always TLS")
    given = [name for name in _TLS if name in options]
    if parts.scheme != "rediss" and not asked:
        if given:
            raise ValueError(f"{', '.join(given)} without TLS, which tls=true or rediss:// asks for")
        return None
    tls: dict[str, Any] = {name: options.text(name) for name in given}
    required = options.word("ssl_cert_reqs", ("required", "optional", "none"))
    checked = options.flag("ssl_check_hostname")
    if required is not None:
        tls["ssl_cert_reqs"] = required
    if checked and required == "none":
        raise ValueError("ssl_check_hostname needs ssl_cert_reqs=required")
    if checked is not None or required in ("none", "optional"):
        tls["ssl_check_hostname"] = bool(checked)
    if any(name in options for name in _FILES):
        tls_context(options, *_FILES)  # redis-py reads them when it connects, and a bad one would look like an outage
    return tls
