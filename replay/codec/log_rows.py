"""Rows of a log, decoded for inspection as far as possible."""

from __future__ import annotations

import json
from typing import Any

import attrs

from replay.core import entries as e
from replay.core.errors import Undecodable
from replay.core.requests import DAMAGED
from replay.ports import Codec


@attrs.frozen
class Unreadable(e.Entry):
    """An entry of an audit trail that cannot be read here; `why` is the reason."""

    why: str = ""


def decoded(codec: Codec, data: bytes | None) -> Any:
    """Return the value of *data* for inspection.

    Values of unknown classes are `UnknownValue`s. For damaged text the `Undecodable` itself is returned.
    """
    if data is None:
        return None
    try:
        return codec.decode(data)
    except Undecodable as error:
        failure = error
    inspect = getattr(codec, "inspect", None)  # a codec of the user's own need not have it
    try:
        return failure if inspect is None else inspect(data)
    except Undecodable as error:
        return error


def audit_of(rows: list[bytes], codec: Codec) -> tuple[e.Fact, ...]:
    """Return a log's entries, decoded.

    Raises:
        Undecodable: An entry cannot be decoded here.
    """
    try:
        return tuple(e.from_row(row) for row in codec.decode_rows(rows))
    except ValueError as error:
        raise Undecodable(str(error)) from error


def inspected(rows: list[bytes], codec: Codec) -> tuple[e.Fact | Unreadable, ...]:
    """Return a log's entries, `Unreadable` where they cannot be read here: one for each row, so that indexes hold."""
    try:
        return audit_of(rows, codec)
    except Undecodable:
        pass
    found: list[e.Fact | Unreadable] = []
    for row in rows:
        at = found[-1].at if found else 0.0
        if row == DAMAGED:
            found.append(
                Unreadable(at, 0, "", f"its checksum is wrong: log entry #{len(found)} is not what was written")
            )
            continue
        value = decoded(codec, row)
        try:
            if isinstance(value, Exception):
                raise value
            found.append(e.from_row(value))
        except ValueError as error:
            head = skeleton(row)
            found.append(Unreadable(head[1] or at, head[2], head[3], str(error)))
    return tuple(found)


NO_ROW: list[Any] = ["", 0.0, 0, ""]
"""The skeleton of a row that cannot be read."""


def skeleton(row: bytes) -> list[Any]:
    """Return a row as plain JSON: kind, instant, fiber and id are readable with any values. `NO_ROW` for no row."""
    try:
        found = json.loads(row)
    except (ValueError, RecursionError):
        return NO_ROW
    return found if type(found) is list and len(found) >= 4 and type(found[0]) is str else NO_ROW
