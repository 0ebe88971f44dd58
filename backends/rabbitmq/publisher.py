"""The publisher: the connection that publishes hints, and the hints that wait for it."""

from __future__ import annotations

import functools
import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from replay.backends.rabbitmq.connection import Connection, Health
from replay.backends.rabbitmq.topology import Topology, hint
from replay.backends.rabbitmq.url import RabbitUrl

WINDOW = 1_000  # most unconfirmed hints; the others wait, folded into one number per queue
UNSENT_PER_QUEUE = 4  # a worker that finds more than it can take forwards the hint, so a few hints wake all
PACE = 0.005  # seconds between batches of a burst, so that its hints are folded; a single hint is sent at once
UNSENT_QUEUES = 1_000
MOURNING = 0.25  # seconds: a queue that is back at once is never reported as deleted to its consumers, who stay deaf


class Unsent:
    """Hints that wait to be sent: one number per queue, bounded. Any thread may add.

    Hints beyond the bound are folded: the waiting hints are sent later and stand for them.
    """

    def __init__(self) -> None:
        self.folded = 0
        self._lock = threading.Lock()
        self._hints: dict[str, int] = {}
        self._announced = False

    def __len__(self) -> int:
        return len(self._hints)

    @property
    def is_burst(self) -> bool:
        """True if more than one hint waits."""
        with self._lock:
            return sum(self._hints.values()) > 1

    def add(self, queue: str, hints: int) -> bool:
        """Add *hints*. Return True if the I/O thread must be woken."""
        if hints <= 0:
            return False
        with self._lock:
            waiting = self._hints.get(queue, 0)
            room = UNSENT_PER_QUEUE - waiting if waiting or len(self._hints) < UNSENT_QUEUES else 0
            self.folded += max(0, hints - room)
            if room > 0:
                self._hints[queue] = waiting + min(hints, room)
            wake, self._announced = not self._announced, True
        return wake

    def queues(self) -> list[str]:
        """Return the queues with waiting hints. The next added hint wakes the I/O thread again."""
        with self._lock:
            self._announced = False
            return list(self._hints)

    def take(self, queue: str, most: int) -> int:
        """Take up to *most* hints of *queue* for sending; return how many."""
        with self._lock:
            waiting = self._hints.pop(queue, 0)
            if waiting > most:
                self._hints[queue] = waiting - most
            return min(waiting, most)


