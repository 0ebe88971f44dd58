"""Paths through a workflow: each is a list of ways taken at choices. Each new choice plans the ways not taken.

New ways come first, then guesses at values, then loops that repeat one way, then combinations of known ways.
So a limit cuts off combinations only.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from typing import Literal

import attrs

MAX_WORK = 20_000
"""Choices and commands on all paths together (a fraction of a second) before the rest is declared unexplored."""

MAX_ROUNDS = 150
"""Most visits of one path to one place: limits loops."""

MAX_CURE = 3
"""Most stand-ins that are replaced by other values together, where stand-ins do not fit."""

Kind = Literal["outcome", "decision", "guess"]


class PathLimit(BaseException):
    """Ends a path that cannot be followed further. No `except Exception` of a workflow catches it."""


@attrs.frozen(order=True)
class Spot:
    """The spot at which a path broke: the number of commands before it, and the line (0: unknown)."""

    commands: int
    line: int


@attrs.frozen
class PlannedPath:
    """A path to follow: the first `count` of another path's `ways`, then `turn`. A `steady` path repeats its way in loops."""

    ways: list[int] = attrs.field(factory=list)  # shared: paths are long, and many begin alike
    count: int = -1
    turn: int = 0
    steady: bool = False
    heals: Spot | None = None
    """The spot at which another path broke, and that this path may pass."""
    cure: tuple[tuple[Hashable, int], ...] = ()
    """The replaced stand-ins: their places, and the way taken at each."""


class Paths:
    """The planned paths, and the current path."""

    def __init__(self) -> None:
        self.unfollowed: dict[str, None] = {}
        self._new: deque[PlannedPath] = deque([PlannedPath()])
        self._guesses: deque[PlannedPath] = deque()
        self._steady: deque[PlannedPath] = deque([PlannedPath(steady=True)])
        self._combined: deque[PlannedPath] = deque()
        self._planned: set[tuple[Hashable, int]] = set()
        self._work = 0
        self._healed: dict[Hashable, int] = {}
        self._begin(PlannedPath())

    def next(self) -> PlannedPath | None:
        """Begin the next path and return it; None when all were followed, or too many."""
        queue = self._new or self._guesses or self._steady or self._combined
        if not queue:
            return None
        if self._work >= MAX_WORK:
            left = sum(map(len, (self._new, self._guesses, self._steady, self._combined)))
            self.unfollowed[f"{left} further paths (combinations of outcomes and decisions are too many to follow)"] = (
                None
            )
            return None
        self._begin(queue.popleft())
        return self._planned_path

    def _begin(self, path: PlannedPath) -> None:
        self._planned_path = path
        self._cured = {**self._healed, **dict(path.cure)}
        self._ways: list[int] = []
        self._last: dict[Hashable, int] = {}
        self._visits: Counter[Hashable] = Counter()
        self._made_up: list[tuple[int, Hashable, int]] = []  # stand-ins: their choices could be others
        self.quiet = False  # whether only new ways are planned now, no combinations
        self.guessing = False  # whether a value on this path was guessed: it may never occur

    def visit(self, place: Hashable, what: str) -> None:
        """Count a visit to *place*.

        Raises:
            PathLimit: This path visited *place* too often.
        """
        self._work += 1
        self._visits[place] += 1
        if self._visits[place] > MAX_ROUNDS:
            raise PathLimit(f"a loop through {what} that goes on after {MAX_ROUNDS} rounds")

    def choose(self, place: Hashable, ways: int, kind: Kind, what: str, *, spare: int = 0) -> int:
        """Choose one of *ways* for this path, and plan the others.

        Args:
            place: Identity of this choice on other paths, and in other rounds.
            ways: Number of ways; the first is the usual one.
            kind: An outcome of a command, a decision of the code, or a guess at a value (each tried once).
            what: Name of the choice, for messages.
            spare: Number of last ways that only `heal` takes.

        Returns:
            The index of the way.
        """
        self.visit(place, what)
        rounds, index = self._visits[place], len(self._ways)
        if index <= self._planned_path.count:
            planned = self._planned_path.ways[index] if index < self._planned_path.count else self._planned_path.turn
            way = min(planned, ways - 1)
        else:
            way = self._usual(place, ways, kind)
            if kind == "guess":
                self._guess(place, ways - spare)
            elif rounds <= 2:
                self._branch(place, ways, way, rounds)
            elif kind == "decision":
                self.unfollowed[f"a loop that depends on {what}: only its first rounds are followed"] = None
        self._ways.append(way)
        self._last[place] = way
        if kind == "guess":
            self.guessing = self.guessing or 0 < way < ways - spare
        if spare and not way:
            self._made_up.append((index, place, ways))
        return way

    def _usual(self, place: Hashable, ways: int, kind: Kind) -> int:
        """Return the way of an unplanned choice. In loops decisions alternate, so that the path leaves them."""
        if kind == "guess" or place not in self._last:
            return self._cured.get(place, 0)
        if self._planned_path.steady:
            return self._last[place]
        return (self._last[place] + 1) % ways if kind == "decision" else 0

    def _guess(self, place: Hashable, ways: int) -> None:
        for way in range(1, ways):
            if (place, way) not in self._planned:
                self._planned.add((place, way))
                self._guesses.append(PlannedPath(self._ways, len(self._ways), way))

    def _branch(self, place: Hashable, ways: int, taken: int, rounds: int) -> None:
        self._planned.add((place, taken))
        for way in range(ways):
            if way == taken:
                continue
            path = PlannedPath(self._ways, len(self._ways), way)
            if (place, way) in self._planned:
                if not self.quiet:
                    self._combined.append(path)
                continue
            self._planned.add((place, way))
            self._new.append(path)
            if rounds == 1:
                self._steady.append(attrs.evolve(path, steady=True))

    def heal(self, spot: Spot, spare: int) -> None:
        """Plan paths that replace the last stand-in before *spot*, at which this path broke, by each of its *spare* ways.

        If such a path breaks there again, the stand-in before that is replaced as well.
        """
        cure = self._planned_path.cure if self._planned_path.heals == spot else ()
        if self.guessing or not self._made_up or len(cure) == MAX_CURE:
            return
        index, place, ways = self._made_up[-1]
        for way in range(ways - spare, ways):
            tried = (spot, *cure, (place, way))
            if (tried, way) not in self._planned:
                self._planned.add((tried, way))
                self._new.append(PlannedPath(self._ways, index, way, heals=spot, cure=(*cure, (place, way))))

    def healed(self) -> None:
        """Apply the replacements of this path, which passed its spot, to all later paths."""
        self._healed.update(self._planned_path.cure)
