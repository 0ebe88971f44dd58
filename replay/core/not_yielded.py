"""Commands that were built and not yet yielded: the means by which a forgotten `yield` is found."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

Built: TypeAlias = "tuple[Any, int]"
"""A command and the line on which it was built (0: unknown)."""


class NotYielded:
    """The commands that a workflow has built and not yielded, in the order of building.

    Attributes:
        last: The command built last, None if it was yielded.
        earlier: The commands before it, with their lines.
    """

    __slots__ = ("earlier", "last", "line")

    def __init__(self) -> None:
        self.last: Any = None
        self.earlier: list[Built] = []
        self.line = 0

    def add(self, command: Any) -> None:
        """Note that *command* was built."""
        if self.last is not None:
            self.earlier.append((self.last, self.line))
        self.last = command

    def is_only(self, command: Any) -> bool:
        """Tell whether *command* is the only one, as nearly always; it counts as yielded then."""
        if command is self.last and not self.earlier:
            self.last = None
            return True
        return False

    def take(self, command: Any) -> Built | None:
        """Note that *command* was yielded; return one that was dropped and can never be yielded."""
        if command is self.last and not self.earlier:  # as `is_only`, without the call
            self.last = None
            return None
        root = getattr(command, "origin", None)
        if self.last is not None:
            self.earlier.append((self.last, self.line))
            self.last = None
        waiting, self.earlier = self.earlier, []
        dropped = None
        while waiting:
            each, line = waiting.pop(0)
            if each is command or each is root:
                continue
            if sys.getrefcount(each) <= _UNREACHABLE:  # the workflow cannot yield it any more
                dropped = dropped or (each, line)
            else:
                self.earlier.append((each, line))
        return dropped

    def use(self, *commands: Any) -> None:
        """Note that *commands* are run by another command: they need not be yielded by themselves."""
        self.add(None)
        used = {id(command) for command in commands} | {id(getattr(command, "origin", None)) for command in commands}
        self.earlier = [built for built in self.earlier if id(built[0]) not in used]

    def first(self) -> Built | None:
        """Return the command that was built first."""
        self.add(None)
        return self.earlier[0] if self.earlier else None

    def clear(self) -> None:
        """Forget all commands."""
        self.last, self.earlier = None, []


def _count_of_unreachable() -> int:
    """Return `sys.getrefcount` of a value to which only the local variable of a loop like the one in `take` refers."""
    waiting = [(object(), 0)]
    while waiting:
        each, _ = waiting.pop(0)
    return sys.getrefcount(each)


_UNREACHABLE = _count_of_unreachable()
"""Measured, since it differs among versions of Python (2 up to 3.13)."""
