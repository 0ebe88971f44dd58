"""URLs of Redis: one server, a service behind Sentinels, or a cluster; their options, and their form without secrets."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

import attrs

from replay.core.errors import ConfigError
from replay.redaction import masked

Kind = Literal["single", "sentinel", "cluster"]

_KINDS: dict[str, Kind] = {
    "redis": "single",
    "rediss": "single",
    "redis+sentinel": "sentinel",
    "redis+cluster": "cluster",
}
_PORTS = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_TLS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_KNOWN = {
    *_TLS,
    "db",
    "tls",
    "shards",
    "ack_replicas",
    "deadline",
    "socket_timeout",
    "sentinel_username",
    "sentinel_password",
}
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
        ConfigError: It is malformed; the message does not contain its password.
    """
    try:
        return _read(url, {name: value for name, value in overrides.items() if value is not None})
    except ValueError as problem:
        raise ConfigError(f"{masked(url)!r} is not a usable URL of a Redis: {problem}. {_REMEDY}") from None


def _read(url: str, overrides: dict[str, Any]) -> RedisUrl:
    scheme, _, rest = url.partition("://")
    kind = _KINDS.get(scheme.lower())
    if kind is None:
        raise ValueError(f"its scheme is none of {', '.join(_KINDS)}")
    place, _, query = rest.partition("?")
    options: dict[str, Any] = dict(parse_qsl(query)) | overrides
    if unknown := sorted(set(options) - _KNOWN):
        raise ValueError(f"unknown options {', '.join(unknown)} (known: {', '.join(sorted(_KNOWN))})")
    login, _, place = place.rpartition("@")
    hosts, _, path = place.partition("/")
    service, db = _service_and_db(kind, [unquote(part) for part in path.split("/") if part], options)
    user, _, password = login.partition(":")
    return RedisUrl(
        kind,
        masked(url),
        tuple(_host(each, _PORTS[kind]) for each in hosts.split(",")),
        db,
        service,
        _login(unquote(user), unquote(password)),
        _login(options.get("sentinel_username", ""), options.get("sentinel_password", "")),
        _tls(options) if scheme.lower() == "rediss" or options.get("tls") in ("1", "true") else None,
        int(options["shards"]) if "shards" in options else None,
        int(options.get("ack_replicas", 0)),
        float(options.get("deadline", 10.0)),
        float(options.get("socket_timeout", 5.0)),
    )


def _login(user: str, password: str) -> dict[str, Any]:
    return {name: value for name, value in (("username", user), ("password", password)) if value}


def _host(text: str, port: int) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]*)(?::(\d+))?", text)
    if found is None:
        raise ValueError("a host is not written as host or host:port")
    return unquote(found[1]).strip("[]") or "localhost", int(found[2] or port)


def _service_and_db(kind: Kind, path: list[str], options: dict[str, Any]) -> tuple[str, int]:
    service = ""
    if kind == "sentinel":
        if not path:
            raise ValueError("it lacks the service's name behind the Sentinels")
        service = path.pop(0)
    db = options.get("db", path.pop(0) if path else 0)
    if path or not str(db).isdigit():
        raise ValueError("its path is not a database number")
    if kind == "cluster" and int(db):
        raise ValueError("a cluster has only database 0")
    return service, int(db)


def _tls(options: dict[str, Any]) -> dict[str, Any]:
    tls = {name: options[name] for name in _TLS if name in options}
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = str(tls["ssl_check_hostname"]).lower() in ("1", "true", "yes")
    elif tls.get("ssl_cert_reqs") in ("none", "optional"):
        tls["ssl_check_hostname"] = False
    return tls
