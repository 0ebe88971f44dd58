"""Plain JSON data back to values. Never imports and never calls a class: stored text may be hostile.

Readers take the content of a tag as parsed and check its shape. Another shape is damaged text.
"""

from __future__ import annotations

import base64
import collections
import datetime as dt
import decimal
import enum
import fractions
import math
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from replay.codec import exceptions
from replay.codec.refusal import MAX_DEPTH
from replay.codec.registry import Registry
from replay.codec.times import read_moment, read_zone
from replay.codec.writing import dataclass_fields
from replay.core.errors import Undecodable, describe_error


class Reader:
    """Turns plain data into values."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._containers: dict[str, Callable[[Any, int], Any]] = {
            "$tuple": lambda v, d: tuple(self.items(v, d)),
            "$set": lambda v, d: set(self.items(v, d)),
            "$frozenset": lambda v, d: frozenset(self.items(v, d)),
            "$deque": lambda v, d: collections.deque(self.items(v[0], d), v[1]),
            "$dict": self._pairs,
            "$odict": lambda v, d: collections.OrderedDict(self._pairs(v, d)),
            "$enum": self._enum,
            "$flag": self._flag,
            "$namedtuple": self._namedtuple,
            "$obj": self._object,
            "$model": self._model,
            "$custom": self._custom,
            "$exc": self._exception,
        }

    def value(self, plain: Any) -> Any:
        """Return the value of *plain*.

        Raises:
            Undecodable: *plain* is no output of `Writer`, or names a class that is not registered here.
        """
        try:
            return self.read(plain, 0)
        except Undecodable:
            raise
        except RecursionError:
            raise _too_deep() from None
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise Undecodable(
                f"the stored text is damaged: {type(error).__name__}: {str(error)[:200]}. Fix: restore it, or mend it by hand"
            ) from error

    def read(self, plain: Any, depth: int) -> Any:
        """Return the value of *plain*, nested in *depth* containers."""
        cls = type(plain)
        if cls is list:
            return self.items(plain, depth)
        if cls is not dict:
            return plain
        if len(plain) == 1:
            ((tag, content),) = plain.items()
            if tag[:1] == "$":
                leaf = _LEAVES.get(tag)
                if leaf is not None:
                    return leaf(content)
                reader = self._containers.get(tag)
                if reader is None:
                    raise Undecodable(
                        f"unknown tag {tag[:50]!r}. Fix: upgrade this process, a newer version has written it"
                    )
                if depth >= MAX_DEPTH:
                    raise _too_deep()
                return reader(content, depth)
        if depth >= MAX_DEPTH:
            raise _too_deep()
        return self._fields(plain, depth)

    def items(self, plain: Any, depth: int) -> list[Any]:
        """Return the items of a list that is nested in *depth* containers."""
        if depth >= MAX_DEPTH:
            raise _too_deep()
        found = []
        for item in _list(plain):
            cls = type(item)
            found.append(self.read(item, depth + 1) if cls is dict or cls is list else item)
        return found

    def _fields(self, plain: dict[str, Any], depth: int) -> dict[str, Any]:
        found = {}
        for key, item in plain.items():
            cls = type(item)
            found[key] = self.read(item, depth + 1) if cls is dict or cls is list else item
        return found

    def _pairs(self, value: Any, depth: int) -> dict[Any, Any]:
        found = {}
        for pair in _list(value):
            key, item = _list(pair)
            found[self.read(key, depth + 1)] = self.read(item, depth + 1)
        return found

    # --- classes ----------------------------------------------------------------------------------

    def _enum(self, value: Any, depth: int) -> Any:
        name, member = _list(value)
        cls = self._find(name, issubclass_of(enum.Enum), "an enum")
        found = cls._member_map_.get(member)  # not cls[member]: a metaclass may run anything there
        if found is None:
            raise Undecodable(
                f"enum {name!r} has no member {str(member)[:100]!r} any more. Fix: keep it, perhaps as an alias"
            )
        return found

    def _flag(self, value: Any, depth: int) -> Any:
        name, bits = _list(value)
        cls = self._find(name, issubclass_of(enum.Flag), "a flag")
        number = bits if type(bits) is int else _int(bits["$int"])
        found = cls._value2member_map_.get(number)
        if found is None:  # a combination: as Flag itself makes it, not by a `_missing_` of the class
            found = enum.Flag._missing_.__func__(cls, number)  # type: ignore[attr-defined]
        if type(found) is not cls or found._value_ != number:
            raise Undecodable(f"flag {name!r} has no value {number} any more. Fix: keep its members")
        return found

    def _namedtuple(self, value: Any, depth: int) -> Any:
        name, stored, *written = _list(value)
        cls = self._find(name, lambda c: issubclass(c, tuple) and hasattr(c, "_fields"), "a NamedTuple")
        items = self.items(stored, depth)
        fields, defaults = cls._fields, cls._field_defaults
        if written and tuple(_list(written[0])) != fields:
            return _renamed_fields(cls, name, dict(zip(map(_text, written[0]), items, strict=True)))
        for field in fields[len(items) :]:
            if field not in defaults:
                raise _lacks(name, field)
            items.append(defaults[field])
        if len(items) > len(fields):
            raise Undecodable(f"NamedTuple {name!r} has fewer fields than the {len(items)} stored. Fix: keep them")
        return tuple.__new__(cls, items)

    def _object(self, value: Any, depth: int) -> Any:
        name, stored = _list(value)
        cls = self._find(name, has_fields, "attrs, a dataclass or a struct")
        known: dict[str, Any]
        if attrs.has(cls):
            known = {f.name: f for f in attrs.fields(cls)}
        elif issubclass(cls, msgspec.Struct):
            known = dict.fromkeys(cls.__struct_fields__)
        else:
            known = {field: cls.__dataclass_fields__[field] for field in dataclass_fields(cls)}
        found = self._fields(_dict(stored), depth)
        _no_unknown(name, found, known)
        if issubclass(cls, msgspec.Struct):
            return _struct(cls, name, found)
        new = object.__new__(cls)
        for field, item in found.items():
            object.__setattr__(new, field, item)
        for field, about in known.items():
            if field not in found:  # after the others: a default that takes the object sees what was stored
                object.__setattr__(new, field, _default(about, name, field, new))
        if "_attrs_cached_hash" in getattr(getattr(cls.__hash__, "__code__", None), "co_names", ()):
            object.__setattr__(new, "_attrs_cached_hash", None)
        return new

    def _model(self, value: Any, depth: int) -> Any:
        name, *parts, fields_set = _list(value)
        cls = self._find(name, lambda c: hasattr(c, "__pydantic_fields__"), "a pydantic model")
        data, extra, private = [None if part is None else _dict(self.read(part, depth)) for part in parts]
        data = _dict(data)
        fields = cls.__pydantic_fields__
        _no_unknown(name, data, {**fields, **_recomputed(cls)})
        for field, about in fields.items():
            if field not in data:
                data[field] = _model_default(about, name, field)
        new: Any = object.__new__(cls)
        object.__setattr__(new, "__dict__", data)
        object.__setattr__(new, "__pydantic_fields_set__", set(_list(fields_set)))
        object.__setattr__(new, "__pydantic_extra__", extra)
        object.__setattr__(new, "__pydantic_private__", private)
        return new

    def _custom(self, value: Any, depth: int) -> Any:
        name, stored = _list(value)
        custom = self._registry.custom(self._registry.find(name))
        if custom is None or custom.decode is None:
            raise Undecodable(
                f"{name!r} is not registered with functions here. Fix: codec.register(cls, encode=, decode=)"
            )
        data = self.read(stored, depth + 1)
        try:
            return custom.decode(data)
        except Exception as error:
            raise Undecodable(
                f"the function registered to decode {name!r} raised {describe_error(error)[:200]}. Fix: mend it"
            ) from error

    def _exception(self, value: Any, depth: int) -> BaseException:
        return exceptions.put_together(value, self._registry, lambda part: self.read(part, depth + 1))

    def _find(self, name: Any, fits: Callable[[type[Any]], bool], kind: str) -> Any:
        cls = self._registry.find(name)
        if not fits(cls):
            raise Undecodable(f"the stored class {name!r} is not {kind} any more. Fix: register it under another name")
        return cls


def has_fields(cls: type[Any]) -> bool:
    """Tell whether instances of *cls* are stored field by field, under their names."""
    return attrs.has(cls) or hasattr(cls, "__dataclass_fields__") or issubclass(cls, msgspec.Struct)


def issubclass_of(base: type[Any]) -> Callable[[type[Any]], bool]:
    """Return a check for subclasses of *base*."""
    return lambda cls: issubclass(cls, base)


def _renamed_fields(cls: Any, name: str, stored: dict[str, Any]) -> Any:
    """Return a NamedTuple whose class had other fields when it was stored, matched by name."""
    _no_unknown(name, stored, dict.fromkeys(cls._fields))
    for field in cls._fields:
        if field not in stored and field not in cls._field_defaults:
            raise _lacks(name, field)
    return tuple.__new__(cls, [stored.get(field, cls._field_defaults.get(field)) for field in cls._fields])


def _struct(cls: Any, name: str, found: dict[str, Any]) -> Any:
    """Return a struct. Its `__post_init__` runs: msgspec builds structs in no other way."""
    try:
        return cls(**found)
    except Exception as error:
        raise Undecodable(
            f"the stored {name!r} cannot be built: {describe_error(error)[:200]}. "
            f"Fix: give new fields a default, and let __post_init__ take what was stored"
        ) from error


def _default(about: Any, cls: str, field: str, new: Any) -> Any:
    """Return the default of a field that was added after the value had been stored."""
    default = about.default
    factory = getattr(about, "default_factory", None)  # a dataclass's
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        factory, args = default.factory, ((new,) if default.takes_self else ())
    elif type(factory).__name__ not in ("NoneType", "_MISSING_TYPE"):
        args = ()
    elif default is attrs.NOTHING or type(default).__name__ == "_MISSING_TYPE":
        raise _lacks(cls, field)
    else:
        return default
    try:
        return factory(*args)  # type: ignore[misc]
    except Exception as error:
        raise _lacks(cls, field) from error


def _model_default(about: Any, cls: str, field: str) -> Any:
    if about.is_required():
        raise _lacks(cls, field)
    try:
        return about.get_default(call_default_factory=True)
    except Exception as error:
        raise _lacks(cls, field) from error


def _recomputed(cls: type[Any]) -> dict[str, Any]:
    return {key: None for base in cls.__mro__ for key, v in vars(base).items() if type(v).__name__ == "cached_property"}


def _no_unknown(name: str, stored: dict[str, Any], known: dict[str, Any]) -> None:
    unknown = stored.keys() - known.keys()
    if unknown:
        raise Undecodable(
            f"class {name!r} has no field {min(unknown)[:100]!r} any more. Fix: keep the field, or register a class of that name"
        )


def _lacks(cls: str, field: str) -> Undecodable:
    return Undecodable(f"the stored {cls!r} lacks field {field!r}, which has no usable default. Fix: give it one")


def _too_deep() -> Undecodable:
    return Undecodable(
        f"the stored text is nested deeper than {MAX_DEPTH} levels. Fix: restore it, replay does not write such text"
    )


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError(f"expected a list, found {str(value)[:50]!r}")
    return value


def _dict(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise TypeError(f"expected an object, found {str(value)[:50]!r}")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"expected text, found {str(value)[:50]!r}")
    return value


def _int(value: Any) -> int:
    if type(value) is dict:
        (value,) = value.values()
    return value if type(value) is int else int(_text(value), 16)


def _bytes(value: Any) -> bytes:
    return base64.b64decode(_text(value), validate=True)


def _uuid(value: Any) -> uuid.UUID:
    if type(value) is list:
        return uuid.UUID(_text(value[0]), is_safe=uuid.SafeUUID._member_map_[value[1]])  # type: ignore[arg-type]
    return uuid.UUID(_text(value))


def _path(value: Any) -> pathlib.PurePath:
    kind, text = _list(value)
    return _PATHS[kind](_text(text))


_PATHS: dict[str, type[pathlib.PurePath]] = {
    "Path": pathlib.Path,
    "PurePosixPath": pathlib.PurePosixPath,
    "PureWindowsPath": pathlib.PureWindowsPath,
}

_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

_LEAVES: dict[str, Callable[[Any], Any]] = {
    "$int": _int,
    "$text": lambda v: "".join(map(_text, _list(v))),
    "$float": lambda v: _FLOATS[v],
    "$bytes": _bytes,
    "$bytearray": lambda v: bytearray(_bytes(v)),
    "$complex": lambda v: complex(float(_text(v[0])), float(_text(v[1]))),
    "$range": lambda v: range(*[_int(part) for part in _list(v)]),
    "$datetime": lambda v: read_moment(dt.datetime, v),
    "$date": lambda v: dt.date.fromisoformat(v),
    "$time": lambda v: read_moment(dt.time, v),
    "$timedelta": lambda v: dt.timedelta(*_list(v)),
    "$timezone": read_zone,
    "$zone": lambda v: read_zone(_text(v)),
    "$decimal": lambda v: decimal.Decimal(_text(v)),
    "$fraction": lambda v: fractions.Fraction(_int(v[0]), _int(v[1])),
    "$uuid": _uuid,
    "$path": _path,
}
