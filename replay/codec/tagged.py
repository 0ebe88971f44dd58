"""Tagged JSON: plain JSON where that is exact, one-key objects such as `{"$tuple": [...]}` otherwise.

Types are dispatched by their exact class, so that no subclass slips through as its base. Text without a tag is decoded by the
JSON parser alone. Both engines (orjson when installed, the standard library's otherwise) read each other's text.
"""

from __future__ import annotations

import base64
import binascii
import collections
import datetime as dt
import decimal
import enum
import fractions
import json
import math
import pathlib
import uuid
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import attrs

from replay.codec import exceptions
from replay.codec.registry import Registry
from replay.core.errors import NotSerializable, Undecodable

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

MAX_DEPTH = 200
"""Deepest nesting: far beyond any real payload, far below what breaks a parser."""

_PLAIN = (int, str, bool, type(None))
_INT64 = 2**63
_C = TypeVar("_C", bound=type[Any])
_registry = Registry()  # what `@serializable` fills: shared by all codecs of the process


def serializable(cls: _C | None = None, *, name: str | None = None) -> Any:
    """Allow a class (attrs, dataclass, enum, NamedTuple, pydantic, exception) to be stored; a decorator.

    *name* keeps stored text readable after the class was renamed or moved: pass its old `module:QualifiedName`.
    """
    if cls is None:
        return lambda found: serializable(found, name=name)
    _registry.register(cls, name)
    return cls


