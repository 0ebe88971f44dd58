"""A clock that stands still until it is told to move."""

from __future__ import annotations

START = 1_767_225_600.0
"""2026-01-01T00:00:00Z: any fixed instant serves; a round one reads well in traces."""


class VirtualClock:
    """See `replay.ports.Clock`."""

    def __init__(self, start: float = START) -> None:
        self._now = start

    def now(self) -> float:
        """Return the current instant, seconds since the epoch, UTC."""
        return self._now

    def move_to(self, instant: float) -> None:
        """Let time pass until *instant*; it never goes back."""
        self._now = max(self._now, instant)


class SkewedClock:
    """A worker's clock that is wrong by `skew` seconds."""

    def __init__(self, clock: VirtualClock, skew: float) -> None:
        self._clock = clock
        self._skew = skew

    def now(self) -> float:
        """Return the wrong time."""
        return self._clock.now() + self._skew
