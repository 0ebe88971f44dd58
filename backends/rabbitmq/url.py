"""URLs of RabbitMQ: their options, our defaults, and their form without secrets."""

from __future__ import annotations

import ast
import logging
import os
import socket
from typing import Any
from urllib.parse import unquote

import attrs

from replay.core.errors import ConfigError
from replay.redaction import masked
from replay.url_options import Options, UrlParts, host_and_port, split_url, tls_context

HEARTBEAT = 30  # seconds; a peer that vanished without a word is noticed after two heartbeats
BLOCKED = 30.0  # seconds that the broker may refuse to read before the connection is given up
SOCKET, STACK = 5.0, 10.0  # seconds for TCP, and for TCP, TLS and AMQP together
STALL = 10.0  # seconds that one queue may take to answer
_PORTS = {"amqp": 5672, "amqps": 5671}
_TLS = ("cafile", "certfile", "keyfile")
_TCP = {"TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"}
_KNOWN = {
    *_TLS,
    "heartbeat",
    "blocked_connection_timeout",
    "socket_timeout",
    "stack_timeout",
    "stall_timeout",
    "channel_max",
    "frame_max",
    "tcp_options",
}
_REMEDY = "Fix: amqp://user:password@host:5672/vhost, with special characters percent-encoded"


@attrs.frozen
class RabbitUrl:
    """A parsed URL.

    Attributes:
        shown: The URL without secrets.
        parameters: pika's connection parameters.
        stall_timeout: Seconds that one queue may take to answer before a reconnect.
    """

    shown: str
    parameters: Any = attrs.field(repr=False)
    stall_timeout: float


def read_url(url: str) -> RabbitUrl:
    """Parse *url*, with our defaults for absent options.

    Raises:
        ConfigError: It is malformed, or an option is wrong; the message does not contain its password.
    """
    _quieten_pika()
    try:
        parts = split_url(url, _KNOWN)
        return RabbitUrl(masked(url), _parameters(parts), parts.options.seconds("stall_timeout", STALL))
    except ValueError as problem:
        raise ConfigError(f"{masked(url)!r} is not a usable URL of a RabbitMQ: {problem}. {_REMEDY}") from None


def _parameters(parts: UrlParts) -> Any:
    import pika

    if parts.scheme not in _PORTS:
        raise ValueError("it starts neither with amqp:// nor with amqps://")
    if "/" in parts.login or "#" in parts.login:
        raise ValueError(
            "its user or password holds a character that must be percent-encoded, or its port is not a number"
        )
    host, port = host_and_port(parts.place.partition("/")[0], _PORTS[parts.scheme])
    options = parts.options
    return pika.ConnectionParameters(
        host=host,
        port=port,
        virtual_host=_virtual_host(parts.place.partition("/")[2]),
        credentials=pika.PlainCredentials(parts.user, parts.password)
        if parts.login
        else pika.PlainCredentials("guest", "guest"),
        heartbeat=options.whole("heartbeat", HEARTBEAT, 0, 65_535),
        blocked_connection_timeout=options.seconds("blocked_connection_timeout", BLOCKED),
        socket_timeout=options.seconds("socket_timeout", SOCKET),
        stack_timeout=options.seconds("stack_timeout", STACK),
        channel_max=options.whole("channel_max", 65_535, 1, 65_535),
        frame_max=options.whole("frame_max", 131_072, 4096, 131_072),
        tcp_options=_tcp_options(options),
        ssl_options=_ssl_options(parts, host),
        client_properties={"connection_name": f"replay@{socket.gethostname()}:{os.getpid()}", "product": "replay"},
    )


def _virtual_host(path: str) -> str:
    """Return the virtual host; `amqp://host` and `amqp://host/` are its default, which is called `/`."""
    if "/" in path and path != "/":
        raise ValueError("its path holds a bare '/', allowed is %2F")
    return unquote(path) or "/"


def _tcp_options(options: Options) -> dict[str, int] | None:
    if "tcp_options" not in options:
        return None
    try:
        found = ast.literal_eval(options.text("tcp_options"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(key in _TCP and type(value) is int for key, value in found.items()):
        raise options.refusal("tcp_options", f"a dict of whole numbers with keys of {', '.join(sorted(_TCP))}")
    return found


def _ssl_options(parts: UrlParts, host: str) -> Any:
    import pika

    if parts.scheme == "amqps":
        return pika.SSLOptions(tls_context(parts.options, *_TLS), host)
    if given := [name for name in _TLS if name in parts.options]:
        raise ValueError(f"{', '.join(given)} without TLS, which amqps:// asks for")
    return None


def _quieten_pika() -> None:
    """Silence pika unless the user set its level. It logs each failed attempt several times; `Health` logs an outage once."""
    logger = logging.getLogger("pika")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
