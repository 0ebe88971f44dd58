"""Engines whose hints are all lost, or all doubled: targets for `replay-worker` processes, the store is real."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from replay import Engine
from replay.backends.rabbitmq import open_queue
from replay.backends.redis.bus import open_bus
from tests.e2e.app import all_workflows


class NoHints:
    """A queue and a bus that carry nothing."""

    connected = True

    def publish(self, name: str, message: Any = None) -> None:
        pass

    def consume(self, queues: Sequence[str], on_hint: Callable[[str], None], *, prefetch: int = 16) -> None:
        pass

    def subscribe(self, channel: str, handler: Callable[[bytes], None]) -> Callable[[], None]:
        return lambda: None

    def close(self) -> None:
        pass


class Doubled:
    """A queue or a bus that says everything twice, and is heard twice."""

    def __init__(self, real: Any) -> None:
        self._real = real

    @property
    def connected(self) -> bool:
        return bool(self._real.connected)

    def publish(self, *said: Any) -> None:
        for _ in range(2):
            self._real.publish(*said)

    def consume(self, queues: Sequence[str], on_hint: Callable[[str], None], *, prefetch: int = 16) -> None:
        self._real.consume(queues, _twice(on_hint), prefetch=prefetch)

    def subscribe(self, channel: str, handler: Callable[[bytes], None]) -> Any:
        return self._real.subscribe(channel, _twice(handler))

    def close(self) -> None:
        self._real.close()


def _twice(handler: Callable[[Any], None]) -> Callable[[Any], None]:
    def heard(said: Any) -> None:
        handler(said)
        handler(said)

    return heard


def engine(kind: str | None = None, **options: Any) -> Engine:
    """Return an engine over the Redis that `REPLAY_TEST_STORE` names, without hints or with doubled ones."""
    kind = kind or os.environ["REPLAY_TEST_HINTS"]
    store = os.environ["REPLAY_TEST_STORE"]
    queue: Any = NoHints()
    bus: Any = queue
    if kind == "doubled":
        namespace = f"hints-{kind}"
        queue = Doubled(open_queue(os.environ["REPLAY_TEST_BROKER"], namespace=namespace))
        bus = Doubled(open_bus(store, namespace=namespace))
    return Engine(store, queue=queue, bus=bus, workflows=all_workflows(), namespace=f"hints-{kind}", **options)
