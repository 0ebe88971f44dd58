"""State that a function reaches and that outlives its call: containers and objects in its globals, closure and object."""

from __future__ import annotations

import builtins
import functools
import itertools
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MOST_NODES = 400
"""Most values looked at in one object. What lies beyond counts as unchanged."""

MOST_DEPTH = 5
"""Deepest nesting looked at, and longest chain of called functions followed."""

_FOREIGN = frozenset({"replay", "hypothesis", "_pytest", "pytest"}) | sys.stdlib_module_names


class Reached:
    """State that a function reaches, as it was.

    Args:
        roots: The mutable objects, by the name under which the function knows them.
    """

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self._roots = roots
        self._before = {name: _fingerprint(value) for name, value in roots.items()}

    def changes(self) -> tuple[str, ...]:
        """Return the names of what has changed since."""
        return tuple(name for name, before in self._before.items() if _fingerprint(self._roots[name]) != before)


class _Cell:
    """A rebound name: a global or nonlocal variable whose value is immutable, such as a counter."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self.read = read


def reached_state(fn: Callable[..., Any]) -> Reached:
    """Return the state that *fn* reaches, also through plain functions of its own package that it calls."""
    roots: dict[str, Any] = {}
    for name, value in _roots(fn, set(), 0):
        roots.setdefault(name, value)
    return Reached(roots)


def _roots(fn: Any, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(fn, functools.partial):
        for value in (*fn.args, *fn.keywords.values()):
            yield from _objects("an argument", value)
        fn = fn.func
    owner = getattr(fn, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):
        yield from _objects(type(owner).__name__ if not isinstance(owner, type) else owner.__name__, owner)
        fn = getattr(fn, "__func__", fn)
    fn = getattr(fn, "__wrapped__", fn)
    if not isinstance(fn, types.FunctionType):
        call = vars(type(fn)).get("__call__")
        if isinstance(call, types.FunctionType) and not _is_foreign(type(fn).__module__):
            yield from _objects(type(fn).__name__, fn)
            fn = call
        else:
            return
    if id(fn.__code__) in seen or depth > MOST_DEPTH or _is_foreign(fn.__module__):
        return
    seen.add(id(fn.__code__))
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
        yield from _named(name, functools.partial(_content, cell), fn, seen, depth)
    for name in sorted(_names(fn.__code__)):
        if name in fn.__globals__ and not hasattr(builtins, name):
            yield from _named(name, functools.partial(fn.__globals__.get, name), fn, seen, depth)


def _named(name: str, read: Callable[[], Any], fn: types.FunctionType, seen: set[int], depth: int) -> Iterator[Any]:
    value = read()
    if isinstance(value, types.FunctionType | functools.partial) or hasattr(value, "__wrapped__"):
        yield from _roots(value, seen, depth + 1)
    elif isinstance(value, types.ModuleType):
        if not _is_foreign(value.__name__):
            for inner in sorted(_names(fn.__code__) & set(vars(value))):
                yield from _named(f"{name}.{inner}", functools.partial(vars(value).get, inner), fn, seen, depth + 1)
    elif isinstance(value, int | float | str | bytes | tuple | frozenset | type(None)):
        yield name, _Cell(read)
    else:
        yield from _objects(name, value)
        for method in sorted(_names(fn.__code__)):  # gateway.charge(...) may use globals, too
            found = getattr(type(value), method, None) if not isinstance(value, type) else vars(value).get(method)
            found = getattr(found, "__func__", found)
            if isinstance(found, types.FunctionType):
                yield from _roots(found, seen, depth + 1)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


@functools.lru_cache(maxsize=1024)
def _names(code: types.CodeType) -> frozenset[str]:
    """Return the names that a function and its inner functions use."""
    inner = (_names(const) for const in code.co_consts if isinstance(const, types.CodeType))
    return frozenset(code.co_names).union(*inner)


def _objects(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    mutable = isinstance(value, list | dict | set | bytearray | deque | itertools.count)
    if mutable or not _is_foreign(value.__module__ if isinstance(value, type) else type(value).__module__):
        yield name, value


def _is_foreign(module: str | None) -> bool:
    return module is not None and module != "builtins" and module.partition(".")[0] in _FOREIGN


def _fingerprint(value: Any) -> Any:
    left = [MOST_NODES]

    def of(value: Any, depth: int) -> Any:
        left[0] -= 1
        if left[0] < 0 or depth > MOST_DEPTH:
            return "..."
        match value:
            case _Cell():
                return of(value.read(), depth + 1)
            case bool() | int() | float() | str() | bytes() | bytearray() | None:
                return value if not isinstance(value, bytearray) else bytes(value)
            case list() | tuple() | deque():
                return [len(value), *(of(each, depth + 1) for each in value)]
            case dict():
                return [len(value), *((of(key, depth + 1), of(each, depth + 1)) for key, each in list(value.items()))]
            case set() | frozenset():
                return [len(value), *sorted(map(_text, value))]
            case itertools.count():
                return repr(value)
            case type():
                inside = {key: each for key, each in vars(value).items() if not key.startswith("__")}
                return [of(each, depth + 1) for each in inside.values() if isinstance(each, list | dict | set | int)]
            case _ if _is_foreign(type(value).__module__) or callable(value):
                return None
            case _:
                slots = (each for cls in type(value).__mro__ for each in getattr(cls, "__slots__", ()))
                names = [*getattr(value, "__dict__", ()), *slots]
                return [(name, of(getattr(value, name, None), depth + 1)) for name in names if name != "__weakref__"]

    return of(value, 0)


def _text(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # the user's own code
        return "?"
