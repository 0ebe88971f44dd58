"""Names of parametrized generic models, such as `shop:Page[shop:Item]`: pydantic makes a class for each."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import Any

from replay.core.errors import Undecodable

PLAIN: dict[Any, type[Any]] = {cls: cls for cls in (bool, bytes, complex, dict, float, int, list, set, str, tuple)}
"""Builtin classes that may be arguments."""


def parts(cls: type[Any]) -> tuple[type[Any] | None, tuple[Any, ...]]:
    """Return the generic model that *cls* parametrizes, and its arguments; `(None, ())` for any other class."""
    about = vars(cls).get("__pydantic_generic_metadata__") or {}
    return about.get("origin"), tuple(about.get("args") or ())


def built(name: str, find: Callable[[Any], type[Any]]) -> type[Any]:
    """Return the class called *name*; *find* gives the classes that it names.

    Pydantic keeps each parametrized class, so that the same name gives the same class. No code of the user's runs.

    Raises:
        Undecodable: *name* is damaged, or names what is no generic model of pydantic's own making.
    """
    head, _, inner = name[:-1].partition("[")
    origin = find(head)
    arguments = tuple(_argument(each, find) for each in _split(inner))
    about = vars(origin).get("__pydantic_generic_metadata__") or {}
    if len(about.get("parameters") or ()) != len(arguments) or not _is_pydantics(origin):
        raise Undecodable(
            f"class {head[:200]!r} is no generic model with {len(arguments)} parameters any more. Fix: keep them"
        )
    found: type[Any] = origin[arguments]
    return found


def _is_pydantics(cls: type[Any]) -> bool:
    """Tell whether indexing *cls* runs pydantic's code alone."""
    base = next((each for each in cls.__mro__ if "__class_getitem__" in vars(each)), None)
    return base is not None and base.__module__ == "pydantic.main"


def _argument(name: str, find: Callable[[Any], type[Any]]) -> type[Any]:
    module, _, plain = name.partition(":")
    builtin = PLAIN.get(vars(builtins).get(plain)) if module == "builtins" else None
    return builtin or find(name)


def _split(text: str) -> Iterator[str]:
    """Yield the names in *text*, which commas separate outside of brackets."""
    depth = begin = 0
    for index, letter in enumerate(text):
        if letter in "[]":
            depth += 1 if letter == "[" else -1
        elif letter == "," and not depth:
            yield text[begin:index]
            begin = index + 1
    yield text[begin:]
