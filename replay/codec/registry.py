"""The allow-list: which classes may be rebuilt from stored text. Found in `sys.modules`, never imported."""

from __future__ import annotations

import builtins
import enum
import sys
from collections.abc import Callable
from typing import Any

import attrs

from replay.core.errors import NotSerializable, Undecodable


@attrs.frozen
class Custom:
    """How a class registered with functions of its own is written and read."""

    name: str
    cls: type[Any]
    encode: Callable[[Any], Any] | None
    decode: Callable[[Any], Any] | None


class Registry:
    """Names of classes, both ways."""

    def __init__(self) -> None:
        self._trusted: set[str] = {"replay"}
        self._custom: dict[type[Any], Custom] = {}
        self._by_name: dict[str, type[Any]] = {}

    def trust(self, *modules: str) -> None:
        """Allow the classes of *modules* and of their submodules."""
        self._trusted.update(modules)

    def register(
        self,
        cls: type[Any],
        name: str | None = None,
        encode: Callable[[Any], Any] | None = None,
        decode: Callable[[Any], Any] | None = None,
    ) -> None:
        """Allow *cls*, under *name*, optionally written by functions to and from an encodable value."""
        if (encode is None) != (decode is None):
            raise TypeError(f"register({cls.__name__}): pass both encode and decode, or neither")
        name = name or f"{cls.__module__}:{cls.__qualname__}"
        self._custom[cls] = Custom(name, cls, encode, decode)
        self._by_name[name] = cls

    def custom(self, cls: type[Any]) -> Custom | None:
        """Return how a registered class is written."""
        return self._custom.get(cls)

    def name_of(self, cls: type[Any]) -> str:
        """Return the name under which instances of *cls* are stored; the class is known here from now on.

        Raises:
            NotSerializable: It is a local class that nobody registered, so that no other process could find it.
        """
        custom = self._custom.get(cls)
        if custom is not None:
            return custom.name
        name = f"{cls.__module__}:{cls.__qualname__}"
        if "<" in cls.__qualname__ and self._by_name.get(name) is not cls:
            raise NotSerializable(
                f"class {cls.__qualname__} is local to a function, so no other process can find it. "
                f"Fix: move it to the top of a module, or decorate it with @replay.serializable"
            )
        self._by_name.setdefault(name, cls)
        return name

    def find(self, name: Any) -> type[Any]:
        """Return the class that *name* stands for.

        Raises:
            Undecodable: It is not on the allow-list, or its module is not loaded.
        """
        if not isinstance(name, str) or ":" not in name:
            raise Undecodable(f"{str(name)[:100]!r} does not name a class")
        known = self._by_name.get(name)
        if known is not None:
            return known
        module, _, qualname = name.partition(":")
        if not self._is_trusted(module):
            raise Undecodable(
                f"the stored text names class {name!r}, whose module is not trusted here. "
                f"Fix: register it (@replay.serializable), or codec.trust({module!r})"
            )
        found: Any = sys.modules.get(module)
        for part in qualname.split("."):
            found = vars(found).get(part) if found is not None and hasattr(found, "__dict__") else None
        if not isinstance(found, type) or not _is_data(found):
            raise Undecodable(
                f"the stored text names class {name!r}, which is not loaded in this process. "
                f"Fix: import its module before the worker starts, or register a renamed class under its old name"
            )
        return found

    def find_exception(self, name: Any) -> type[BaseException] | None:
        """Return the exception class that *name* stands for, None if it is unknown or not trusted here."""
        if not isinstance(name, str) or ":" not in name:
            return None
        module, _, qualname = name.partition(":")
        found: Any = self._by_name.get(name)
        if found is None and module == "builtins":
            found = getattr(builtins, qualname, None) if qualname.isidentifier() else None
        elif found is None and (self._is_trusted(module) or module in _STANDARD):
            found = sys.modules.get(module)
            for part in qualname.split("."):
                found = vars(found).get(part) if found is not None and hasattr(found, "__dict__") else None
        if not isinstance(found, type) or not issubclass(found, BaseException):
            return None
        from replay.core.errors import Cancelled

        return found if issubclass(found, Exception) or found is Cancelled else None

    def _is_trusted(self, module: str) -> bool:
        if module == "__main__":
            return "__main__" in self._trusted
        parts = module.split(".")
        return any(".".join(parts[:n]) in self._trusted for n in range(1, len(parts) + 1))


_STANDARD = frozenset(
    {"decimal", "json.decoder", "subprocess", "socket", "ssl", "urllib.error", "sqlite3", "concurrent.futures"}
)
"""Modules of the standard library whose exceptions are rebuilt (their classes hold data only)."""


def _is_data(cls: type[Any]) -> bool:
    return (
        attrs.has(cls)
        or hasattr(cls, "__dataclass_fields__")
        or issubclass(cls, enum.Enum)
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
        or hasattr(cls, "__pydantic_fields__")
    )
