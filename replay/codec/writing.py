"""Values to plain JSON data: the same object where that is exact, one-key objects such as `{"$tuple": [...]}` otherwise.

Classes are dispatched exactly, so that no subclass is stored as its base. The writer of a class is compiled once.
"""

from __future__ import annotations

import base64
import collections
import datetime as dt
import decimal
import enum
import fractions
import functools
import json
import math
import pathlib
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import msgspec

from replay.codec import exceptions
from replay.codec.refusal import MAX_DEPTH, Refusal, key_step, too_deep, unknown_class
from replay.codec.registry import Custom, Registry
from replay.codec.times import write_moment, write_zone
from replay.codec.unknown import UnknownValue
from replay.core.errors import NotSerializable, describe_error

Write = Callable[[Any, int], Any]
"""Takes a value and the number of containers around it; returns plain data."""

AS_IS = frozenset({str, bool, type(None)})
"""Classes whose every value is its own plain data."""

INT64 = 2**63


class Writer:
    """Turns values into plain data. *traces* false leaves traceback texts out, for digests: they name files and lines."""

    def __init__(self, registry: Registry, *, traces: bool = True) -> None:
        self._registry = registry
        self._traces = traces
        self._writers: dict[type[Any], Write] = {}
        self._reset()
        registry.watch(self._reset)

    def plain(self, value: Any) -> Any:
        """Return *value* as plain data.

        Raises:
            NotSerializable: *value* cannot be restored exactly; the message names the path inside it.
        """
        try:
            return self.write(value, 0)
        except Refusal as refusal:
            raise refusal.final() from refusal.__cause__
        except RecursionError:
            raise too_deep().final() from None

    def write(self, value: Any, depth: int) -> Any:
        """Return *value*, nested in *depth* containers, as plain data. Raises `Refusal`."""
        cls = type(value)
        if cls in AS_IS:
            return value
        return (self._writers.get(cls) or self._compile(cls))(value, depth)

    def items(self, values: Iterable[Any], depth: int) -> list[Any]:
        """Return the items of a container that is nested in *depth* containers."""
        if depth >= MAX_DEPTH:
            raise too_deep()
        writers = self._writers
        plain: list[Any] = []
        index = 0
        try:
            for index, item in enumerate(values):  # noqa: B007  # the refusal's path needs it
                cls = type(item)
                if cls in AS_IS:
                    plain.append(item)
                else:
                    plain.append((writers.get(cls) or self._compile(cls))(item, depth + 1))
        except Refusal as refusal:
            raise refusal.at(f"[{index}]")  # noqa: B904  # the same refusal goes on
        return plain

    def _reset(self) -> None:
        self._writers = {
            int: _int,
            float: _float,
            list: self.items,
            dict: self._dict,
            tuple: lambda v, d: {"$tuple": self.items(v, d)},
            set: lambda v, d: {"$set": self._sorted(v, d)},
            frozenset: lambda v, d: {"$frozenset": self._sorted(v, d)},
            collections.deque: lambda v, d: {"$deque": [self.items(v, d), v.maxlen]},
            collections.OrderedDict: lambda v, d: {"$odict": self._pairs(v, d)},
            **_LEAVES,
        }
        for custom in self._registry.customs():
            if custom.encode is not None:
                self._writers[custom.cls] = functools.partial(self._custom, custom, custom.encode)

    # --- containers -------------------------------------------------------------------------------

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        if depth >= MAX_DEPTH:
            raise too_deep()
        writers = self._writers
        plain = {}
        key: Any = None
        try:
            for key, item in value.items():
                if type(key) is not str or key[:1] == "$":
                    break
                cls = type(item)
                if cls in AS_IS:
                    plain[key] = item
                else:
                    plain[key] = (writers.get(cls) or self._compile(cls))(item, depth + 1)
            else:
                return plain
        except Refusal as refusal:
            raise refusal.at(key_step(key))  # noqa: B904  # the same refusal goes on
        return {"$dict": self._pairs(value, depth)}

    def _pairs(self, value: dict[Any, Any], depth: int) -> list[Any]:
        if depth >= MAX_DEPTH:
            raise too_deep()
        plain = []
        for key, item in value.items():
            try:
                plain.append([self.write(key, depth + 1), self.write(item, depth + 1)])
            except Refusal as refusal:
                raise refusal.at(key_step(key))  # noqa: B904  # the same refusal goes on
        return plain

    def _sorted(self, value: Iterable[Any], depth: int) -> list[Any]:
        """Return a set's items in an order that depends on them alone."""
        try:
            plain = self.items(value, depth)
        except Refusal as refusal:
            refusal.steps[-1] = "{...}"  # a set has no index
            raise
        return sorted(plain, key=_sort_text) if len(plain) > 1 else plain

    # --- classes ----------------------------------------------------------------------------------

    def _compile(self, cls: type[Any]) -> Write:
        write = self._make(cls)
        self._writers[cls] = write
        return write

    def _make(self, cls: type[Any]) -> Write:
        if issubclass(cls, BaseException):
            name = exceptions.name_of(cls, self._registry)
            return lambda value, depth: exceptions.take_apart(value, name, self.write, depth, traces=self._traces)
        try:
            if issubclass(cls, enum.Flag):
                name = self._registry.name_of(cls)
                return lambda value, depth: {"$flag": [name, value._value_]}
            if issubclass(cls, enum.Enum):
                name = self._registry.name_of(cls)
                return lambda value, depth: {"$enum": [name, value._name_]}
            if issubclass(cls, tuple) and hasattr(cls, "_fields"):
                return self._namedtuple(cls, self._registry.name_of(cls))
            if attrs.has(cls):
                return self._object(cls, tuple(f.name for f in attrs.fields(cls)))
            if hasattr(cls, "__dataclass_fields__"):
                return self._object(cls, dataclass_fields(cls))
            if issubclass(cls, msgspec.Struct):
                return self._object(cls, cls.__struct_fields__)
            if hasattr(cls, "__pydantic_fields__"):
                return functools.partial(self._model, self._registry.name_of(cls))
        except NotSerializable as error:
            raise Refusal(str(error)) from None
        raise unknown_class(cls)

    def _custom(self, custom: Custom, encode: Callable[[Any], Any], value: Any, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            raise too_deep()
        try:
            data = encode(value)
        except Exception as error:
            raise Refusal(
                f"the function registered to encode {custom.name!r} raised {describe_error(error)[:200]}. Fix: mend it"
            ) from error
        return {"$custom": [custom.name, self.write(data, depth + 1)]}

    def _namedtuple(self, cls: type[Any], name: str) -> Write:
        fields = list(cls._fields)

        def write(value: Any, depth: int) -> Any:
            more = getattr(value, "__dict__", {}).keys() - {"__orig_class__"}
            if more:
                raise _more_than_fields(cls, more)
            return {"$namedtuple": [name, self.items(tuple.__iter__(value), depth), fields]}

        return write

    def _object(self, cls: type[Any], fields: tuple[str, ...]) -> Write:
        name = self._registry.name_of(cls)
        try:
            if not issubclass(cls, msgspec.Struct):  # they cannot be built on something else
                object.__new__(cls)
        except TypeError:  # it is built on list, dict, ...: the fields are not all there is
            raise unknown_class(cls) from None
        known = frozenset(fields) | _recomputed(cls)
        slots = tuple(slot for slot in _foreign_slots(cls) if slot not in known)

        def write(value: Any, depth: int) -> Any:
            if depth >= MAX_DEPTH:
                raise too_deep()
            space = getattr(value, "__dict__", None)
            if (space and not known.issuperset(space)) or (slots and any(hasattr(value, slot) for slot in slots)):
                more = [*(space or ()), *(slot for slot in slots if hasattr(value, slot))]
                raise _more_than_fields(cls, [k for k in more if k not in known])
            plain = {}
            field = ""
            try:
                for field in fields:
                    plain[field] = self.write(getattr(value, field), depth + 1)
            except Refusal as refusal:
                raise refusal.at(f".{field}")  # noqa: B904  # the same refusal goes on
            except AttributeError:
                raise Refusal(f"field {field!r} of {name} is not set. Fix: give it a value, or a default").at(
                    f".{field}"
                ) from None
            return {"$obj": [name, plain]}

        return write

    def _model(self, name: str, value: Any, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            raise too_deep()
        extra, private = value.__pydantic_extra__, value.__pydantic_private__
        parts = [None if part is None else self._dict(dict(part), depth) for part in (value.__dict__, extra, private)]
        return {"$model": [name, *parts, sorted(value.__pydantic_fields_set__)]}


def dataclass_fields(cls: type[Any]) -> tuple[str, ...]:
    """Return the names of a dataclass's real fields: neither `ClassVar` nor `InitVar`."""
    return tuple(f.name for f in cls.__dataclass_fields__.values() if f._field_type.name == "_FIELD")


def _recomputed(cls: type[Any]) -> frozenset[str]:
    """Return the attributes that are no state: cached properties, attrs's cached hash, the alias of a generic class."""
    found = {"_attrs_cached_hash", "__orig_class__"}  # the latter is what Python notes on `Page[int](...)`
    for base in cls.__mro__:
        found.update(key for key, value in vars(base).items() if isinstance(value, functools.cached_property))
    return frozenset(found)


def _foreign_slots(cls: type[Any]) -> list[str]:
    """Return slots that neither attrs nor dataclasses made (theirs hold fields and cached properties)."""
    foreign: list[str] = []
    for base in cls.__mro__:
        own = vars(base)
        if "__slots__" in own and "__attrs_attrs__" not in own and "__dataclass_fields__" not in own:
            names = (own["__slots__"],) if isinstance(own["__slots__"], str) else tuple(own["__slots__"])
            foreign.extend(f"_{base.__name__.lstrip('_')}{n}" if n[:2] == "__" != n[-2:] else n for n in names)
    return [name for name in foreign if name not in ("__dict__", "__weakref__")]


def _more_than_fields(cls: type[Any], extra: Iterable[str]) -> Refusal:
    found = ", ".join(sorted(map(str, extra))[:3])
    return Refusal(
        f"an instance of {cls.__module__}.{cls.__qualname__} carries more than its fields: {found}. "
        f"Fix: declare fields for that, or codec.register(cls, encode=, decode=)"
    )


def _sort_text(item: Any) -> str:
    return json.dumps(item, sort_keys=True)


def _int(value: int, depth: int) -> Any:
    return value if -INT64 <= value < INT64 else {"$int": hex(value)}


def _float(value: float, depth: int) -> Any:
    return value if math.isfinite(value) else {"$float": repr(value)}


def _unknown(value: UnknownValue, depth: int) -> Any:
    raise Refusal(f"it stands for a {value.type_name}, which is not known here. Fix: import the module of that class")


def _range(value: range, depth: int) -> Any:
    return {"$range": [_int(part, depth) for part in (value.start, value.stop, value.step)]}


def _fraction(value: fractions.Fraction, depth: int) -> Any:
    return {"$fraction": [_int(value.numerator, depth), _int(value.denominator, depth)]}


def _path(value: pathlib.PurePath, depth: int) -> Any:
    return {"$path": ["Path" if isinstance(value, pathlib.Path) else type(value).__name__, str(value)]}


def _zone(value: dt.tzinfo, depth: int) -> Any:
    return {"$zone" if type(value) is ZoneInfo else "$timezone": write_zone(value)}


def _uuid(value: uuid.UUID, depth: int) -> Any:
    if value.is_safe is not uuid.SafeUUID.unknown:
        return {"$uuid": [str(value), value.is_safe.name]}
    return {"$uuid": str(value)}


_LEAVES: dict[type[Any], Write] = {
    bytes: lambda v, d: {"$bytes": base64.b64encode(v).decode()},
    bytearray: lambda v, d: {"$bytearray": base64.b64encode(v).decode()},
    complex: lambda v, d: {"$complex": [repr(v.real), repr(v.imag)]},
    range: _range,
    dt.datetime: lambda v, d: {"$datetime": write_moment(v)},
    dt.date: lambda v, d: {"$date": v.isoformat()},
    dt.time: lambda v, d: {"$time": write_moment(v)},
    dt.timedelta: lambda v, d: {"$timedelta": [v.days, v.seconds, v.microseconds]},
    dt.timezone: _zone,
    ZoneInfo: _zone,
    decimal.Decimal: lambda v, d: {"$decimal": str(v)},
    fractions.Fraction: _fraction,
    uuid.UUID: _uuid,
    UnknownValue: _unknown,
    **dict.fromkeys((pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath), _path),
}
