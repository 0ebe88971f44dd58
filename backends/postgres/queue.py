"""Hints over NOTIFY. Each hint wakes all workers of its queue; claims pass over what others have locked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from replay.backends.postgres.bus import PostgresBus
from replay.backends.postgres.url import PostgresUrl


class PostgresQueue:
    """See `replay.ports.Queue`."""

    def __init__(self, url: PostgresUrl, *, namespace: str = "default") -> None:
        self._bus = PostgresBus(url, namespace=namespace)

    @property
    def connected(self) -> bool:
        """See `replay.ports.Queue.connected`."""
        return self._bus.connected

    def publish(self, queue: str, hints: int = 1) -> None:
        """See `replay.ports.Queue.publish`. Hints that wait together are merged."""
        if hints > 0:
            self._bus.publish(_channel(queue))

    def consume(self, queues: Sequence[str], on_hint: Callable[[str], None], *, prefetch: int = 16) -> None:
        """See `replay.ports.Queue.consume`."""
        for queue in queues:
            self._bus.subscribe(_channel(queue), _handler(queue, on_hint))

    def close(self) -> None:
        """See `replay.ports.Queue.close`."""
        self._bus.close()


def _channel(queue: str) -> str:
    return f"hint:{queue}"


def _handler(queue: str, on_hint: Callable[[str], None]) -> Callable[[bytes], None]:
    return lambda _: on_hint(queue)
