"""Faults of a simulated cluster: their rates, a single crash point, and their injection."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs

from replay.core import requests as r
from replay.core.errors import StoreUnavailable
from replay.ports import Store


class Crash(BaseException):
    """Death of a simulated worker. No clean-up of the worker runs."""


def _rate(instance: Any, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"Faults({attribute.name}=...) is a rate from 0 to 1, not {value!r}")


def _seconds(instance: Any, attribute: attrs.Attribute[float], value: float) -> None:
    if not value >= 0:
        raise ValueError(f"Faults({attribute.name}=...) is in seconds, 0 or more, not {value!r}")


@attrs.frozen
class Faults:
    """Rates of faults, from 0 to 1 at each opportunity (default: none).

    Args:
        crash: A worker dies before or after a store call or a step body.
        unavailable: A store call fails, before or after it takes effect.
        pause: A worker pauses for longer than its lease, then resumes as a zombie.
        lose_hint: A hint or wake-up is lost.
        double_hint: A hint arrives twice.
        delay_hint: A hint is delayed by up to three seconds, so that later ones overtake it.
        skew: Largest error of a worker's clock, seconds.
    """

    crash: float = attrs.field(default=0.0, validator=_rate)
    unavailable: float = attrs.field(default=0.0, validator=_rate)
    pause: float = attrs.field(default=0.0, validator=_rate)
    lose_hint: float = attrs.field(default=0.0, validator=_rate)
    double_hint: float = attrs.field(default=0.0, validator=_rate)
    delay_hint: float = attrs.field(default=0.0, validator=_rate)
    skew: float = attrs.field(default=0.0, validator=_seconds)

    @classmethod
    def swarm(cls, chance: random.Random) -> Faults:
        """Return random rates. Most are zero, so that some seeds have a single kind of fault."""

        def rate() -> float:
            return chance.choice((0.0, 0.0, 0.02, 0.1))

        return cls(rate(), rate(), rate(), rate(), rate(), rate(), chance.choice((0.0, 0.0, 3600.0)))


@attrs.define
class CrashPoint:
    """Crash once, `before` or after the `number`-th effect (store calls and step bodies, counted from 1)."""

    number: int
    before: bool


Injected: TypeAlias = tuple[str, int]
"""A fault that happened: its kind, and the number of the opportunity of this kind at which it did, counted from 1."""

SKEW: Injected = ("skew", 0)
"""Wrong clocks of all workers, as a fault that happened."""


class Injector:
    """Injects faults at effects. All workers of a simulation share one.

    Args:
        faults: The rates.
        chance: Draws the faults.
        point: A single crash.
        script: If given, exactly these faults happen. The draws are the same as without it.

    Attributes:
        injected: The faults that happened.
        faults: The rates.
        enabled: False after `Simulation.stop_faults`.
        effects: Number of effects so far.
        labels: Label of each effect.
        places: `file:line` of the workflow at each effect, empty if unknown.
        place: Returns the current place.
    """

    def __init__(
        self,
        faults: Faults,
        chance: random.Random,
        point: CrashPoint | None = None,
        script: frozenset[Injected] | None = None,
    ) -> None:
        self.faults = faults
        self.enabled = True
        self.effects = 0
        self.labels: list[str] = []
        self.places: list[str] = []
        self.place: Callable[[], str] = lambda: ""
        self._chance = chance
        self._point = point
        self._script = script
        self._opportunities: dict[str, int] = {}
        self.injected: list[Injected] = [SKEW] if self.skew else []

    @property
    def skew(self) -> float:
        """Largest error of a worker's clock, seconds."""
        return self.faults.skew if self._script is None or SKEW in self._script else 0.0

    def crash_at(self, point: CrashPoint) -> None:
        """Set the single crash point; it replaces an earlier one."""
        self._point = point

    def around(self, label: str, effect: Callable[[], Any], trace: Callable[[str], None]) -> Any:
        """Perform *effect*, with a fault before it, after it, or none.

        Raises:
            Crash: The worker dies.
            StoreUnavailable: The request or its reply is lost.
        """
        self.effects += 1
        self.labels.append(label)
        self.places.append(self.place())
        point = self._point if self._point is not None and self._point.number == self.effects else None
        if (point is not None and point.before) or self.draws("crash", "before"):
            trace(f"crash before {label}")
            raise Crash
        store = label.startswith("store")
        if store and self.draws("unavailable", "before"):
            trace(f"unavailable before {label}")
            raise StoreUnavailable("simulated: the request was lost")
        result = effect()
        if (point is not None and not point.before) or self.draws("crash", "after"):
            trace(f"crash after {label}")
            raise Crash
        if store and self.draws("unavailable", "after"):
            trace(f"unavailable after {label}")
            raise StoreUnavailable("simulated: the reply was lost")
        return result

    def draws(self, rate: str, when: str = "") -> bool:
        """Return whether a fault happens now, at the rate of this name in `Faults`."""
        # Always draw, then check `enabled` and the script: neither must shift later draws.
        drawn = self._chance.random() < getattr(self.faults, rate)
        kind = f"{rate} {when}".strip()
        number = self._opportunities[kind] = self._opportunities.get(kind, 0) + 1
        if self._script is not None:
            drawn = (kind, number) in self._script
        happens = drawn and self.enabled
        if happens:
            self.injected.append((kind, number))
        return happens


class FaultyStore:
    """A worker's store connection that injects crashes and lost requests or replies."""

    def __init__(self, store: Store, injector: Injector, trace: Callable[[str], None]) -> None:
        self._store = store
        self._injector = injector
        self._trace = trace

    def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        """See `replay.ports.Store.apply`."""
        label = "store " + "+".join(_label(request) for request in requests)
        replies: list[Any] = self._injector.around(label, lambda: self._store.apply(requests), self._trace)
        return replies

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def _label(request: r.Request[Any]) -> str:
    match request:
        case r.Commit(id=id, entries=entries, then=then):
            return f"Commit({id[:8]}, {len(entries)} entries, {type(then).__name__})"
        case r.Claim():
            return "Claim"
        case _:
            return type(request).__name__