class TaggedJson:
    """The standard codec.

    Args:
        engine: `"orjson"`, `"json"`, or None for the faster one that is installed.
    """

    def __init__(self, engine: str | None = None) -> None:
        if engine not in (None, "orjson", "json"):
            raise ValueError(f"engine is 'orjson', 'json' or None, not {engine!r}")
        if engine == "orjson" and orjson is None:
            raise ValueError("engine='orjson' needs orjson. Fix: pip install 'replay-engine[fast]'")
        self._fast = orjson is not None and engine != "json"
        self._loads: Callable[[bytes], Any] = orjson.loads if self._fast else json.loads
        self._registry = _registry
        self._writers: dict[type[Any], Callable[[Any, int], Any]] = {}

    def trust(self, *modules: str) -> None:
        """Allow the classes of *modules* (packages include their submodules) to be rebuilt; nothing is imported."""
        self._registry.trust(*modules)

    def register(
        self,
        cls: type[Any],
        name: str | None = None,
        encode: Callable[[Any], Any] | None = None,
        decode: Callable[[Any], Any] | None = None,
    ) -> None:
        """Allow *cls* to be stored, optionally through functions to and from an encodable value."""
        self._registry.register(cls, name, encode, decode)
        self._writers.pop(cls, None)

    # --- encoding --------------------------------------------------------------------------------

    def encode(self, value: Any) -> bytes:
        """Return *value* as one line of JSON text. See `ports.Codec.encode`."""
        try:
            plain = value if value.__class__ in (str, bool) else self._plain(value, 0)
        except RecursionError:
            raise NotSerializable("the value is nested too deeply, or contains itself") from None
        if self._fast:
            try:
                return orjson.dumps(plain)
            except (TypeError, orjson.JSONEncodeError):
                pass  # a lone surrogate: only the standard library writes it
        return json.dumps(plain, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()

    def _plain(self, value: Any, depth: int) -> Any:
        """Return *value* as JSON-able data: the same object where it already is."""
        cls = value.__class__
        if cls is str or cls is bool or value is None:
            return value
        if cls is int:
            return value if -_INT64 <= value < _INT64 else {"$int": hex(value)}
        if cls is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if depth > MAX_DEPTH:
            raise NotSerializable(f"the value is nested deeper than {MAX_DEPTH} levels, or contains itself")
        if cls is list:
            return self._plain_items(value, depth)
        if cls is dict:
            return self._plain_dict(value, depth)
        writer = self._writers.get(cls) or self._writer(cls)
        return writer(value, depth)

    def _plain_items(self, items: Any, depth: int) -> list[Any]:
        plain = []
        changed = False
        for index, item in enumerate(items):
            if item.__class__ in (str, bool) or item is None:
                plain.append(item)
                continue
            try:
                new = self._plain(item, depth + 1)
            except NotSerializable as error:
                raise _at(error, f"[{index}]") from None
            changed = changed or new is not item
            plain.append(new)
        return plain if changed or items.__class__ is not list else items

    def _plain_dict(self, value: dict[Any, Any], depth: int) -> Any:
        plain = {}
        changed = False
        for key, item in value.items():
            if key.__class__ is not str or key[:1] == "$":
                return {"$dict": [self._plain_items(pair, depth + 1) for pair in value.items()]}
            try:
                new = self._plain(item, depth + 1)
            except NotSerializable as error:
                raise _at(error, f".{key}" if key.isidentifier() else f"[{key!r}]") from None
            changed = changed or new is not item
            plain[key] = new
        return plain if changed else value

    def _writer(self, cls: type[Any]) -> Callable[[Any, int], Any]:
        writer = self._make_writer(cls)
        self._writers[cls] = writer
        return writer

    def _make_writer(self, cls: type[Any]) -> Callable[[Any, int], Any]:
        custom = self._registry.custom(cls)
        if custom is not None and custom.encode is not None:
            encode, name = custom.encode, custom.name
            return lambda value, depth: {"$custom": [name, self._plain(encode(value), depth + 1)]}
        simple = _WRITERS.get(cls)
        if simple is not None:
            return lambda value, depth: simple(self, value, depth)
        if issubclass(cls, pathlib.PurePath):
            tag = "Path" if issubclass(cls, pathlib.Path) else cls.__name__
            return lambda value, depth: {"$path": [tag, str(value)]}
        if issubclass(cls, enum.Enum):
            return self._enum_writer(cls)
        if issubclass(cls, BaseException):
            return self._exception
        name = self._registry.name_of(cls)
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            return lambda value, depth: {"$namedtuple": [name, self._plain_items(tuple(value), depth)]}
        if attrs.has(cls):
            return self._fields_writer(name, tuple(f.name for f in attrs.fields(cls)))
        if hasattr(cls, "__dataclass_fields__"):
            fields = cls.__dataclass_fields__.values()
            return self._fields_writer(name, tuple(f.name for f in fields if f._field_type.name == "_FIELD"))
        if hasattr(cls, "__pydantic_fields__"):
            return self._pydantic_writer(name)
        raise NotSerializable(
            f"a value of class {cls.__module__}.{cls.__qualname__} cannot be stored and restored exactly. "
            f"Fix: pass plain data, attrs, dataclasses, enums or pydantic models, or codec.register(cls, encode=, decode=)"
        )

    def _enum_writer(self, cls: type[Any]) -> Callable[[Any, int], Any]:
        name = self._registry.name_of(cls)
        if issubclass(cls, enum.Flag):
            return lambda value, depth: {"$flag": [name, value.value]}
        return lambda value, depth: {"$enum": [name, value.name]}

    def _fields_writer(self, name: str, fields: tuple[str, ...]) -> Callable[[Any, int], Any]:
        def write(value: Any, depth: int) -> Any:
            plain = {}
            for field in fields:
                try:
                    plain[field] = self._plain(getattr(value, field), depth + 1)
                except NotSerializable as error:
                    raise _at(error, f".{field}") from None
            return {"$obj": [name, plain]}

        return write

    def _pydantic_writer(self, name: str) -> Callable[[Any, int], Any]:
        def write(value: Any, depth: int) -> Any:
            data = dict(value.__dict__)
            private = value.__pydantic_private__ or {}
            extra = value.__pydantic_extra__ or {}
            plain = [self._plain(part, depth + 1) for part in (data, dict(extra), dict(private))]
            return {"$model": [name, *plain, sorted(value.__pydantic_fields_set__)]}

        return write

    def _exception(self, error: BaseException, depth: int) -> Any:
        cls = type(error)
        name = f"{cls.__module__}:{cls.__qualname__}"
        causes = depth // 1000  # depth counts causes in its thousands: they are bounded on their own
        parts = exceptions.take_apart(error, name, lambda v: self._plain(v, depth % 1000 + 1), causes)
        if "cause" in parts:
            parts["cause"] = self._exception(parts["cause"], depth + 1000)
        if self._registry.custom(cls) is None and "<" not in cls.__qualname__:
            self._registry.name_of(cls)
        return {"$exc": parts}

    # --- decoding ----------------------------------------------------------------------------------

    def decode(self, data: bytes) -> Any:
        """Return the value that *data* stands for. See `ports.Codec.decode`."""
        value = self._parse(data)
        return self._restore(value) if b'{"$' in data else value

    def decode_rows(self, rows: Sequence[bytes]) -> list[Any]:
        """Return the values of *rows*, parsed in one go. See `ports.Codec.decode_rows`."""
        text = b"[" + b",".join(rows) + b"]"
        try:
            values = self._loads(text)
        except (ValueError, RecursionError):
            values = [self._parse_row(index, row) for index, row in enumerate(rows)]
        if len(values) != len(rows):
            values = [self._parse_row(index, row) for index, row in enumerate(rows)]
        if b'{"$' in text:
            for index, row in enumerate(rows):
                if b'{"$' in row:
                    values[index] = self._restore(values[index])
        return values  # type: ignore[no-any-return]

    def _parse_row(self, index: int, row: bytes) -> Any:
        try:
            return self._parse(row)
        except Undecodable as error:
            raise Undecodable(f"row {index}: {error}") from error

    def _parse(self, data: bytes) -> Any:
        try:
            return self._loads(data)
        except (ValueError, RecursionError, TypeError) as error:
            if self._fast:  # lone surrogates: orjson refuses what the standard library wrote
                try:
                    return json.loads(data)
                except (ValueError, RecursionError, TypeError):
                    pass
            raise Undecodable(f"not JSON text: {bytes(data[:60])!r} ({error})") from error

    def _restore(self, value: Any) -> Any:
        try:
            return self._walk(value, 0)
        except Undecodable:
            raise
        except (ValueError, TypeError, KeyError, ArithmeticError, AttributeError, RecursionError, LookupError) as error:
            raise Undecodable(f"damaged tagged text: {type(error).__name__}: {str(error)[:200]}") from error

    def _walk(self, value: Any, depth: int) -> Any:
        cls = value.__class__
        if cls is list:
            if depth > 2 * MAX_DEPTH + 50:
                raise Undecodable("the stored text is nested too deeply")
            return [self._walk(v, depth + 1) if v.__class__ in (list, dict) else v for v in value]
        if cls is dict:
            if len(value) == 1:
                ((tag, content),) = value.items()
                if tag[:1] == "$":
                    reader = _READERS.get(tag)
                    if reader is None:
                        raise Undecodable(f"unknown tag {tag!r} (written by a newer version?)")
                    inner = self._walk(content, depth + 1) if content.__class__ in (list, dict) else content
                    return reader(self, inner)
            if depth > 2 * MAX_DEPTH + 50:
                raise Undecodable("the stored text is nested too deeply")
            return {k: self._walk(v, depth + 1) if v.__class__ in (list, dict) else v for k, v in value.items()}
        return value

    # --- digests --------------------------------------------------------------------------------------

    def digest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """Return a stable fingerprint of a call's arguments. See `ports.Codec.digest`."""
        if not kwargs:
            if not args:
                return None
            for arg in args:
                if arg.__class__ not in _PLAIN:
                    break
            else:
                return zlib.crc32(repr(args).encode("utf-8", "surrogatepass"))
        try:
            text = json.dumps(
                self._plain([list(args), [[k, kwargs[k]] for k in sorted(kwargs)]], 0),
                separators=(",", ":"),
                sort_keys=True,
            )
        except (NotSerializable, RecursionError, TypeError, ValueError):
            return None
        return zlib.crc32(text.encode())


def _at(error: NotSerializable, step: str) -> NotSerializable:
    path = step + error.path
    message = str(error)
    if error.path:
        message = message.rsplit(" (at ", 1)[0]
    return NotSerializable(f"{message} (at {path})", path)


# --- tags: one writer and one reader each ------------------------------------------------------------


def _sorted_plain(codec: TaggedJson, value: Any, depth: int) -> list[Any]:
    """Return a set's items in an order that depends on them alone."""
    plain = codec._plain_items(list(value), depth)
    return sorted(plain, key=lambda item: json.dumps(item, sort_keys=True))


def _datetime_text(value: dt.datetime) -> Any:
    zone = value.tzinfo
    if zone is None or isinstance(zone, dt.timezone):
        return [value.isoformat(), value.fold] if value.fold else value.isoformat()
    if isinstance(zone, ZoneInfo) and zone.key:
        return [value.replace(tzinfo=None).isoformat(), value.fold, zone.key]
    raise NotSerializable(
        f"a datetime with tzinfo {zone!r} cannot be stored exactly. Fix: use zoneinfo or datetime.timezone"
    )


def _time_text(value: dt.time) -> Any:
    if value.tzinfo is not None and not isinstance(value.tzinfo, dt.timezone):
        if isinstance(value.tzinfo, ZoneInfo) and value.tzinfo.key:
            return [value.replace(tzinfo=None).isoformat(), value.fold, value.tzinfo.key]
        raise NotSerializable(f"a time with tzinfo {value.tzinfo!r} cannot be stored exactly")
    return [value.isoformat(), value.fold] if value.fold else value.isoformat()


def _zone_text(value: dt.timezone) -> Any:
    return value.utcoffset(None).total_seconds()


_Writer = Callable[[TaggedJson, Any, int], Any]
_WRITERS: dict[type[Any], _Writer] = {
    tuple: lambda c, v, d: {"$tuple": c._plain_items(v, d)},
    set: lambda c, v, d: {"$set": _sorted_plain(c, v, d)},
    frozenset: lambda c, v, d: {"$frozenset": _sorted_plain(c, v, d)},
    collections.deque: lambda c, v, d: {"$deque": [c._plain_items(list(v), d), v.maxlen]},
    collections.OrderedDict: lambda c, v, d: {"$odict": [c._plain_items(p, d + 1) for p in v.items()]},
    bytes: lambda c, v, d: {"$bytes": base64.b64encode(v).decode()},
    bytearray: lambda c, v, d: {"$bytearray": base64.b64encode(v).decode()},
    complex: lambda c, v, d: {"$complex": [repr(v.real), repr(v.imag)]},
    range: lambda c, v, d: {"$range": [c._plain(x, d) for x in (v.start, v.stop, v.step)]},
    dt.datetime: lambda c, v, d: {"$datetime": _datetime_text(v)},
    dt.date: lambda c, v, d: {"$date": v.isoformat()},
    dt.time: lambda c, v, d: {"$time": _time_text(v)},
    dt.timedelta: lambda c, v, d: {"$timedelta": [v.days, v.seconds, v.microseconds]},
    dt.timezone: lambda c, v, d: {"$timezone": _zone_text(v)},
    ZoneInfo: lambda c, v, d: {"$zone": v.key},
    decimal.Decimal: lambda c, v, d: {"$decimal": str(v)},
    fractions.Fraction: lambda c, v, d: {"$fraction": [c._plain(v.numerator, d), c._plain(v.denominator, d)]},
    uuid.UUID: lambda c, v, d: {"$uuid": str(v)},
}


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Undecodable(f"damaged bytes: {error}") from error


def _read_datetime(codec: TaggedJson, value: Any) -> dt.datetime:
    if isinstance(value, str):
        return dt.datetime.fromisoformat(value)
    moment = dt.datetime.fromisoformat(value[0]).replace(fold=int(value[1]))
    return moment.replace(tzinfo=ZoneInfo(value[2])) if len(value) > 2 else moment


def _read_time(codec: TaggedJson, value: Any) -> dt.time:
    if isinstance(value, str):
        return dt.time.fromisoformat(value)
    moment = dt.time.fromisoformat(value[0]).replace(fold=int(value[1]))
    return moment.replace(tzinfo=ZoneInfo(value[2])) if len(value) > 2 else moment


def _read_path(codec: TaggedJson, value: Any) -> Any:
    kinds = {"Path": pathlib.Path, "PurePosixPath": pathlib.PurePosixPath, "PureWindowsPath": pathlib.PureWindowsPath}
    return kinds[value[0]](value[1])


def _read_enum(codec: TaggedJson, value: Any) -> Any:
    cls = codec._registry.find(value[0])
    if not issubclass(cls, enum.Enum):
        raise Undecodable(f"{value[0]!r} is not an enum")
    return cls[value[1]]


def _read_flag(codec: TaggedJson, value: Any) -> Any:
    cls = codec._registry.find(value[0])
    if not issubclass(cls, enum.Flag):
        raise Undecodable(f"{value[0]!r} is not a flag")
    return cls(value[1])


def _read_namedtuple(codec: TaggedJson, value: Any) -> Any:
    cls = codec._registry.find(value[0])
    if not (issubclass(cls, tuple) and len(value[1]) == len(cls._fields)):  # type: ignore[attr-defined]
        raise Undecodable(f"{value[0]!r} is not a NamedTuple of {len(value[1])} fields")
    return tuple.__new__(cls, value[1])


def _read_object(codec: TaggedJson, value: Any) -> Any:
    name, stored = value
    cls = codec._registry.find(name)
    new = object.__new__(cls)
    if attrs.has(cls):
        known: dict[str, Any] = {f.name: f for f in attrs.fields(cls)}
    elif hasattr(cls, "__dataclass_fields__"):
        known = {k: f for k, f in cls.__dataclass_fields__.items() if f._field_type.name == "_FIELD"}
    else:
        raise Undecodable(f"{name!r} is neither attrs nor a dataclass")
    unknown = stored.keys() - known.keys()
    if unknown:
        raise Undecodable(
            f"class {name!r} has no field {min(unknown)!r} any more. Fix: keep the field, or rename by hand"
        )
    for field, about in known.items():
        value = stored[field] if field in stored else _default(about, name, field)
        object.__setattr__(new, field, value)
    return new


def _default(about: Any, cls: str, field: str) -> Any:
    default = about.default
    if type(default).__name__ == "Factory" and not default.takes_self:
        return default.factory()
    if getattr(about, "default_factory", None).__class__.__name__ not in ("NoneType", "_MISSING_TYPE"):
        return about.default_factory()
    if default is attrs.NOTHING or default.__class__.__name__ in ("_MISSING_TYPE", "Factory"):
        raise Undecodable(f"the stored {cls!r} lacks field {field!r}, which has no default. Fix: give it one")
    return default


def _read_model(codec: TaggedJson, value: Any) -> Any:
    name, data, extra, private, fields_set = value
    cls = codec._registry.find(name)
    if not hasattr(cls, "__pydantic_fields__"):
        raise Undecodable(f"{name!r} is not a pydantic model")
    new: Any = object.__new__(cls)
    object.__setattr__(new, "__dict__", data)
    object.__setattr__(new, "__pydantic_fields_set__", set(fields_set))
    object.__setattr__(new, "__pydantic_extra__", extra or None)
    object.__setattr__(new, "__pydantic_private__", private or None)
    return new


def _read_custom(codec: TaggedJson, value: Any) -> Any:
    custom = codec._registry.custom(codec._registry.find(value[0]))
    if custom is None or custom.decode is None:
        raise Undecodable(f"{value[0]!r} is not registered with decode=")
    return custom.decode(value[1])


def _read_exception(codec: TaggedJson, parts: Any) -> BaseException:
    if not isinstance(parts, dict):
        raise Undecodable("damaged exception")
    return exceptions.put_together(codec._registry.find_exception(parts.get("type")), parts)


_READERS: dict[str, Callable[[TaggedJson, Any], Any]] = {
    "$int": lambda c, v: int(v, 16),
    "$float": lambda c, v: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[v],
    "$dict": lambda c, v: {k: x for k, x in v},  # noqa: C416  # refuses pairs that are not pairs
    "$tuple": lambda c, v: tuple(v),
    "$set": lambda c, v: set(v),
    "$frozenset": lambda c, v: frozenset(v),
    "$deque": lambda c, v: collections.deque(v[0], v[1]),
    "$odict": lambda c, v: collections.OrderedDict(v),
    "$bytes": lambda c, v: _bytes(v),
    "$bytearray": lambda c, v: bytearray(_bytes(v)),
    "$complex": lambda c, v: complex(float(v[0]), float(v[1])),
    "$range": lambda c, v: range(*v),
    "$datetime": _read_datetime,
    "$date": lambda c, v: dt.date.fromisoformat(v),
    "$time": _read_time,
    "$timedelta": lambda c, v: dt.timedelta(*v),
    "$timezone": lambda c, v: dt.timezone(dt.timedelta(seconds=v)),
    "$zone": lambda c, v: ZoneInfo(v),
    "$decimal": lambda c, v: decimal.Decimal(v),
    "$fraction": lambda c, v: fractions.Fraction(v[0], v[1]),
    "$uuid": lambda c, v: uuid.UUID(v),
    "$path": _read_path,
    "$enum": _read_enum,
    "$flag": _read_flag,
    "$namedtuple": _read_namedtuple,
    "$obj": _read_object,
    "$model": _read_model,
    "$custom": _read_custom,
    "$exc": _read_exception,
}
