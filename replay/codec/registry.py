"""The allow-list of classes that may be rebuilt from stored text. Classes are found in `sys.modules`, never imported."""

from __future__ import annotations

import builtins
import enum
import sys
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from replay.codec import generics
from replay.core.errors import Cancelled, NotSerializable, Undecodable


@attrs.frozen
class Custom:
    """A registered class: its name, and its own functions to write and read it, if any."""

    name: str
    cls: type[Any]
    encode: Callable[[Any], Any] | None
    decode: Callable[[Any], Any] | None


class Registry:
    """Names of classes, both ways; one for the process, since classes are the process's, too."""

    def __init__(self) -> None:
        self._trusted: set[str] = {"replay"}
        self._custom: dict[type[Any], Custom] = {}
        self._by_name: dict[str, type[Any]] = {}
        self._watchers: list[Callable[[], None]] = []

    def trust(self, *modules: str) -> None:
        """Allow the classes of *modules* and of their submodules."""
        self._trusted.update(modules)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call *changed* after each registration: compiled writers may be out of date."""
        self._watchers.append(changed)

    def register(
        self,
        cls: type[Any],
        name: str | None = None,
        encode: Callable[[Any], Any] | None = None,
        decode: Callable[[Any], Any] | None = None,
    ) -> None:
        """Allow *cls* under *name*, optionally with functions to and from an encodable value."""
        if (encode is None) != (decode is None):
            raise TypeError(f"register({cls.__name__}): encode and decode belong together. Fix: pass both, or neither")
        if encode is None and not is_data(cls) and not issubclass(cls, BaseException):
            raise TypeError(
                f"{cls.__module__}.{cls.__qualname__} is no attrs class, dataclass, struct, enum, NamedTuple, pydantic model or exception. "
                f"Fix: put @serializable above @attrs.frozen or @dataclass, or codec.register(cls, encode=, decode=)"
            )
        name = name or natural_name(cls)
        self._custom[cls] = Custom(name, cls, encode, decode)
        self._by_name[name] = cls
        for changed in self._watchers:
            changed()

    def custom(self, cls: type[Any]) -> Custom | None:
        """Return the registration of a class, if it has one."""
        return self._custom.get(cls)

    def customs(self) -> list[Custom]:
        """Return all registered classes."""
        return list(self._custom.values())

    def name_of(self, cls: type[Any]) -> str:
        """Return the name under which instances of *cls* are stored. The class is known here from now on.

        Raises:
            NotSerializable: *cls* is local and not registered, or its name is registered for another class.
        """
        custom = self._custom.get(cls)
        if custom is not None:
            return custom.name
        origin, args = generics.parts(cls)
        if origin is not None:
            return f"{self.name_of(origin)}[{','.join(map(self._name_of_argument, args))}]"
        name = natural_name(cls)
        if "<" in cls.__qualname__:
            raise NotSerializable(
                f"class {cls.__qualname__} is local to a function, so no other process can find it. "
                f"Fix: move it to the top of a module, or decorate it with @replay.serializable"
            )
        if _loaded(name) is not cls:
            raise _not_found(name, cls)
        known = self._by_name.get(name)
        if known is not None and known is not cls and known in self._custom:
            raise NotSerializable(
                f"the name {name!r} is registered for class {natural_name(known)}, so {cls.__qualname__} would come back as that. "
                f"Fix: register one of them under another name"
            )
        self._by_name[name] = cls  # the latest wins: a module may have been reloaded
        return name

    def _name_of_argument(self, argument: Any) -> str:
        """Return the name of a generic class's argument."""
        if argument in generics.PLAIN:
            return f"builtins:{argument.__name__}"
        if not isinstance(argument, type):
            raise NotSerializable(
                f"{argument!r}, an argument of a generic class, is no class that has a name. "
                f"Fix: make a subclass at the top of a module, such as `class Lines(Page[list[int]]): ...`"
            )
        return self.name_of(argument)

    def find(self, name: Any) -> type[Any]:
        """Return the class called *name*.

        Raises:
            Undecodable: The class is not on the allow-list, or its module is not loaded.
        """
        if not isinstance(name, str):
            raise Undecodable(
                f"{str(name)[:100]!r} does not name a class. Fix: restore the stored text, it was damaged"
            )
        known = self._by_name.get(name)
        if known is not None:
            return known
        if name.endswith("]"):
            return generics.built(name, self.find)
        module = name.partition(":")[0]
        if not self._is_trusted(module):
            raise Undecodable(
                f"the stored text names class {name[:200]!r}, whose module is not trusted here. "
                f"Fix: register it (@replay.serializable), or codec.trust({module[:100]!r})"
            )
        found = self._look_up(name, self._is_trusted)
        if module == "__main__" and found is None:
            raise Undecodable(
                f"the stored text names class {name[:200]!r}: a script of another process defined it, and `__main__` is another "
                f"module here. Fix: move the class into a module that both import"
            )
        if found is None or not is_data(found):
            raise Undecodable(
                f"the stored text names class {name[:200]!r}, which is not loaded in this process. "
                f"Fix: import its module before the worker starts, or register a renamed class under its old name"
            )
        return found

    def find_exception(self, name: Any) -> type[BaseException] | None:
        """Return the exception class called *name*; None if it is unknown or not trusted here."""
        if not isinstance(name, str):
            return None
        module, _, qualname = name.partition(":")
        found = self._by_name.get(name)
        if found is None and module == "builtins":
            found = vars(builtins).get(qualname)
        elif found is None and self._is_trusted(module):
            found = self._look_up(name, self._is_trusted)
        elif found is None and module in _STANDARD:
            found = self._look_up(name, _STANDARD.__contains__)
            if found is not None and hasattr(found, "__getattr__"):
                return None  # it delegates to an object that is not there
        if not isinstance(found, type) or not issubclass(found, (Exception, Cancelled)):
            return None  # above all SystemExit and KeyboardInterrupt: stored text must not end a worker
        return found

    def _is_trusted(self, module: str) -> bool:
        parts = module.split(".")
        return any(".".join(parts[:n]) in self._trusted for n in range(1, len(parts) + 1))

    def _look_up(self, name: str, trusted: Callable[[str], bool]) -> type[Any] | None:
        """Return the loaded class called *name*, if it was defined in a trusted module.

        Only classes are traversed (`shop:Order.Line`), so that no name leads from one module into another.
        """
        found = _loaded(name)
        if found is None:
            return None
        origin = found.__module__
        return found if isinstance(origin, str) and trusted(origin) else None


