"""The standard codec: tagged JSON, with either backend.

The JSON parser alone decodes text without a tag; only text with tags is walked.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from replay.codec.json_backends import JsonBackendName, choose, parse, standard_dumps
from replay.codec.lenient import Inspector
from replay.codec.reading import Reader
from replay.codec.registry import REGISTRY
from replay.codec.surrogates import apart
from replay.codec.writing import AS_IS, Writer
from replay.core.errors import NotSerializable, Undecodable

_C = TypeVar("_C", bound=type[Any])
_TAG = b'{"$'  # how both backends begin a tag
_FAST_DIGEST = frozenset({int, str, bool, type(None)})  # their texts are the same in every process and version

_writer = Writer(REGISTRY)
_digest_writer = Writer(REGISTRY, traces=False)
_reader = Reader(REGISTRY)
_inspector = Inspector(REGISTRY)


@overload
def serializable(cls: _C) -> _C: ...
@overload
def serializable(cls: None = None, *, name: str | None = None) -> Callable[[_C], _C]: ...
def serializable(cls: Any = None, *, name: str | None = None) -> Any:
    """Allow a class (attrs, dataclass, struct, enum, NamedTuple, pydantic, exception) to be stored. The outermost decorator.

    *name* keeps stored text readable after the class was renamed or moved: pass its old `module:QualifiedName`.
    """

    def register(found: _C) -> _C:
        REGISTRY.register(found, name)
        return found

    return register if cls is None else register(cls)


class TaggedJson:
    """The standard codec. Trusted modules and registered classes hold for the process, not for one codec.

    Args:
        engine: `"orjson"`, `"json"`, or None for the faster one that is installed.
    """

    def __init__(self, engine: JsonBackendName | None = None) -> None:
        self._backend = choose(engine)
        self._dumps = self._backend.dumps

    def trust(self, *modules: str) -> None:
        """Allow the classes of *modules* (packages include their submodules) to be rebuilt; nothing is imported."""
        REGISTRY.trust(*modules)

    def register(
        self,
        cls: type[Any],
        name: str | None = None,
        encode: Callable[[Any], Any] | None = None,
        decode: Callable[[Any], Any] | None = None,
    ) -> None:
        """Allow *cls* to be stored, optionally through functions to and from an encodable value.

        Raises:
            TypeError: Only one of the functions was given, or none for a class that needs them.
        """
        REGISTRY.register(cls, name, encode, decode)

    def encode(self, value: Any) -> bytes:
        """Return *value* as one line of JSON text. See `ports.Codec.encode`."""
        plain = value if type(value) in AS_IS else _writer.plain(value)
        try:
            return self._dumps(plain)
        except (TypeError, ValueError):  # surrogates, or nesting beyond the backend's
            return standard_dumps(apart(plain))

    def decode(self, data: bytes) -> Any:
        """Return the value that *data* stands for. See `ports.Codec.decode`."""
        plain = parse(self._backend, data)
        return _reader.value(plain) if _TAG in data else plain

    def inspect(self, data: bytes) -> Any:
        """Return the value for inspection: unknown classes become `UnknownValue`s. Optional for codecs.

        Raises:
            Undecodable: *data* is not JSON text.
        """
        return _inspector.value(parse(self._backend, data))

    def decode_rows(self, rows: Sequence[bytes]) -> list[Any]:
        """Return the values of *rows*, parsed in one go. See `ports.Codec.decode_rows`.

        Raises:
            Undecodable: A row is not what `encode` writes; the message begins with its index (`row 3: `).
        """
        text = b"[" + b",".join(rows) + b"]"
        try:
            values: list[Any] = self._backend.loads(text)
        except (ValueError, RecursionError):
            values = []
        if len(values) != len(rows):  # a row is damaged, or two lines in one: read one by one to find it
            return [self._decode_row(index, row) for index, row in enumerate(rows)]
        if _TAG in text:
            for index, row in enumerate(rows):
                if _TAG in row:
                    try:
                        values[index] = _reader.value(values[index])
                    except Undecodable as error:
                        raise Undecodable(f"row {index}: {error}") from error
        return values

    def digest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """Return a stable fingerprint of a call's arguments. See `ports.Codec.digest`."""
        if not kwargs:
            if not args:
                return None
            for arg in args:
                if type(arg) not in _FAST_DIGEST:
                    break
            else:
                try:
                    # ascii, not repr: what repr escapes depends on Python's Unicode tables.
                    return zlib.crc32(ascii(args).encode())
                except ValueError:  # an int with more digits than Python likes to write
                    pass
        try:
            plain = _digest_writer.plain([list(args), [[key, kwargs[key]] for key in sorted(kwargs)]])
        except NotSerializable:
            return None
        # Always the standard library: the backends write some floats differently.
        return zlib.crc32(json.dumps(plain, separators=(",", ":"), sort_keys=True).encode())

    def _decode_row(self, index: int, row: bytes) -> Any:
        try:
            return self.decode(row)
        except Undecodable as error:
            raise Undecodable(f"row {index}: {error}") from error
