"""Damaged rows: a header of what can be read, and the progress that tells of the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from replay.core.requests import Header

_DEFAULTS: dict[str, Any] = {
    "id": "?", "workflow": "?", "version": "", "queue": "?", "status": "stuck", "input": b"", "created_at": 0.0,
    "updated_at": 0.0,
}  # fmt: skip
LATEST = 253_402_300_799.0
"""The last instant of the calendar, seconds since the epoch."""


def _types_of(annotation: Any) -> tuple[type, ...]:
    types = get_args(annotation) or (annotation,)
    return (*types, int) if float in types else types


_FIELDS = tuple(
    (field.name, _types_of(field.type), _DEFAULTS.get(field.name, field.default))
    for field in msgspec.structs.fields(Header)
)
_CHECKS = tuple(types for _, types, _ in _FIELDS)


def header_of(row: Sequence[Any]) -> Header:
    """Return the header of values in the order of its fields. See `salvaged` for damaged ones."""
    if all(map(isinstance, row, _CHECKS)):
        return Header(*row)
    return salvaged({name: value for (name, _, _), value in zip(_FIELDS, row, strict=True)})


def damaged_fields(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of those of *values* that the header's field of that name cannot hold."""
    return tuple(name for name, types, _ in _FIELDS if name in values and not _fits(values[name], types))


def _fits(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and (not isinstance(value, float) or math.isfinite(value))


def default_of(name: str) -> Any:
    """Return the value that stands for a damaged field."""
    return next(default for each, _, default in _FIELDS if each == name)


def salvaged(values: Mapping[str, Any]) -> Header:
    """Return a header of *values*, with defaults in the places of missing and damaged ones; its `current` names these."""
    found: dict[str, Any] = {}
    damaged = []
    for name, types, default in _FIELDS:
        value = values.get(name, default)
        sound = isinstance(value, types) and (not isinstance(value, float) or abs(value) <= LATEST)
        if not sound or (name in _DEFAULTS and name not in values):
            damaged.append(name)
        found[name] = value if sound else default
    if damaged:
        found["current"] = progress(f"its stored {', '.join(damaged)} cannot be read")
    return Header(**found)


def progress(why: str) -> bytes:
    """Return the `current` of a damaged execution."""
    return json.dumps([{"kind": "damaged", "error": why}], separators=(",", ":")).encode()


def is_progress_of_damage(current: Any) -> bool:
    """Tell whether a stored `current` says that the execution was set aside as damaged."""
    return isinstance(current, bytes) and current.startswith(b'[{"kind":"damaged"')


def number(value: bytes) -> float:
    """Return a stored number.

    Raises:
        ValueError: It is none, or not finite.
    """
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is not finite")
    return found
