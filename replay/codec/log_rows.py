"""Rows of a log, decoded for inspection as far as possible."""

from __future__ import annotations

import functools
import json
from typing import Any

import msgspec

from replay.core import entries as e
from replay.core.errors import Undecodable, text_of
from replay.core.requests import DAMAGED
from replay.ports import Codec


class Unreadable(e.Entry, frozen=True):
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
    except Exception as error:  # a codec or a class of the user's own raises what it likes
        failure = _undecodable(error)
    inspect = getattr(codec, "inspect", None)  # a codec of the user's own need not have it
    try:
        return failure if inspect is None else inspect(data)
    except Exception as error:
        return _undecodable(error)


def _undecodable(error: Exception) -> Undecodable:
    return error if isinstance(error, Undecodable) else Undecodable(text_of(error))


def audit_of(rows: list[bytes], codec: Codec) -> tuple[e.Fact, ...]:
    """Return a log's entries, decoded.

    Raises:
        Undecodable: An entry cannot be decoded here.
    """
    try:
        return tuple(e.from_row(row) for row in codec.decode_rows(rows))
    except (ValueError, TypeError, LookupError) as error:
        raise Undecodable(text_of(error)) from error


def inspected(rows: list[bytes], codec: Codec) -> tuple[e.Fact | Unreadable, ...]:
    """Return a log's entries, `Unreadable` where they cannot be read here: one for each row, so that indexes hold."""
    try:
        found: list[e.Fact | Unreadable] = [_checked(entry) for entry in audit_of(rows, codec)]
        return tuple(found)
    except Exception:  # at least one is unreadable: each is decoded by itself
        found = []
    for row in rows:
        at = found[-1].at if found else 0.0
        if row == DAMAGED:
            found.append(
                Unreadable(at, 0, "", f"its checksum is wrong: log entry #{len(found)} is not what was written")
            )
            continue
        value = decoded(codec, row)
        try:
            if type(value) is not list:  # damaged text, or a stored value that is no row: never raised, whatever it is
                raise (
                    value
                    if isinstance(value, Undecodable)
                    else Undecodable(f"a {type(value).__name__} is no log entry")
                )
            found.append(_checked(e.from_row(value)))
        except Exception as error:
            found.append(_unreadable(row, at, text_of(error)))
    return tuple(found)


_PLAIN: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), tuple[int, ...]: (tuple,)}
"""Types of the fields that displays compute with, by their annotations. Other fields are values of users."""


@functools.cache
def _plain_fields(cls: type[e.Entry]) -> tuple[tuple[str, tuple[type, ...]], ...]:
    """Return the fields of *cls* that displays compute with, each with the types that it may have."""
    return tuple((field.name, _PLAIN[field.type]) for field in msgspec.structs.fields(cls) if field.type in _PLAIN)


def _checked(entry: e.Fact) -> e.Fact:
    """Return *entry*.

    Raises:
        Undecodable: A field that displays compute with is of another type.
    """
    for name, expected in _plain_fields(type(entry)):
        if not isinstance(getattr(entry, name), expected):
            raise Undecodable(f"its field {name!r} is not of type {expected[-1].__name__}")
    return entry


def _unreadable(row: bytes, at: float, why: str) -> Unreadable:
    """Return the stand-in of a row. It keeps the row's instant, fiber and id where they can be read."""
    _, own_at, fiber, id, *_ = skeleton(row)
    return Unreadable(
        own_at if type(own_at) in (int, float) and own_at else at,
        fiber if type(fiber) is int else 0,
        id if type(id) is str else "",
        why,
    )


NO_ROW: list[Any] = ["", 0.0, 0, ""]
"""The skeleton of a row that cannot be read."""


def skeleton(row: bytes) -> list[Any]:
    """Return a row as plain JSON: kind, instant, fiber and id are readable with any values. `NO_ROW` for no row."""
    try:
        found = json.loads(row)
    except (ValueError, RecursionError):
        return NO_ROW
    return found if type(found) is list and len(found) >= 4 and type(found[0]) is str else NO_ROW
