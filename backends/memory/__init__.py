"""Store, queue and bus within one process: `memory://`."""

from replay.backends.memory.queue_and_bus import MemoryBus, MemoryQueue
from replay.backends.memory.store import MemoryStore
from replay.backends.memory.url import open_bus, open_queue, open_store

__all__ = ["MemoryBus", "MemoryQueue", "MemoryStore", "open_bus", "open_queue", "open_store"]
