"""Simulated bus: hints and wake-ups between workers, with losses, duplicates and delays."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from replay.backends.memory.queue_and_bus import MemoryBus
from replay.testing.simulation.faults import Injector


class Listener(Protocol):
    """Receiver of hints: a simulated cluster."""

    injector: Injector
    chance: random.Random

    def hint_all(self) -> None:
        """Send every worker a hint."""

    def news(self, id: str) -> None:
        """Notify every worker of messages for an execution."""

    def send_later(self, seconds: float, arrive: Callable[[], None]) -> None:
        """Call *arrive* after *seconds* of virtual time."""


class LossyBus(MemoryBus):
    """Bus between simulated workers that loses, doubles and delays messages at the rates of `Faults`."""

    def __init__(self, cluster: Listener) -> None:
        super().__init__()
        self._cluster = cluster

    def publish(self, channel: str, message: bytes = b"") -> None:
        """See `replay.ports.Bus.publish`."""
        cluster = self._cluster
        injector = cluster.injector
        if injector.draws("lose_hint"):
            return
        for _ in range(2 if injector.draws("double_hint") else 1):
            if injector.draws("delay_hint"):
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