class Publisher(Connection):
    """Sends waiting hints; confirmations arrive later."""

    role = "publisher"

    def __init__(self, loop: Any, url: RabbitUrl, topology: Topology, health: Health, unsent: Unsent) -> None:
        super().__init__(loop, url, topology, health)
        self.published = self.confirmed = self.returned = self.refused = 0
        self._unsent = unsent
        self._properties: Any = None
        self._tag = 0
        self._unconfirmed: dict[int, tuple[str, float]] = {}  # tag -> queue, when sent; oldest first
        self._declared: set[str] = set()
        self._declaring: dict[str, float] = {}  # queue -> when asked
        self._blocked = False
        self._when_flushed: Callable[[], None] | None = None
        self._sent_at = 0.0
        self._pacing = False

    def begin(self) -> None:
        """Turn on confirmations, then declare queues and send hints as they come."""
        from pika import BasicProperties

        self._properties = BasicProperties(content_type="application/json", delivery_mode=2)
        self.connection.add_on_connection_blocked_callback(lambda *_: self._block(True))
        self.connection.add_on_connection_unblocked_callback(lambda *_: self._block(False))
        self.channel.add_on_return_callback(self._on_return)
        self.channel.confirm_delivery(
            self._on_confirmation, callback=lambda _answer: self.declare(self.topology.dead, self._ready)
        )

    def lost(self) -> None:
        """Take back unconfirmed hints. They may be lost; sending them again at worst doubles a hint."""
        for queue, _sent in self._unconfirmed.values():
            self._unsent.add(queue, 1)
        if self._when_flushed is not None:  # Closing does not wait for an outage to end.
            self.loop.add_callback_threadsafe(self._when_flushed)
        self._tag = 0
        self._unconfirmed.clear()
        self._declared.clear()
        self._declaring.clear()
        self._blocked = False

    def waiting_for(self) -> tuple[str, float] | None:
        """Return the queue of the oldest unconfirmed hint, or of the oldest unanswered declaration."""
        if self._blocked:  # That has a deadline of its own.
            return None
        waits = [*itertools.islice(self._unconfirmed.values(), 1), *itertools.islice(self._declaring.items(), 1)]
        return next(((self.topology.name(queue), since) for queue, since in waits), None)

    def flush(self) -> None:
        """Send waiting hints as far as the broker takes them. Each change calls it again."""
        if not self.up or self._blocked or len(self._unconfirmed) >= WINDOW or not self.current(self.channel):
            return
        early = self._sent_at + PACE - time.monotonic()
        if early > 0 and (self._unconfirmed or self._unsent.is_burst) and self._when_flushed is None:
            if not self._pacing and len(self._unsent):
                self._pacing = True
                self.loop.call_later(early, self._flush_paced)
            return
        for queue in self._unsent.queues():
            if queue in self._declared:
                self._send(queue, self._unsent.take(queue, WINDOW - len(self._unconfirmed)))
            elif queue not in self._declaring:
                self._declare(queue)

    def _flush_paced(self) -> None:
        self._pacing = False
        self.flush()

    def when_flushed(self, timeout: float, then: Callable[[], None]) -> None:
        """Call *then* once: when all hints are confirmed, or after *timeout* seconds."""
        if not self.up and self.reconnects:
            then()  # In an outage; the hints that wait are lost, and found by the workers' sweep.
            return

        def once() -> None:
            if self._when_flushed is not None:
                self._when_flushed = None
                then()

        self._when_flushed = once
        self.loop.call_later(timeout, once)
        self.flush()
        self._check_flushed()

    def _ready(self) -> None:
        # With hints waiting, the outage is over only when the broker has taken one: it may block us at once.
        self.working(sound=not len(self._unsent))
        self.flush()

    def _on_declared(self, queue: str) -> None:
        self._declaring.pop(queue, None)
        self._declared.add(queue)
        self.flush()

    def _send(self, queue: str, hints: int) -> None:
        name, body, now = self.topology.name(queue), hint(queue), time.monotonic()
        for _ in range(hints):
            self.channel.basic_publish("", name, body, self._properties, mandatory=True)
            self._tag += 1
            self._unconfirmed[self._tag] = (queue, now)
        self.published += hints
        if hints:
            self._sent_at = now

    def _on_confirmation(self, frame: Any) -> None:
        from pika.spec import Basic

        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = list(itertools.takewhile(lambda tag: tag <= method.delivery_tag, self._unconfirmed))
        for tag in tags:
            queue, _sent = self._unconfirmed.pop(tag)
            self.answered(self.topology.name(queue))
        if isinstance(method, Basic.Ack):
            self.confirmed += len(tags)
        else:
            self.refused += len(tags)
        self.working()
        self.flush()
        self._check_flushed()

    def _on_return(self, channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        """Declare a deleted queue again, and send its hint again."""
        self.returned += 1
        queue = json.loads(body)["q"]
        self.topology.as_found.discard(method.routing_key)
        self._unsent.add(queue, 1)
        if queue in self._declared:
            self._declared.discard(queue)
            self._declaring[queue] = time.monotonic()
            self.loop.call_later(MOURNING, lambda: self._declare(queue) if self.current(channel) else None)

    def _declare(self, queue: str) -> None:
        self._declaring[queue] = time.monotonic()
        self.declare(self.topology.name(queue), functools.partial(self._on_declared, queue))

    def _block(self, blocked: bool) -> None:
        self._blocked = blocked
        self.flush()

    def _check_flushed(self) -> None:
        if self._when_flushed is not None and not self._unconfirmed and not len(self._unsent):
            self._when_flushed()
