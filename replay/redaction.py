"""URLs without their secrets: the one place that decides what logs, messages and displays may show of one."""

from __future__ import annotations

import re

_SECRET = re.compile(r"([?&;][^=&#]*(?:password|passwd|secret|token)[^=&#]*=)[^&#]*", re.IGNORECASE)
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")


def masked(url: str) -> str:
    """Return *url* without its passwords, for displays: the login's, and options named so; also when it is malformed."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url
    end = _end_of_login(rest)
    user, colon, _password = rest[:end].partition(":")
    place = _SECRET.sub(r"\1***", rest[end:])
    return f"{scheme}{mark}{user}{colon and ':***'}{place}"


def _end_of_login(rest: str) -> int:
    """Return where the login ends in what follows `://`; characters that should have been encoded are taken for its own."""
    place, _, query = rest.partition("?")
    name = query.partition("=")[0]
    if "@" in name:  # no option's name: the question mark is the password's
        return len(place) + 1 + name.rindex("@")
    if "@" in place:
        return place.rindex("@")
    hosts = place.partition("/")[0]
    if all(_HOST.fullmatch(host) for host in hosts.split(",")):
        return 0
    return rest.rindex("@") if "@" in rest else len(hosts)  # what should be a port is none
