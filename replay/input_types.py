"""Inputs of workflows: converted to the annotated type where an execution is started, or refused there."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import attrs
import msgspec

from replay.payload_types import fits


class Unfit(Exception):
    """Raised within the conversion only: *value* at *path* is not of the expected type."""

    def __init__(self, expected: Any, value: Any, path: str = "") -> None:
        super().__init__(path)
        self.expected = expected
        self.value = value
        self.path = path


def annotation_of(fn: Callable[..., Any]) -> Any:
    """Return the type of a workflow function's input; `Any` where there is none, or it cannot be resolved here."""
    names = [p.name for p in inspect.signature(fn).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    try:
        return typing.get_type_hints(fn).get(names[1], Any) if len(names) > 1 else Any
    except Exception:  # an annotation may name what only type checkers import
        return Any


def converted(expected: Any, value: Any, path: str = "") -> Any:
    """Return *value* as an instance of *expected*: itself if it is one, else what its plain data say.

    A dict becomes a dataclass, an attrs class, a struct, a NamedTuple or a pydantic model; a text a date, a UUID, a Decimal or a path;
    a member's value its enum; a list a tuple or a set. Items are converted alike. What is an instance already stays as it is.

    Raises:
        Unfit: It is neither.
    """
    origin, args = get_origin(expected), get_args(expected)
    if origin is typing.Annotated:
        return converted(args[0], value, path)
    if origin is Union or origin is types.UnionType:
        return _member(expected, value, path)
    if origin is Literal:
        if value in args:
            return value
        raise Unfit(expected, value, path)
    cls = origin or expected
    if cls in _CONTAINERS and isinstance(value, (list, tuple, set, frozenset, dict)):
        return _container(expected, cls, args, value, path)
    if fits(expected, value):
        return value
    if isinstance(cls, type):
        found = _built(cls, value, path)
        if found is not None:
            return found
    raise Unfit(expected, value, path)


def _member(expected: Any, value: Any, path: str) -> Any:
    """Return *value* as an instance of a union's first member that it is, or else can become."""
    members = get_args(expected)
    for each in members:
        if get_origin(each) not in _CONTAINERS and fits(each, value):
            return value
    for each in members:
        try:
            return converted(each, value, path)
        except Unfit:
            continue
    raise Unfit(expected, value, path)


def _container(expected: Any, cls: Any, args: tuple[Any, ...], value: Any, path: str) -> Any:
    """Return a container with converted items: the same object where nothing changes."""
    if cls is dict or cls is Mapping or isinstance(value, dict):
        if not (cls in (dict, Mapping) and isinstance(value, dict)):
            raise Unfit(expected, value, path)
        key, item = args or (Any, Any)
        pairs = {converted(key, k, path): converted(item, v, f"{path}[{k!r}]") for k, v in value.items()}
        return value if _same(pairs.items(), value.items()) else pairs
    if not isinstance(value, cls) and type(value) is not list:
        raise Unfit(expected, value, path)
    if cls is tuple and args and args[-1] is not ...:
        if len(args) != len(value):
            raise Unfit(expected, value, path)
        kinds: Iterable[Any] = args
    else:
        kinds = [args[0] if args else Any] * len(value)
    items = [
        converted(kind, each, f"{path}[{index}]") for index, (kind, each) in enumerate(zip(kinds, value, strict=True))
    ]
    if isinstance(value, cls) and all(new is old for new, old in zip(items, value, strict=True)):
        return value
    return cls(items)


def _same(new: Iterable[tuple[Any, Any]], old: Iterable[tuple[Any, Any]]) -> bool:
    return all(k is l and v is m for (k, v), (l, m) in zip(new, old, strict=True))  # noqa: E741


def _built(cls: type[Any], value: Any, path: str) -> Any:
    """Return an instance of *cls* made of plain data; None if *value* says nothing of it."""
    if issubclass(cls, enum.Enum):
        return _called(cls, cls, value, path)
    if isinstance(value, str):
        parse = next((_TEXTS[base] for base in _TEXTS if issubclass(cls, base)), None)
        return None if parse is None else _called(cls, lambda text: parse(cls, text), value, path)
    if cls is dt.timedelta and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _called(cls, lambda seconds: dt.timedelta(seconds=seconds), value, path)
    if not isinstance(value, dict):
        return None
    if hasattr(cls, "__pydantic_fields__"):
        return _called(cls, cls.model_validate, value, path)
    names = _fields(cls)
    if names is None or value.keys() - names.keys():
        return None
    hints = typing.get_type_hints(cls)
    given = {key: converted(hints.get(names[key], Any), item, f"{path}.{key}") for key, item in value.items()}
    return _called(cls, lambda fields: cls(**fields), given, path)


def _fields(cls: type[Any]) -> dict[str, str] | None:
    """Return the arguments that make an instance, and the field that each sets; None if *cls* has no fields."""
    if attrs.has(cls):
        return {(f.alias or f.name): f.name for f in attrs.fields(cls) if f.init}
    if dataclasses.is_dataclass(cls):
        return {f.name: f.name for f in dataclasses.fields(cls) if f.init}
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return {name: name for name in cls._fields}
    if issubclass(cls, msgspec.Struct):
        return {name: name for name in cls.__struct_fields__}
    return None


def _called(cls: type[Any], make: Callable[[Any], Any], value: Any, path: str) -> Any:
    try:
        return make(value)
    except Unfit:
        raise
    except Exception as error:  # a validator of the user's may raise anything
        raise Unfit(cls, value, path) from error


_CONTAINERS = (list, tuple, set, frozenset, dict, Mapping)

_TEXTS: dict[type[Any], Callable[[Any, str], Any]] = {
    dt.datetime: lambda cls, text: cls.fromisoformat(text),
    dt.date: lambda cls, text: cls.fromisoformat(text),
    dt.time: lambda cls, text: cls.fromisoformat(text),
    decimal.Decimal: lambda cls, text: cls(text),
    uuid.UUID: lambda cls, text: cls(text),
    pathlib.PurePath: lambda cls, text: cls(text),
}
"""Classes that are written as text in JSON, and their parsers."""


def type_name(expected: Any) -> str:
    """Return the name of a type for a message."""
    return expected.__qualname__ if isinstance(expected, type) and not get_args(expected) else str(expected)
