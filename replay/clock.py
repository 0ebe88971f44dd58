"""The process's clock. Simulations have their own."""

from __future__ import annotations

import time


class SystemClock:
    """The system's clock, as `replay.ports.Clock`."""

    now = staticmethod(time.time)
    """Return the current instant, seconds since the epoch, UTC."""
