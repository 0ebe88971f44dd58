"""Queue and bus within one process; handlers are called on the publisher's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from replay.logs import get_logger

log = get_logger("replay.memory")


class MemoryQueue:
    """Hints within one process; `on_hint` is called on the publisher's thread."""

    connected = True

    def __init__(self) -> None:
        self._consumers: dict[str, Callable[[str], None]] = {}

    def publish(self, queue: str, hints: int = 1) -> None:
        """See `replay.ports.Queue.publish`."""
        on_hint = self._consumers.get(queue)
        for _ in range(hints if on_hint is not None else 0):
            _call(on_hint, queue)

    def consume(self, queues: Sequence[str], on_hint: Callable[[str], None], *, prefetch: int = 16) -> None:
        """See `replay.ports.Queue.consume`."""
        self._consumers = dict.fromkeys(queues, on_hint)

    def close(self) -> None:
        """See `replay.ports.Queue.close`."""
        self._consumers = {}


class MemoryBus:
    """Broadcast within one process; handlers are called on the publisher's thread."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Callable[[bytes], None]]] = {}
        self._lock = threading.Lock()

    def publish(self, channel: str, message: bytes = b"") -> None:
        """See `replay.ports.Bus.publish`."""
        for handler in tuple(self._handlers.get(channel, ())):
            _call(handler, message)

    def subscribe(self, channel: str, handler: Callable[[bytes], None]) -> Callable[[], None]:
        """See `replay.ports.Bus.subscribe`."""
        with self._lock:
            self._handlers.setdefault(channel, []).append(handler)

        def unsubscribe() -> None:
            with self._lock:
                handlers = self._handlers.get(channel, [])
                if handler in handlers:
                    handlers.remove(handler)
                if not handlers:
                    self._handlers.pop(channel, None)

        return unsubscribe

    def close(self) -> None:
        """See `replay.ports.Bus.close`."""
        with self._lock:
            self._handlers.clear()


def _call(handler: Any, message: Any) -> None:
    try:
        handler(message)
    except Exception:
        log.exception("a handler of %r raised", message)
