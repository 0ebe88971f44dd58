"""The consumer: the connection that takes hints."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from replay.backends.rabbitmq.connection import Connection, Health, logger
from replay.backends.rabbitmq.topology import Topology, is_hint
from replay.backends.rabbitmq.url import RabbitUrl


class Consumer(Connection):
    """Takes hints and acknowledges them at once. Other messages go to the dead-letter queue."""

    role = "consumer"
    remakes = True

    def __init__(
        self,
        loop: Any,
        url: RabbitUrl,
        topology: Topology,
        health: Health,
        queues: Sequence[str],
        on_hint: Callable[[str], None],
        prefetch: int,
    ) -> None:
        super().__init__(loop, url, topology, health)
        self.consumed = self.malformed = 0
        self._queues = list(dict.fromkeys(queues))
        self._on_hint = on_hint
        self._prefetch = max(1, min(prefetch, 65_535))
        self._tags: dict[str, str] = {}  # consumer tag -> queue
        self._taken: Counter[str] = Counter()  # queue -> messages so far
        self._taken_before: dict[str, int] = {}  # ... at the last audit
        self._deaf: Counter[str] = Counter()  # queue -> audits in a row at which it seemed to give us nothing
        self._waiting: dict[str, float] = {}  # queue -> since when we wait for its consumer to be in force

    def begin(self) -> None:
        """Declare and consume all queues."""
        self.channel.add_on_cancel_callback(self._on_cancelled)
        self.channel.basic_qos(prefetch_count=self._prefetch)
        self.declare(self.topology.dead, self._consume_all)

    def lost(self) -> None:
        """Forget the consumers. The broker sends unacknowledged hints again."""
        self._tags.clear()
        self._waiting.clear()
        self._taken_before.clear()
        self._deaf.clear()

    def waiting_for(self) -> tuple[str, float] | None:
        """Return the first queue without a working consumer."""
        return next(((self.topology.name(queue), since) for queue, since in self._waiting.items()), None)

    def _consume_all(self) -> None:
        self._waiting = dict.fromkeys(self._queues, time.monotonic())
        for queue in self._queues:
            self._consume(queue)
        if not self._queues:
            self.working()

    def _consume(self, queue: str) -> None:
        self.declare(self.topology.name(queue), lambda: self._subscribe(queue))

    def _subscribe(self, queue: str) -> None:
        def on_message(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            self._take(queue, channel, method.delivery_tag, body)

        def in_force(_answer: Any) -> None:
            self._waiting.pop(queue, None)
            # They are answered in turn, so that the next one's time begins now.
            self._waiting = dict.fromkeys(self._waiting, time.monotonic())
            self.answered(self.topology.name(queue))
            if not self._waiting and not self.up:
                self.working()
                self._audit_later(self.channel)

        tag = self.channel.basic_consume(self.topology.name(queue), on_message, callback=in_force)
        self._tags[tag] = queue

    def _audit_later(self, channel: Any) -> None:
        """Check the consumers periodically: RabbitMQ may lose one silently."""
        self.loop.call_later(self.stall_timeout, lambda: self._audit(channel))

    def _audit(self, channel: Any) -> None:
        if not self.current(channel):
            return
        for queue in self._queues:
            self._waiting.setdefault(queue, time.monotonic())
            audited = functools.partial(self._on_audited, queue)
            channel.queue_declare(self.topology.name(queue), passive=True, callback=audited)
        self._audit_later(channel)

    def _on_audited(self, queue: str, answer: Any) -> None:
        name, found = self.topology.name(queue), answer.method
        self._waiting.pop(queue, None)
        idle = self._taken[queue] == self._taken_before.get(queue)
        self._taken_before[queue] = self._taken[queue]
        if idle and (found.consumer_count == 0 or found.message_count > 0):
            self._deaf[queue] += 1
        else:
            self._deaf[queue] = 0
        if self._deaf[queue] >= 2:  # Once may be chance: a busy broker answers with zeros.
            self.reopen(f"queue {name!r} gives us nothing although it should")

    def _on_cancelled(self, frame: Any) -> None:
        """Reconnect after the deletion of a queue: a channel that knew it gets nothing from a new queue of its name."""
        queue = self._tags.pop(frame.method.consumer_tag, None)
        if queue is not None:
            self.topology.as_found.discard(self.topology.name(queue))
            self.reopen(f"queue {self.topology.name(queue)!r} was deleted", outage=False)

    def _take(self, queue: str, channel: Any, tag: int, body: bytes) -> None:
        if self._on_closed is not None or not self.current(channel):
            return  # Not acknowledged, so another consumer gets it.
        self._taken[queue] += 1
        if not is_hint(body, queue):
            self.malformed += 1
            if self.malformed == 1 or self.malformed % 1_000 == 0:
                logger.warning(
                    "queue %r held a message that is no hint (%d so far); it went to %r. Fix: nothing but replay may "
                    "publish there",
                    self.topology.name(queue),
                    self.malformed,
                    self.topology.dead,
                )
            channel.basic_reject(tag, requeue=False)
            return
        self.consumed += 1
        try:
            self._on_hint(queue)
        except Exception:
            logger.exception("the consumer of queue %r failed on a hint; it counts as taken", queue)
        if self.current(channel):
            channel.basic_ack(tag)
