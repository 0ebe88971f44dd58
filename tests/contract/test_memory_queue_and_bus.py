"""The queue and the bus within one process keep their contracts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from replay.backends.memory.queue_and_bus import MemoryBus, MemoryQueue
from replay.testing import BusContract, QueueContract


class TestMemoryQueue(QueueContract):
    @pytest.fixture
    def make_queue(self) -> Callable[[], MemoryQueue]:
        queue = MemoryQueue()
        return lambda: queue


class TestMemoryBus(BusContract):
    @pytest.fixture
    def make_bus(self) -> Callable[[], MemoryBus]:
        bus = MemoryBus()
        return lambda: bus
