"""URLs of RabbitMQ: their options, our defaults, and their form without secrets."""

from __future__ import annotations

import logging
import os
import socket
import urllib.parse
from typing import Any

import attrs

from replay.redaction import masked

# Seconds each; a URL may say otherwise. A peer that vanished without a word is noticed after two heartbeats.
DEFAULTS = {"heartbeat": "30", "blocked_connection_timeout": "30", "socket_timeout": "5", "stack_timeout": "10"}
STALL = 10.0  # seconds that one queue may take to answer
_TLS = ("cafile", "certfile", "keyfile")
_KNOWN = {*DEFAULTS, *_TLS, "stall_timeout", "channel_max", "frame_max", "tcp_options"}
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
        ValueError: It is malformed; the message does not contain its password.
    """
    import pika

    _quieten_pika()
    parts = urllib.parse.urlsplit(url)
    options = dict(urllib.parse.parse_qsl(parts.query))
    problem = _problem(parts, options)
    if problem:
        raise ValueError(f"{masked(url)!r} is not a usable URL of a RabbitMQ: {problem}. {_REMEDY}")
    tls = {name: options.pop(name) for name in _TLS if name in options}
    try:
        stall_timeout = float(options.pop("stall_timeout", STALL))
        query = urllib.parse.urlencode({**DEFAULTS, **options})
        parameters = pika.URLParameters(urllib.parse.urlunsplit(parts._replace(query=query)))
        if parts.scheme == "amqps":
            parameters.ssl_options = pika.SSLOptions(_tls_context(tls), parameters.host)
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"{masked(url)!r} is not a usable URL of a RabbitMQ: {error}. {_REMEDY}") from None
    parameters.client_properties = {
        "connection_name": f"replay@{socket.gethostname()}:{os.getpid()}",
        "product": "replay",
    }
    return RabbitUrl(masked(url), parameters, stall_timeout)


def _problem(parts: urllib.parse.SplitResult, options: dict[str, str]) -> str:
    """Describe the problem without quoting a login that was taken for something else."""
    if parts.scheme not in ("amqp", "amqps"):
        return "it starts neither with amqp:// nor with amqps://"
    try:
        parts.port  # noqa: B018  reading it is the check
    except ValueError:
        return "its port is not a number"
    if unknown := sorted(set(options) - _KNOWN):
        return f"unknown options {', '.join(unknown)} (known: {', '.join(sorted(_KNOWN))})"
    if parts.scheme == "amqp" and set(_TLS) & set(options):
        return "cafile, certfile and keyfile need amqps://"
    return ""


def _tls_context(files: dict[str, str]) -> Any:
    import ssl

    context = ssl.create_default_context(cafile=files.get("cafile"))
    if "certfile" in files:
        context.load_cert_chain(files["certfile"], files.get("keyfile"))
    return context


def _quieten_pika() -> None:
    """Silence pika unless the user set its level. It logs each failed attempt several times; `Health` logs an outage once."""
    logger = logging.getLogger("pika")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