def _loaded(name: str) -> type[Any] | None:
    """Return the class that is loaded under `module:Qualified.Name`, if there is one."""
    module, _, qualname = name.partition(":")
    loaded = sys.modules.get(module)
    if loaded is None:
        return None
    # object.__getattribute__, because a lazily loaded module would load itself at any other access.
    space: Any = object.__getattribute__(loaded, "__dict__")
    found: Any = None
    for part in qualname.split("."):
        found = space.get(part)
        if not isinstance(found, type):
            return None
        space = vars(found)
    return found  # type: ignore[no-any-return]


def _not_found(name: str, cls: type[Any]) -> NotSerializable:
    """Return the refusal of a class that no other process can find, as pickle refuses it."""
    module, _, qualname = name.partition(":")
    there = _loaded(name)
    found = "has no class of that name" if there is None else "has another class of that name"
    return NotSerializable(
        f"class {cls.__module__}.{cls.__qualname__} cannot be found by its name: module {module!r} {found}, so no other process "
        f"can rebuild it. Fix: bind the class to {qualname!r} at the top of module {module!r}, once"
    )


def natural_name(cls: type[Any]) -> str:
    """Return the name of a class that has no registered one."""
    return f"{cls.__module__}:{cls.__qualname__}"


def is_data(cls: type[Any]) -> bool:
    """Tell whether instances of *cls* are rebuilt from their fields."""
    return (
        attrs.has(cls)
        or hasattr(cls, "__dataclass_fields__")
        or issubclass(cls, enum.Enum)
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
        or hasattr(cls, "__pydantic_fields__")
        or issubclass(cls, msgspec.Struct)
    )


_STANDARD = frozenset(
    {
        "asyncio.exceptions", "concurrent.futures._base", "decimal", "http.client", "json.decoder", "socket", "sqlite3",
        "ssl", "struct", "subprocess", "urllib.error", "zlib",
    }
)  # fmt: skip
"""Modules of the standard library whose exceptions are rebuilt (their classes hold data only)."""

REGISTRY = Registry()
"""The registry of `@serializable`, shared by all codecs of the process."""
