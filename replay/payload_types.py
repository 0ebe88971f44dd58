"""Payload types of signals and events: checked when they are declared, and when a payload is sent."""

from __future__ import annotations

from types import UnionType
from typing import Any, Union, get_args, get_origin, is_typeddict


def check_payload(kind: str, id: str, expected: Any, payload: Any, refusal: type[Exception]) -> None:
    """Refuse a payload that is not of the declared type, as far as `fits` can tell."""
    if expected is None or fits(expected, payload):
        return
    name = expected.__name__ if isinstance(expected, type) else str(expected)
    raise refusal(
        f"{kind} {id!r} carries {name}, not {type(payload).__name__} ({str(payload)[:80]!r}). "
        f"Fix: send {name}, or declare {kind.capitalize()}({id!r}) without a type"
    )


def fits(expected: Any, payload: Any) -> bool:
    """Tell whether *payload* is of a class, or of one of a union's; generic aliases are checked by their origin."""
    if expected is Any:
        return True
    origin = get_origin(expected)
    if origin is Union or origin is UnionType:
        return any(fits(each, payload) for each in get_args(expected))
    found = dict if is_typeddict(expected) else origin or expected
    if found is float and isinstance(payload, int):
        return not isinstance(payload, bool)
    return not isinstance(found, type) or _is_static(found) or isinstance(payload, found)


def _is_static(found: type[Any]) -> bool:
    """Tell whether *found* is a protocol that only type checkers can check."""
    return getattr(found, "_is_protocol", False) and not getattr(found, "_is_runtime_protocol", False)


def check_type(kind: str, id: str, expected: Any) -> None:
    """Refuse the name of a type instead of the type: nothing would be checked.

    Raises:
        TypeError: *expected* is a text.
    """
    if isinstance(expected, str):
        raise TypeError(
            f"{kind} {id!r} takes a payload type, not its name {expected!r}. Fix: pass the class itself, or none"
        )
