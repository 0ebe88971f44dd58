"""Copies of values for step bodies, matchers and branches: what they change is not seen by the workflow.

Values are copied: containers, and instances of dataclasses, attrs, structs and pydantic classes. Immutable values are not copied,
because nobody can change them. Other objects (clients, connections, functions) are no values and are passed as they are.
"""

from __future__ import annotations

import collections
import copy
import datetime as dt
import decimal
import fractions
import uuid
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

Memo = dict[int, Any]
"""Copies by the identity of their originals, so that what is shared stays shared."""

IMMUTABLE = frozenset(
    {str, int, float, bool, type(None), bytes, complex, range, type, dt.datetime, dt.date, dt.time, dt.timedelta}
    | {decimal.Decimal, fractions.Fraction, uuid.UUID}
)
"""Classes whose instances nobody can change."""

BUILT_ON = (bytearray, collections.deque, dict, set, list)
"""Containers whose rarer kinds and subclasses the standard library copies."""


def own(value: Any) -> Any:
    """Return a copy of *value* that shares nothing with it that can be changed; *value* itself if nothing can."""
    return value if type(value) in IMMUTABLE else _copy(value, {})


def own_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return copies of a call's arguments. An object that is passed twice is copied once."""
    for value in args:
        if type(value) not in IMMUTABLE:
            break
    else:
        if not kwargs:
            return args, kwargs
    memo: Memo = {}
    return tuple([_copy(value, memo) for value in args]), {name: _copy(value, memo) for name, value in kwargs.items()}


def _copy(value: Any, memo: Memo) -> Any:
    cls = type(value)
    if cls in IMMUTABLE:
        return value
    done = memo.get(id(value))
    if done is not None:
        return done
    if cls is list:
        items: list[Any] = []
        memo[id(value)] = items
        items += [item if type(item) in IMMUTABLE else _copy(item, memo) for item in value]
        return items
    if cls is dict:
        pairs: dict[Any, Any] = {}
        memo[id(value)] = pairs
        for key, item in value.items():
            own_key = key if type(key) in IMMUTABLE else _copy(key, memo)
            pairs[own_key] = item if type(item) in IMMUTABLE else _copy(item, memo)
        return pairs
    make = _copiers.get(cls)
    if make is None:
        make = _copiers[cls] = _copier(cls)
    return make(value, memo)


def _as_it_is(value: Any, memo: Memo) -> Any:
    return value


def _deep(value: Any, memo: Memo) -> Any:
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # it holds what cannot be copied: a lock, a connection
        return value


def _tuple(value: Any, memo: Memo) -> Any:
    items = [_copy(item, memo) for item in value]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    return tuple.__new__(type(value), items)


def _set(value: Any, memo: Memo) -> Any:
    items = [_copy(item, memo) for item in value]
    if type(value) is frozenset and all(new is old for new, old in zip(items, value, strict=True)):
        return value
    return type(value)(items)


def _copier(cls: type[Any]) -> Callable[[Any, Memo], Any]:
    """Return the function that copies instances of *cls*."""
    if issubclass(cls, type | BaseException):
        return _as_it_is
    if hasattr(cls, "__deepcopy__") or issubclass(cls, BUILT_ON):
        return _deep
    if issubclass(cls, tuple):
        return _tuple
    if attrs.has(cls):
        return _fields(tuple(field.name for field in attrs.fields(cls)), _is_frozen(cls), object.__setattr__)
    if hasattr(cls, "__dataclass_fields__"):
        return _fields(tuple(cls.__dataclass_fields__), cls.__dataclass_params__.frozen, object.__setattr__)
    if issubclass(cls, msgspec.Struct):
        return _fields(cls.__struct_fields__, cls.__struct_config__.frozen, msgspec.structs.force_setattr)
    return _as_it_is


def _fields(names: tuple[str, ...], frozen: bool, put: Callable[[Any, str, Any], None]) -> Callable[[Any, Memo], Any]:
    """Return the function that copies instances of a class with the fields *names*, which *put* sets."""

    def copy_fields(value: Any, memo: Memo) -> Any:
        parts = {}
        changed = not frozen
        for name in names:
            try:
                old = getattr(value, name)
            except AttributeError:
                continue  # a field without a value
            parts[name] = new = _copy(old, memo)
            changed = changed or new is not old
        if not changed:
            return value
        try:
            made = copy.copy(value)
        except Exception:  # its class refuses to be copied
            return value
        memo[id(value)] = made
        for name, part in parts.items():
            put(made, name, part)
        return made

    return copy_fields


def _is_frozen(cls: type[Any]) -> bool:
    setter: Any = cls.__setattr__
    return "frozen" in getattr(setter, "__name__", "")


_copiers: dict[type[Any], Callable[[Any, Memo], Any]] = {set: _set, tuple: _tuple, frozenset: _set}
