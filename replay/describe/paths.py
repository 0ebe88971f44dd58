"""Search over paths: a path is a list of ways taken at choices, and each new choice plans the other ways.

Most telling first: a way that no path took yet, then guesses at values, then the same way again and again in a loop, then
combinations of ways that were all seen. So what a bound cuts off is combinations.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from typing import Literal

import attrs

MAX_WORK = 20_000
"""Choices and commands on all paths together (a fraction of a second) before the rest is declared unexplored."""

MAX_ROUNDS = 150
"""Visits of one path to one place: a loop is followed no longer."""

MAX_CURE = 3
"""Values that are tried as others, together, where stand-ins do not do."""

Kind = Literal["outcome", "decision", "guess"]


class Unsure(BaseException):
    """A path cannot be followed further; no workflow's `except Exception` swallows it."""


@attrs.frozen(order=True)
class Spot:
    """Break of a path: the number of commands before it, and its line (0 if unknown)."""

    commands: int
    line: int


@attrs.frozen
class Plan:
    """A path to follow: the first `count` of another's `ways`, then `turn`. A `steady` one then does in a loop what it did before."""

    ways: list[int] = attrs.field(factory=list)  # shared: paths are long, and many begin alike
    count: int = -1
    turn: int = 0
    steady: bool = False
    heals: Spot | None = None
    """The spot at which another path broke, and which this one may get past."""
    cure: tuple[tuple[Hashable, int], ...] = ()
    """Changed values that avoid the break: the place of each, and its way."""


class Paths:
    """The plans not followed yet, and the path that is followed just now."""

    def __init__(self) -> None:
        self.unfollowed: dict[str, None] = {}
        self._new: deque[Plan] = deque([Plan()])
        self._guesses: deque[Plan] = deque()
        self._steady: deque[Plan] = deque([Plan(steady=True)])
        self._combined: deque[Plan] = deque()
        self._planned: set[tuple[Hashable, int]] = set()
        self._work = 0
        self._healed: dict[Hashable, int] = {}
        self._begin(Plan())

    def next(self) -> Plan | None:
        """Begin the next path; None when all were followed, or too many."""
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
        return self._plan

    def _begin(self, plan: Plan) -> None:
        self._plan = plan
        self._cured = {**self._healed, **dict(plan.cure)}
        self._ways: list[int] = []
        self._last: dict[Hashable, int] = {}
        self._visits: Counter[Hashable] = Counter()
        self._made_up: list[tuple[int, Hashable, int]] = []  # stand-ins: their choices could be others
        self.quiet = False  # whether only ways that are new are planned just now, no combinations
        self.guessing = False  # whether a value on this path was guessed: it may be one that never occurs

    def visit(self, place: Hashable, what: str) -> None:
        """Count a visit to *place*.

        Raises:
            Unsure: This path goes round and round.
        """
        self._work += 1
        self._visits[place] += 1
        if self._visits[place] > MAX_ROUNDS:
            raise Unsure(f"a loop through {what} that goes on after {MAX_ROUNDS} rounds")

    def choose(self, place: Hashable, ways: int, kind: Kind, what: str, *, spare: int = 0) -> int:
        """Return which of *ways* this path takes; the others are planned.

        Args:
            place: What makes this choice the same as that of another path, or of another round.
            ways: How many there are; the first is the usual one.
            kind: An outcome of a command, a decision of the code's, or a guess at a value (each tried once).
            what: What is chosen, in words.
            spare: That many of the last ways are taken by `heal` only.
        """
        self.visit(place, what)
        rounds, index = self._visits[place], len(self._ways)
        if index <= self._plan.count:
            planned = self._plan.ways[index] if index < self._plan.count else self._plan.turn
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
        """Return the way beyond what is planned: in loops, decisions alternate, so that the path leaves them."""
        if kind == "guess" or place not in self._last:
            return self._cured.get(place, 0)
        if self._plan.steady:
            return self._last[place]
        return (self._last[place] + 1) % ways if kind == "decision" else 0

    def _guess(self, place: Hashable, ways: int) -> None:
        for way in range(1, ways):
            if (place, way) not in self._planned:
                self._planned.add((place, way))
                self._guesses.append(Plan(self._ways, len(self._ways), way))

    def _branch(self, place: Hashable, ways: int, taken: int, rounds: int) -> None:
        self._planned.add((place, taken))
        for way in range(ways):
            if way == taken:
                continue
            plan = Plan(self._ways, len(self._ways), way)
            if (place, way) in self._planned:
                if not self.quiet:
                    self._combined.append(plan)
                continue
            self._planned.add((place, way))
            self._new.append(plan)
            if rounds == 1:
                self._steady.append(attrs.evolve(plan, steady=True))

    def heal(self, spot: Spot, spare: int) -> None:
        """Plan to try the last value that was made up before this path broke at *spot* as each of its *spare* ways.

        If it breaks there again, the value before that is tried as well.
        """
        cure = self._plan.cure if self._plan.heals == spot else ()
        if self.guessing or not self._made_up or len(cure) == MAX_CURE:
            return
        index, place, ways = self._made_up[-1]
        for way in range(ways - spare, ways):
            tried = (spot, *cure, (place, way))
            if (tried, way) not in self._planned:
                self._planned.add((tried, way))
                self._new.append(Plan(self._ways, index, way, heals=spot, cure=(*cure, (place, way))))

    def healed(self) -> None:
        """Make all later paths use this path's values, which got past the break."""
        self._healed.update(self._plan.cure)
