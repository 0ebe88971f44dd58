"""Schedules: ticks are timers in the store, and a tick's execution has an id of its own, so no tick runs twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from replay import requests as r

if TYPE_CHECKING:
    from replay.engine import Engine


def tick(engine: Engine, schedule: r.Schedule, now: float) -> Sequence[r.Request[Any]]:
    """Return the requests that advance a due schedule."""
    raise NotImplementedError
