"""Signals of a worker process: the first one drains, a second one stops cold, and while it starts one ends it at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import NoReturn

DRAINING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

SETTLING = 1.0
"""Seconds in which further signals to a supervised process count as the first one. Systemd may signal all processes of a unit, and the
supervisor passes its own signal on as well."""


def handle(handler: Callable[[signal.Signals], object]) -> None:
    """Call *handler* with each signal that drains. An ignored SIGHUP (`nohup`) stays ignored."""
    for number in DRAINING:
        if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:
            signal.signal(number, lambda number, frame: handler(signal.Signals(number)))


def end_at_once() -> None:
    """End the process with exit code 0 on a signal: a starting process has nothing to drain."""
    handle(lambda number: os._exit(0))


class Draining:
    """Signals to a process that has begun to work.

    Args:
        cold: Stops the process on a second signal; does not return.
        settling: Seconds after the first signal in which others count as the first one.

    Attributes:
        asked: The signal that asked to drain, None before. A plain attribute: a handler that takes a lock could interrupt the
            thread that holds it.
    """

    def __init__(self, cold: Callable[[], NoReturn], settling: float = 0.0) -> None:
        self.asked: signal.Signals | None = None
        self._cold = cold
        self._settling = settling
        self._first = 0.0
        handle(self._on_signal)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.asked is None:
            self._first, self.asked = time.monotonic(), number
        elif time.monotonic() - self._first >= self._settling:
            self._cold()
