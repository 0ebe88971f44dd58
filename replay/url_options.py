"""Parts and options of a backend's URL, read strictly: a refusal names the option, its value and the allowed values."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus

import attrs

from replay.redaction import end_of_login

LONGEST = 86_400.0
"""Seconds: the longest duration of an option. No wait for a server is longer than a day."""

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
_NAME = re.compile(r"[a-z_]+")
_HOST = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]*)(?::([0-9]{1,5}))?")


@attrs.frozen
class Options:
    """Options of a URL by name: texts of its query, or values of a program."""

    given: Mapping[str, Any] = attrs.field(repr=False)

    def __contains__(self, name: str) -> bool:
        """Tell whether the option is given."""
        return name in self.given

    def text(self, name: str) -> str:
        """Return the option's text, empty by default."""
        return str(self.given.get(name, ""))

    def word(self, name: str, allowed: Collection[str]) -> str | None:
        """Return the option, None by default. Raises `ValueError` for a word that is not allowed."""
        word = self.given.get(name)
        if word is not None and word not in allowed:
            raise self.refusal(name, f"one of {', '.join(allowed)}")
        return word

    def flag(self, name: str) -> bool | None:
        """Return the option as a truth value, None by default; upper case is allowed. Raises `ValueError` for another word."""
        if name not in self.given:
            return None
        word = _WORDS.get(str(self.given[name]).lower())
        if word is None:
            raise self.refusal(name, f"one of {', '.join(_WORDS)}")
        return word

    def seconds(self, name: str, default: float, *, least: float = 0.001, most: float = LONGEST) -> float:
        """Return a duration in seconds. Raises `ValueError` beyond *least* and *most*, and for NaN."""
        value = self._number(name, default)
        if value is None or not least <= value <= most:
            raise self.refusal(name, f"seconds from {least:g} to {most:,.0f}")
        return value

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number. Raises `ValueError` beyond *least* and *most*."""
        value = self._number(name, default)
        if value is None or not least <= value <= most or value != int(value):
            raise self.refusal(name, f"a whole number from {least} to {most:,}")
        return int(value)

    def _number(self, name: str, default: float) -> float | None:
        value = self.given.get(name, default)
        if isinstance(value, str):
            value = float(value) if _NUMBER.fullmatch(value) else None
        right = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
        return value if right else None

    def refusal(self, name: str, allowed: str) -> ValueError:
        """Return the refusal of an option's value."""
        return ValueError(f"{name} is {self.given.get(name)!r}, allowed is {allowed}")


@attrs.frozen
class UrlParts:
    """A URL, split.

    Attributes:
        scheme: In lower case.
        login: User and password as written, before the `@`; empty without one.
        place: Hosts and path as written.
    """

    scheme: str
    login: str = attrs.field(repr=False)
    place: str
    options: Options

    @property
    def user(self) -> str:
        """User name, decoded."""
        return unquote(self.login.partition(":")[0])

    @property
    def password(self) -> str:
        """Password, decoded."""
        return unquote(self.login.partition(":")[2])


def split_url(url: str, known: Collection[str]) -> UrlParts:
    """Split *url*, whose options must be among *known*.

    Raises:
        ValueError: It cannot be split. The message holds no part of its password.
    """
    scheme, _, rest = url.partition("://")
    end = end_of_login(rest)
    login, rest = rest[:end], rest[end:]
    if "?" in login or (login and not rest.startswith("@")):
        raise ValueError(
            "its user or password holds a character that must be percent-encoded, or its port is not a number"
        )
    rest = rest.removeprefix("@")
    place, _, query = rest.partition("?")
    if "#" in place:
        raise ValueError("'#' is not allowed in it; %23 is")
    return UrlParts(scheme.lower(), login, place, Options(read_query(query, known)))


def read_query(query: str, known: Collection[str]) -> dict[str, str]:
    """Return the options of a query by name.

    Raises:
        ValueError: An option is unknown, or given twice, or has no value. The message holds no part of a password.
    """
    found: dict[str, str] = {}
    unknown: list[str] = []
    for part in filter(None, query.split("&")):
        name, mark, value = part.partition("=")
        if name not in known:
            unknown.append(name)
        elif not mark:
            raise ValueError(f"{name} has no value")
        elif name in found:
            raise ValueError(f"{name} is given twice")
        found[name] = unquote_plus(value)
    if unknown:
        raise ValueError(f"unknown options{_shown(unknown, found)} (known: {', '.join(sorted(known)) or 'none'})")
    return {name: value for name, value in found.items() if value or not name.startswith("sentinel_")}


def _shown(unknown: list[str], given: Collection[str]) -> str:
    """Return the names for a message, unless they may be the rest of a password with a bare `&` in it."""
    if any("password" in name for name in given if name not in unknown):
        return ""
    return " " + ", ".join(sorted({name for name in unknown if _NAME.fullmatch(name)})) if unknown else ""


def host_and_port(text: str, default_port: int) -> tuple[str, int]:
    """Return the host (default `localhost`) and port of *text*.

    Raises:
        ValueError: It is not written as host or host:port. The message does not quote it.
    """
    found = _HOST.fullmatch(text)
    port = default_port if found is None or found[2] is None else int(found[2])
    if found is None or not 0 < port < 65536:
        raise ValueError("a host is not written as host or host:port, with a port from 1 to 65,535")
    host = unquote(found[1]).strip("[]") or "localhost"
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("a host is not written like the name of one") from None
    if not host.isprintable() or " " in host:
        raise ValueError("a host is not written like the name of one")
    return host, port


def tls_context(options: Options, authority: str, certificate: str, key: str) -> ssl.SSLContext:
    """Return a client's context with the files that three options name, which are read here.

    Raises:
        ValueError: A file cannot be read, or is no certificate or key in PEM.
    """
    context = ssl.create_default_context()
    if authority in options:
        try:
            context.load_verify_locations(cafile=options.text(authority))
        except (OSError, ValueError) as error:
            raise _bad_file(options, authority, "a readable file of certificates in PEM", error) from None
    if key in options and certificate not in options:
        raise ValueError(f"{key} needs {certificate}")
    if certificate in options:
        place = key if key in options else certificate
        try:
            # The password is empty: without one OpenSSL asks at the terminal for that of an encrypted key.
            context.load_cert_chain(options.text(certificate), options.text(key) or None, password="")
        except (OSError, ValueError) as error:
            found = certificate if not _readable(options.text(certificate)) else place
            raise _bad_file(options, found, "a readable certificate and its unencrypted key in PEM", error) from None
    return context


def _readable(path: str) -> bool:
    try:
        with Path(path).open("rb"):
            return True
    except (OSError, ValueError):
        return False


def _bad_file(options: Options, name: str, allowed: str, error: Exception) -> ValueError:
    reason = getattr(error, "strerror", None) or str(error)
    return ValueError(f"{options.refusal(name, allowed)} ({reason})")
