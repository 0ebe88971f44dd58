"""Fibers: the workflow's generator and the members of its `all`s and `race`s, each blocked on one command at a time."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from replay.core.commands import All, Command, Race
from replay.core.errors import Cancelled


class Fiber:
    """One line of execution. Number 0 is the workflow itself; others are numbered in order of creation."""

    __slots__ = (
        "begun",
        "cancel",
        "cancelled",
        "child",
        "command",
        "details",
        "due",
        "first_at",
        "flying",
        "gen",
        "id",
        "join",
        "name",
        "number",
        "of",
        "prefix",
        "retry_at",
        "rows",
        "settling",
        "tries",
        "watching",
    )

    def __init__(
        self, number: int, prefix: str, of: Join | None, name: int, gen: Generator[Any, Any, Any] | None
    ) -> None:
        self.number = number
        self.prefix = prefix
        self.of = of
        self.name = name
        self.gen = gen
        self.id = ""
        self.cancelled = False
        self.cancel: Cancelled | None = None  # to be thrown at the next yield
        self.block(None, "")

    def block(self, command: Any, id: str) -> None:
        """Be blocked on *command*; forget what belonged to the one before."""
        self.command = command
        self.id = id
        self.join: Join | None = None
        self.due: float | None = None
        self.tries = 0
        self.retry_at: float | None = None
        self.first_at: float | None = None
        self.details: Any = None
        self.begun = ""  # of an at-most-once step: "" | "recorded" | "live"
        self.settling = False
        self.child: str | None = None
        self.watching = False
        self.flying = False
        self.rows: list[int] = []  # log indexes of this command's intermediate entries

    def where(self) -> str:
        """Return `file:line` of the yield at which the fiber is suspended, or the empty string."""
        gen: Any = self.gen
        place = ""
        while gen is not None and getattr(gen, "gi_frame", None) is not None:
            if gen.gi_code is not Command.__iter__.__code__:
                place = f"{gen.gi_code.co_filename}:{gen.gi_frame.f_lineno}"
            gen = gen.gi_yieldfrom
        if not place and self.of is not None:
            return self.of.fiber.where()
        return place


class Join:
    """An `all` or a `race` under way in `fiber`."""

    __slots__ = ("cancelled", "command", "failure", "fiber", "live", "next", "results", "winner")

    def __init__(self, fiber: Fiber, command: All[Any] | Race[Any]) -> None:
        self.fiber = fiber
        self.command = command
        self.next = 0  # index of the next member to begin
        self.live: dict[int, Fiber] = {}
        self.results: list[Any] = [None] * len(command.members)
        self.failure: BaseException | None = None
        self.winner: int | None = None
        self.cancelled: Cancelled | None = None

    @property
    def closing(self) -> bool:
        """Whether no further member is begun."""
        return self.failure is not None or self.winner is not None or self.cancelled is not None

    def close_unbegun(self) -> None:
        """Dispose of the generators of members that will not begin."""
        for member in self.command.members[self.next :]:
            if isinstance(member, Generator):
                member.close()
        self.next = len(self.command.members)

    def shaped(self) -> Any:
        """Return the results of an `all` in the shape its members came in."""
        match self.command:
            case All(shape="list"):
                return self.results
            case All(shape="dict", keys=keys):
                return dict(zip(keys, self.results, strict=True))
            case _:
                return tuple(self.results)


class FailureTrace:
    """How one failure spread: what must be void so that a retry runs the failed command again, and nothing else."""

    __slots__ = ("cuts", "rows")

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows  # the failed command's own entries
        self.cuts: dict[int, int] = {}  # fiber -> log index after which it ran under the influence of the failure


def voids(
    trail: FailureTrace, births: list[tuple[int, int]], rows: list[list[Any]], undone_from: int | None
) -> tuple[int, ...]:
    """Return the log indexes to void so that the failure that left *trail* is tried again.

    Args:
        births: For each fiber, its parent's number and the log index at which it was created.
        rows: The whole log, decoded.
        undone_from: Index of the earliest step that was rolled back: it and all that followed is void.
    """
    own = set(trail.rows)
    found = []
    for index, row in enumerate(rows):
        if index in own or (undone_from is not None and index >= undone_from) or _tainted(index, row[2], trail, births):
            found.append(index)
    return tuple(found)


def _tainted(index: int, fiber: int, trail: FailureTrace, births: list[tuple[int, int]]) -> bool:
    cut = trail.cuts.get(fiber)
    if cut is not None and index > cut:
        return True
    while fiber:
        fiber, born = births[fiber]
        cut = trail.cuts.get(fiber)
        if cut is not None and born > cut:
            return True
    return False
