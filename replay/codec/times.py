"""Dates, times and zones as text, with fold, zone key and zone name."""

from __future__ import annotations

import datetime as dt
import functools
import re
import zoneinfo
from pathlib import Path
from typing import Any

from replay.codec.refusal import Refusal
from replay.core.errors import Undecodable

# Each function below writes plain JSON data, or reads it. A moment is its ISO text alone where that is exact, otherwise
# `[naive ISO text, fold, zone]` with the zone as a key ("Europe/Berlin") or as `[seconds, name]` for a named offset.


def write_moment(value: dt.datetime | dt.time) -> Any:
    """Return a datetime or time as data."""
    zone = value.tzinfo
    if zone is None or (type(zone) is dt.timezone and len(_zone_args(zone)) == 1):
        return [value.isoformat(), value.fold] if value.fold else value.isoformat()
    return [value.replace(tzinfo=None).isoformat(), value.fold, write_zone(zone)]


def read_moment(kind: type[dt.datetime | dt.time], value: Any) -> Any:
    """Return the datetime or time of *value*."""
    if isinstance(value, str):
        return kind.fromisoformat(value)
    moment = kind.fromisoformat(value[0]).replace(fold=int(value[1]))
    return moment.replace(tzinfo=read_zone(value[2])) if len(value) > 2 else moment


def write_zone(zone: dt.tzinfo) -> Any:
    """Return a zone as data: a key, or seconds and perhaps a name."""
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return zone.key
    if type(zone) is dt.timezone:
        offset, *name = _zone_args(zone)
        return [offset.total_seconds(), *name] if name else offset.total_seconds()
    raise Refusal(
        f"the time zone {str(zone)[:100]!r} cannot be stored exactly. Fix: use zoneinfo.ZoneInfo(key) or datetime.timezone"
    )


def read_zone(value: Any) -> dt.tzinfo:
    """Return the zone of *value*."""
    if isinstance(value, str):
        return _zone(value)
    if isinstance(value, list):
        return dt.timezone(dt.timedelta(seconds=value[0]), value[1])
    return dt.timezone(dt.timedelta(seconds=value))


def _zone_args(zone: dt.timezone) -> tuple[Any, ...]:
    return zone.__getinitargs__()  # type: ignore[attr-defined, no-any-return]  # the only way to see whether it was named


@functools.lru_cache(256)
def _zone(key: str) -> zoneinfo.ZoneInfo:
    """Return the zone called *key*; `ZoneInfo` itself would try to import a package named after any key it is given."""
    if re.fullmatch(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*", key):
        on_disk = any((Path(folder) / key).is_file() for folder in zoneinfo.TZPATH)
        if on_disk or key in _packaged():
            return zoneinfo.ZoneInfo(key)
    raise Undecodable(f"no time zone {key[:100]!r} is known here. Fix: install the package tzdata, or update it")


@functools.lru_cache(1)
def _packaged() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
