"""Stand-ins for values that only a real run has: decisions on them go both ways, consistently on one path."""

from __future__ import annotations

import abc
import collections.abc
import sys
import typing
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Protocol

from replay.core import commands
from replay.describe import source
from replay.describe.paths import Paths

_PACKAGE = __name__.rpartition(".")[0]
_TRANSPARENT = (abc.__name__, typing.__name__)  # they ask for the class on behalf of their caller

HEALING = (1, "text")
"""Replacements of a stand-in where only a number or a text fits (`timedelta(days=order.days)`)."""


class World(Protocol):
    """The explorer, as its stand-ins see it."""

    paths: Paths

    def is_own(self, frame: FrameType) -> bool:
        """Tell whether *frame* is code of the workflow's, rather than a library's."""
        ...

    def guessed_number(self) -> None:
        """Note that a number was guessed: the next command's durations are unknown."""
        ...


def _caller() -> FrameType:
    """Return the frame whose code used a stand-in."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_PACKAGE):
        frame = frame.f_back
    assert frame is not None
    return frame


def stand_in(world: World, name: str, place: Any, wanted: tuple[Any, ...]) -> Any:
    """Return the value for *place*: a stand-in, or a guess from *wanted*."""
    count = 1 + len(wanted) + len(HEALING)
    way = world.paths.choose(("value", place), count, "guess", name, spare=len(HEALING))
    if way == 0:
        return Unknown(world, name, wanted)
    if way > len(wanted):
        world.guessed_number()
        return HEALING[way - len(wanted) - 1]
    match wanted[way - 1]:
        case source.Sequence(length=length):
            return UnknownSequence(world, name, wanted, length)
        case source.Mapping():
            return UnknownMapping(world, name, wanted)
        case known:
            return known


class Unknown:
    """The stand-in. Its slots are hidden from users' attribute names by their prefix."""

    __slots__ = (
        "_su_class",
        "_su_equal",
        "_su_facts",
        "_su_length",
        "_su_name",
        "_su_not",
        "_su_parts",
        "_su_wanted",
        "_su_world",
    )

    def __init__(self, world: World, name: str, wanted: tuple[Any, ...] = (), length: int | None = None) -> None:
        set_ = super().__setattr__
        set_("_su_world", world)
        set_("_su_name", name)
        set_("_su_wanted", wanted)
        set_("_su_length", length)
        set_("_su_class", None)
        set_("_su_not", set())
        set_("_su_equal", [])
        set_("_su_parts", {})
        set_("_su_facts", {})

    # --- its class ------------------------------------------------------------------------------------

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The class, decided when the workflow's code tests it."""
        if self._su_class is not None:
            return self._su_class
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__") in _TRANSPARENT:
            frame = frame.f_back
        if frame is None or not self._su_world.is_own(frame):
            return type(self)
        asked = [each for each in source.asked_classes(frame) if each not in self._su_not and each is not object]
        if asked:
            place = ("class", source.where(frame))
            way = self._su_world.paths.choose(place, 1 + len(asked), "decision", self._su_name)
            if way < len(asked):
                super().__setattr__("_su_class", asked[way])
                return asked[way]
            self._su_not.update(asked)
        return type(self)

    # --- its parts ------------------------------------------------------------------------------------

    def _su_part(self, suffix: str, key: Any = None) -> Any:
        """Return a part of the value, the same each time if it has a *key*."""
        known = self._su_parts
        if key is not None and key in known:
            return known[key]
        name = f"{self._su_name}{suffix}"[:100]
        part = stand_in(self._su_world, name, (source.where(_caller()), suffix), self._su_wanted)
        if key is not None:
            known[key] = part
        return part

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._su_part(f".{name}", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._su_parts[name] = value

    def __delattr__(self, name: str) -> None:
        self._su_parts.pop(name, None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._su_part("()")

    def __getitem__(self, key: Any) -> Any:
        return self._su_part(f"[{key!r}]", ("item", key) if isinstance(key, str | int) else None)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._su_parts["item", key] = value

    def __delitem__(self, key: Any) -> None:
        self._su_parts.pop(("item", key), None)

    def total_seconds(self) -> Any:
        """Act as a duration when replay converts it."""
        if _caller().f_globals.get("__name__") != commands.__name__:
            return self._su_part(".total_seconds()")
        self._su_world.guessed_number()
        return 1.0

    def _su_result(self, *args: Any) -> Unknown:
        return Unknown(self._su_world, self._su_name, self._su_wanted)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _su_result
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __neg__ = __pos__ = _su_result
    __abs__ = __invert__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = __lshift__ = __rshift__ = _su_result
    __round__ = __floor__ = __ceil__ = __trunc__ = _su_result

    def __divmod__(self, other: Any) -> tuple[Unknown, Unknown]:
        return self._su_result(), self._su_result()

    def __enter__(self) -> Any:
        return self._su_part(".__enter__()")

    def __exit__(self, *raised: object) -> None:
        return None

    # --- decisions on it ------------------------------------------------------------------------------

    def _su_decide(self, question: tuple[Any, ...]) -> bool:
        """Decide a question. Its answer holds elsewhere on the path, but a loop decides again."""
        here = source.where(_caller())
        key = (question[0], *map(repr, question[1:]))
        known = self._su_facts.get(key)
        if known is not None and here not in known[1]:
            known[1].add(here)
            return bool(known[0])
        answer = not self._su_world.paths.choose(("decision", here, key, self._su_name), 2, "decision", self._su_name)
        self._su_facts[key] = (answer, {here} | (known[1] if known is not None else set()))
        return answer

    def __bool__(self) -> bool:
        return self._su_decide(("true",))

    def __lt__(self, other: Any) -> bool:
        return self._su_decide(("<", other))

    def __le__(self, other: Any) -> bool:
        return self._su_decide(("<=", other))

    def __gt__(self, other: Any) -> bool:
        return self._su_decide((">", other))

    def __ge__(self, other: Any) -> bool:
        return self._su_decide((">=", other))

    def __contains__(self, item: Any) -> bool:
        return self._su_decide(("in", item))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if self._su_equal and not isinstance(other, Unknown):
            return bool(self._su_equal[0] == other)
        equal = self._su_decide(("==", other))
        if equal and not isinstance(other, Unknown):
            self._su_equal.append(other)
        return equal

    def __hash__(self) -> int:
        return id(self)

    # --- as something else ------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        frame = _caller()
        count = source.unpacked(frame)
        if count is None:
            count = self._su_count(frame)
        return iter([self._su_part(f"[{number}]", ("item", number)) for number in range(count)])

    __reversed__ = __iter__

    def __len__(self) -> int:
        return self._su_count(_caller())

    def _su_count(self, frame: FrameType) -> int:
        """Return the number of elements: one, none, and for loops also two, so that the loop is visible."""
        length: int | None = self._su_length
        if length is None:
            sizes = (1, 0, 2) if source.is_loop(frame) else (1, 0)
            place = ("length", source.where(frame))
            own = self._su_world.is_own(frame)
            length = sizes[self._su_world.paths.choose(place, len(sizes), "guess", self._su_name)] if own else 1
            super().__setattr__("_su_length", length)
        return length

    def __int__(self) -> int:
        self._su_world.guessed_number()
        return 1

    __index__ = __int__

    def __float__(self) -> float:
        self._su_world.guessed_number()
        return 1.0

    def __str__(self) -> str:
        return f"<{self._su_name}>"

    __repr__ = __fspath__ = __str__

    def __format__(self, spec: str) -> str:
        return str(self)


class UnknownSequence(Unknown):
    """A stand-in that matches sequence patterns of its length."""

    __slots__ = ()


class UnknownMapping(Unknown):
    """A stand-in that matches mapping patterns."""

    __slots__ = ()

    def __len__(self) -> int:
        """Return more than any pattern has keys."""
        return 1000

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of *key*, which always exists."""
        return self[key]

    def keys(self) -> Iterable[Any]:
        """Return the keys that were read (a `**rest` pattern copies them)."""
        return [key[1] for key in self._su_parts if isinstance(key, tuple)]


# Registered, not derived: patterns look at a flag that this sets, and the methods of the abstract classes are not wanted.
collections.abc.Sequence.register(UnknownSequence)
collections.abc.Mapping.register(UnknownMapping)
