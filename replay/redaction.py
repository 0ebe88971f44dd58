"""URLs without their secrets, for logs, messages and displays."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"[A-Za-z0-9+.-]*")
_SECRET = re.compile(r"(?<=[?&;])[^=&#?;/]*(?:password|passwd|secret|token)[^=&#?;/]*=", re.IGNORECASE)
_PLAIN = re.compile(r"[a-z_]+=.*", re.DOTALL)
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")
_LOGINS = ("sentinel_username", "sentinel_password")


def masked(url: str) -> str:
    """Return *url* with its passwords masked: the login's, and those in options. Malformed URLs are masked, too."""
    scheme, mark, rest = url.partition("://")
    if not _SCHEME.fullmatch(scheme) or not mark:
        scheme, mark, rest = "", "", url
    end = end_of_login(rest)
    user = re.split("[:?]", rest[:end], maxsplit=1)
    return f"{scheme}{mark}{user[0]}{':***' if user[1:] else ''}{_masked_options(rest, end)}"


def end_of_login(rest: str) -> int:
    """Return the end of the login in the text after `://`. Characters that should be encoded belong to the login."""
    place, _, query = rest.partition("?")
    holders = [option.partition("=")[0] for option in query.split("&") if "@" in option]
    if any(name not in _LOGINS for name in holders):  # values of options are encoded: this `?` is the password's
        return rest.rindex("@")
    if "@" in place:
        return place.rindex("@")
    hosts = place.partition("/")[0]
    if all(_HOST.fullmatch(host) for host in hosts.split(",")):
        return 0
    return rest.rindex("@") if "@" in rest else len(hosts)  # its port is not a number


def _masked_options(rest: str, end: int) -> str:
    """Return host, path and options after *end*, the values of secret options masked.

    A secret with a bare `&` in it looks like several options: what follows is shown only if it is written like an option.
    """
    shown: list[str] = []
    secret = _SECRET.search(rest[:end]) is not None  # the login's end is within the value of an option
    for part in re.split(r"(?=&)", rest[end:]):
        found = _SECRET.search(part)
        if found is not None:
            secret = True
            shown.append(f"{part[: found.end()]}***")
        elif not secret or _PLAIN.fullmatch(part[1:]):
            shown.append(part)
    return "".join(shown)
