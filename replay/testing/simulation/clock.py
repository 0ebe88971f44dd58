"""Virtual clocks: time passes only when a test moves it."""

from __future__ import annotations

START = 1_767_225_600.0
"""2026-01-01T00:00:00Z: a round instant reads well in traces."""


class VirtualClock:
    """Clock that stands still until `move_to` (see `replay.ports.Clock`)."""

    def __init__(self, start: float = START) -> None:
        self._now = start

    def now(self) -> float:
        """Return the current instant, seconds since the epoch, UTC."""
        return self._now

    def move_to(self, instant: float) -> None:
        """Move time forward to *instant*, seconds since the epoch. An earlier instant changes nothing."""
        self._now = max(self._now, instant)


class SkewedClock:
    """A worker's clock with an error of *skew* seconds."""

    def __init__(self, clock: VirtualClock, skew: float) -> None:
        self._clock = clock
        self._skew = skew

    def now(self) -> float:
        """Return the skewed instant, seconds since the epoch."""
        return self._clock.now() + self._skew
