"""The process's clock; simulations bring one of their own."""

from __future__ import annotations

import time


class SystemClock:
    """See `replay.ports.Clock`."""

    now = staticmethod(time.time)
    """Return the current instant, seconds since the epoch, UTC."""
