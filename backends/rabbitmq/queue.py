"""The queue over RabbitMQ. It carries hints only, so the broker may lose, double or refuse any of them without harm.

One I/O thread per queue object owns two connections: one publishes, the other consumes. A broker short of memory stops
reading from publishing connections. That must not stop the workers' acknowledgements.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from replay.backends.rabbitmq.connection import FAREWELL, Connection, Health, logger
from replay.backends.rabbitmq.consumer import Consumer
from replay.backends.rabbitmq.publisher import Publisher, Unsent
from replay.backends.rabbitmq.topology import Topology
from replay.backends.rabbitmq.url import read_url

FLUSH = 1.0  # seconds that `close` waits for confirmations


@attrs.frozen
class QueueStats:
    """Counters of a `RabbitQueue`.

    Attributes:
        published: Hints handed to the broker, repetitions included.
        folded: Hints without a message of their own: other waiting hints stand for them.
        confirmed: Hints that the broker has stored.
        returned: Hints to a deleted queue; the queue was declared again.
        refused: Hints that the broker refused (the queue is full).
        consumed: Hints taken.
        malformed: Other messages; they went to the dead-letter queue.
        reconnects: Times a connection was lost or could not be opened.
        connected: Publishing and consuming work, as far as they were asked for.
    """

    published: int
    folded: int
    confirmed: int
    returned: int
    refused: int
    consumed: int
    malformed: int
    reconnects: int
    connected: bool


def open_queue(url: str, *, namespace: str = "default") -> RabbitQueue:
    """Return the queue at *url*. It connects at its first use, in the background.

    Args:
        url: `amqp://user:password@host:port/vhost` or `amqps://...`. Options: those of `pika.URLParameters`
            (`heartbeat`, `blocked_connection_timeout`, ... in seconds), for TLS `cafile`, `certfile`, `keyfile`, and
            `stall_timeout`: seconds that one queue may take to answer before it is given up and made anew.
        namespace: Separates installations that share a virtual host.

    Raises:
        ValueError: *url* is malformed.
    """
    return RabbitQueue(url, namespace=namespace)


class RabbitQueue:
    """A `replay.ports.Queue` on durable quorum queues named `replay.<namespace>.<queue>`.

    Other messages than hints go to `replay.<namespace>.dead`. No failure of the broker raises or blocks here.
    """

    def __init__(self, url: str, *, namespace: str = "default") -> None:
        self._url = read_url(url)
        self._namespace = namespace
        self._topology = Topology(namespace)
        self._health = Health(self._url.shown)
        self._unsent = Unsent()
        self._lock = threading.Lock()  # guards the fields below
        self._loop: Any = None
        self._thread: threading.Thread | None = None
        self._publisher: Publisher | None = None
        self._consumer: Consumer | None = None
        self._closed = False

    def publish(self, queue: str, hints: int = 1) -> None:
        """Announce *hints* ready executions of *queue*. Best effort: never blocks on I/O, never raises.

        The hints of a burst are folded: some are sent, the last of them after the last call.
        """
        if self._unsent.add(queue, hints):
            with contextlib.suppress(RuntimeError):  # No new thread can be had (the interpreter is ending).
                self._on_io_thread(self._flush)

    def consume(self, queues: Sequence[str], on_hint: Callable[[str], None], *, prefetch: int = 16) -> None:
        """Call `on_hint(queue)` for each hint, from the I/O thread, until `close`; restored after every outage.

        Raises:
            RuntimeError: This object consumes already, or is closed.
        """
        with self._lock:
            if self._closed or self._consumer is not None:
                state = "closed" if self._closed else "consuming already"
                raise RuntimeError(f"{self!r} is {state}. Fix: open another queue object with open_queue(...)")
            loop = self._running_loop()
            consumer = Consumer(loop, self._url, self._topology, self._health, queues, on_hint, prefetch)
            self._consumer = consumer
            loop.add_callback_threadsafe(consumer.open)

    def close(self) -> None:
        """Stop consuming, flush published hints (one second at most), release connections. Safe to call twice."""
        with self._lock:
            already, self._closed = self._closed, True
            thread, loop = self._thread, self._loop
            if thread is not None and not already:
                loop.add_callback_threadsafe(self._shut_down)
        if thread is not None and thread is not threading.current_thread():
            thread.join(FLUSH + 2 * FAREWELL + 1.0)

    @property
    def connected(self) -> bool:
        """True if publishing and consuming work, as far as they were asked for; False before the first use."""
        connections = self._connections()
        return bool(connections) and all(each.up for each in connections)

    def stats(self) -> QueueStats:
        """Return the counters."""
        publisher, consumer = self._publisher, self._consumer
        return QueueStats(
            published=publisher.published if publisher else 0,
            folded=self._unsent.folded,
            confirmed=publisher.confirmed if publisher else 0,
            returned=publisher.returned if publisher else 0,
            refused=publisher.refused if publisher else 0,
            consumed=consumer.consumed if consumer else 0,
            malformed=consumer.malformed if consumer else 0,
            reconnects=sum(each.reconnects for each in self._connections()),
            connected=self.connected,
        )

    def dead_letters(self, timeout: float = 2.0) -> int | None:
        """Return the number of messages in the dead-letter queue, None without an answer within *timeout* seconds."""
        answered = threading.Event()
        answer: list[int] = []

        def note(count: int) -> None:
            answer.append(count)
            answered.set()

        until = time.monotonic() + timeout
        self._on_io_thread(lambda: self._count_dead(note, until))
        answered.wait(timeout)
        return answer[0] if answer else None

    def __repr__(self) -> str:
        return f"RabbitQueue({self._url.shown!r}, namespace={self._namespace!r})"

    # --- the I/O thread --------------------------------------------------------------------------

    def _connections(self) -> list[Connection]:
        return [each for each in (self._publisher, self._consumer) if each is not None]

    def _on_io_thread(self, call: Callable[[], None]) -> None:
        with self._lock:
            if not self._closed:
                self._running_loop().add_callback_threadsafe(call)

    def _running_loop(self) -> Any:
        """Return the I/O loop, starting its thread; the lock is held."""
        if self._loop is None:
            from pika.adapters.select_connection import IOLoop

            self._loop = IOLoop()
            self._thread = threading.Thread(target=self._run, name="replay-rabbitmq", daemon=True)
            self._thread.start()
        return self._loop

    def _run(self) -> None:
        finished = False
        while not finished:
            try:
                self._loop.start()
                finished = True
            except Exception as error:
                # A bug of ours or pika's must not end the hints: continue with fresh connections.
                logger.exception("%s: unexpected error on the I/O thread", self._url.shown)
                for connection in self._connections():
                    connection.reopen(error)
        self._loop.close()

    def _flush(self) -> None:
        self._the_publisher().flush()

    def _the_publisher(self) -> Publisher:
        if self._publisher is None:
            publisher = Publisher(self._loop, self._url, self._topology, self._health, self._unsent)
            self._publisher = publisher
            publisher.open()
        return self._publisher

    def _count_dead(self, note: Callable[[int], None], until: float) -> None:
        """Ask as soon as a connection works, if that is before *until*."""
        connection = next((each for each in self._connections() if each.up), None) or self._the_publisher()
        if connection.up:
            connection.count(self._topology.dead, note)
        elif time.monotonic() < until and not self._closed:
            self._loop.call_later(0.02, lambda: self._count_dead(note, until))

    def _shut_down(self) -> None:
        left = self._connections()
        if not left:
            self._loop.stop()

        def gone(connection: Connection) -> None:
            left.remove(connection)
            if not left:
                self._loop.stop()

        if self._consumer is not None:
            consumer = self._consumer
            consumer.close(lambda: gone(consumer))
        if self._publisher is not None:
            publisher = self._publisher
            publisher.when_flushed(FLUSH, lambda: publisher.close(lambda: gone(publisher)))
