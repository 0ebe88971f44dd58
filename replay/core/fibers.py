"""Fibers: the workflow's generator and the members of its `all`s and `race`s, each blocked on one command at a time."""

from __future__ import annotations

import contextvars
from collections.abc import Generator
from typing import Any

from replay.core.commands import Command
from replay.core.contexts import copied
from replay.core.errors import Cancelled
from replay.core.failures import FailureTrace
from replay.core.waits import AnyWait, JoinWait


class Fiber:
    """One line of execution. Number 0 is the workflow itself; others are numbered in order of creation.

    Attributes:
        prefix: Scope of the ids of its commands.
        parent: The fiber that created this one, None for the workflow itself.
        parent_join: The `all` or `race` of the parent to which this fiber belongs.
        member_index: Its place among the members.
        gen: Its generator, None for a member that is a single command.
        wait: The state of the command on which it is blocked, None while it runs.
        id: Id of that command, or of the last one.
        cancelled: It was cancelled; a second cancel changes nothing.
        cancel: Raised at its next yield.
        context: Context variables of its code. The workflow's own begin empty; a member's begin as a copy of its parent's.
        abandoned_by: Trace of the failure because of which it was cancelled.
    """

    __slots__ = (
        "abandoned_by",
        "cancel",
        "cancelled",
        "context",
        "gen",
        "id",
        "member_index",
        "number",
        "parent",
        "parent_join",
        "prefix",
        "wait",
    )

    def __init__(
        self,
        number: int,
        prefix: str = "",
        gen: Generator[Any, Any, Any] | None = None,
        parent: Fiber | None = None,
        parent_join: JoinWait | None = None,
        member_index: int = 0,
        context: contextvars.Context | None = None,
    ) -> None:
        self.number = number
        self.prefix = prefix
        self.gen = gen
        self.parent = parent
        self.parent_join = parent_join
        self.member_index = member_index
        self.id = ""
        self.wait: AnyWait | None = None
        self.cancelled = False
        self.cancel: Cancelled | None = None
        self.context: contextvars.Context = (
            context if context is not None else copied(None if parent is None else parent.context)
        )
        self.abandoned_by: FailureTrace | None = None

    @property
    def command(self) -> Any:
        """The command on which the fiber is blocked, None while it runs."""
        wait = self.wait
        return None if wait is None else wait.command

    def where(self) -> str:
        """Return `file:line` of the yield at which the fiber is suspended, or the empty string."""
        gen: Any = self.gen
        place = ""
        while gen is not None and getattr(gen, "gi_frame", None) is not None:
            if gen.gi_code is not Command.__iter__.__code__:
                place = f"{gen.gi_code.co_filename}:{gen.gi_frame.f_lineno}"
            gen = gen.gi_yieldfrom
        if not place and self.parent is not None:
            return self.parent.where()
        return place
