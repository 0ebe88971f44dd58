"""Lenient decoding for inspection: a part that cannot be rebuilt here becomes an `UnknownValue`."""

from __future__ import annotations

from typing import Any

from replay.codec.reading import Reader
from replay.codec.refusal import MAX_DEPTH
from replay.codec.unknown import UnknownValue
from replay.core.errors import Undecodable

_NAMED = frozenset({"$obj", "$model", "$namedtuple", "$enum", "$flag", "$custom"})
"""Tags with the name of a class as their first item."""


class Inspector(Reader):
    """A tolerant `Reader`: a part that cannot be read does not hide the others."""

    def read(self, plain: Any, depth: int) -> Any:
        """Return the value of *plain*; an `UnknownValue` if it is unknown or damaged."""
        try:
            return super().read(plain, depth)
        except (Undecodable, ValueError, TypeError, LookupError, ArithmeticError, AttributeError):
            if type(plain) is not dict or len(plain) != 1 or depth >= MAX_DEPTH:
                raise
            ((tag, content),) = plain.items()
            return self._unknown(tag, content, depth)

    def _unknown(self, tag: str, content: Any, depth: int) -> UnknownValue:
        named = tag in _NAMED and type(content) is list and len(content) >= 2 and type(content[0]) is str
        if not named:
            return UnknownValue(tag, content)
        return UnknownValue(content[0], self.read(content[1], depth + 1))
