"""URLs without their secrets, for logs, messages and displays."""

from __future__ import annotations

import re

_SECRET = re.compile(r"([?&;][^=&#]*(?:password|passwd|secret|token)[^=&#]*=)[^&#]*", re.IGNORECASE)
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")


def masked(url: str) -> str:
    """Return *url* with its passwords masked: the login's, and those in options. Malformed URLs are masked, too."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url
    end = _end_of_login(rest)
    user, colon, _password = rest[:end].partition(":")
    place = _SECRET.sub(r"\1***", rest[end:])
    return f"{scheme}{mark}{user}{colon and ':***'}{place}"


def _end_of_login(rest: str) -> int:
    """Return the end of the login in the text after `://`. Characters that should be encoded belong to the login."""
    place, _, query = rest.partition("?")
    name = query.partition("=")[0]
    if "@" in name:  # no option's name: the question mark is the password's
        return len(place) + 1 + name.rindex("@")
    if "@" in place:
        return place.rindex("@")
    hosts = place.partition("/")[0]
    if all(_HOST.fullmatch(host) for host in hosts.split(",")):
        return 0
    return rest.rindex("@") if "@" in rest else len(hosts)  # its port is not a number
