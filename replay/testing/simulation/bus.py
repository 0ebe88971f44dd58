"""The simulated bus: hints and wake-ups between workers, some of which are lost, doubled or late."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from replay.backends.memory.queue_and_bus import MemoryBus
from replay.testing.simulation.faults import Injector


class Listener(Protocol):
    """Where hints arrive: a simulated cluster."""

    injector: Injector
    chance: random.Random

    def hint_all(self) -> None:
        """Tell all workers that there may be work."""

    def news(self, id: str) -> None:
        """Tell all workers that an execution may have messages."""

    def send_later(self, seconds: float, arrive: Callable[[], None]) -> None:
        """Call *arrive* so many seconds of virtual time from now."""


class LossyBus(MemoryBus):
    """Wake-ups between simulated workers; some are lost, some come twice or late."""

    def __init__(self, cluster: Listener) -> None:
        super().__init__()
        self._cluster = cluster

    def publish(self, channel: str, message: bytes = b"") -> None:
        """See `replay.ports.Bus.publish`."""
        cluster = self._cluster
        injector = cluster.injector
        if injector.draws(injector.faults.lose_hint):
            return
        for _ in range(2 if injector.draws(injector.faults.double_hint) else 1):
            if injector.draws(injector.faults.delay_hint):
                cluster.send_later(cluster.chance.uniform(0.1, 3.0), lambda: self._arrive(channel, message))
            else:
                self._arrive(channel, message)

    def _arrive(self, channel: str, message: bytes) -> None:
        if channel.startswith("ready:"):
            self._cluster.hint_all()
        elif channel == "news":
            self._cluster.news(message.decode())
        else:
            super().publish(channel, message)
