"""Commands that were built and not yet yielded: the means by which a forgotten `yield` is found."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

Built: TypeAlias = "tuple[Any, int]"
"""A command and the line on which it was built (0: unknown)."""


class NotYielded(list[Any]):
    """The commands that a workflow has built and not yielded, in the order of building.

    It is a list, since steps are appended and popped without a call of Python code.

    Attributes:
        lines: The line on which a command was built, by the command's identity.
    """

    __slots__ = ("lines",)

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[int, int] = {}

    def take(self, command: Any) -> Built | None:
        """Note that *command* was yielded; return one that was dropped and can never be yielded."""
        if len(self) == 1 and self[0] is command:  # as nearly always
            self.pop()
            self.lines.clear()
            return None
        root = getattr(command, "origin", None)
        waiting, lines = self[:], self.lines
        self.clear()
        dropped = None
        while waiting:
            each = waiting.pop(0)
            if each is command or each is root:
                continue
            line = lines.get(id(each), 0)
            if sys.getrefcount(each) <= _UNREACHABLE:  # the workflow cannot yield it any more
                dropped = dropped or (each, line)
            else:
                self.append(each)
                self.lines[id(each)] = line
        return dropped

    def use(self, *commands: Any) -> None:
        """Note that *commands* are run by another command: they need not be yielded by themselves."""
        used = {id(command) for command in commands} | {id(getattr(command, "origin", None)) for command in commands}
        self[:] = [built for built in self if id(built) not in used]

    def first(self) -> Built | None:
        """Return the command that was built first."""
        return (self[0], self.lines.get(id(self[0]), 0)) if self else None

    def clear(self) -> None:
        """Forget all commands."""
        super().clear()
        self.lines = {}


def _count_of_unreachable() -> int:
    """Return `sys.getrefcount` of a value to which only the local variable of a loop like the one in `take` refers."""
    waiting = [(object(), 0)]
    while waiting:
        each, _ = waiting.pop(0)
    return sys.getrefcount(each)


_UNREACHABLE = _count_of_unreachable()
"""Measured, since it differs among versions of Python (2 up to 3.13)."""
