"""Broadcast over NOTIFY: wake-ups, hints and emitted events. Losing all of it costs only latency.

No transaction of a store notifies: committing with a NOTIFY takes a lock that the whole server shares. Messages are sent together,
each 10 ms at most, on a connection of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from replay.backends.postgres.connection import FIRST_PAUSE, LONGEST_PAUSE, Database, log
from replay.backends.postgres.messages import Message, Parts, payloads
from replay.backends.postgres.url import PostgresUrl

Handler = Callable[[bytes], None]

PATIENCE = 1.0
"""Seconds that `subscribe` waits for the server, and `close` for the last messages."""

WINDOW = 0.01
"""Seconds between two sendings. A message that comes alone is sent at once."""

QUIET = 10.0
"""Seconds without a message after which the listener asks the server for a sign of life."""

MOST_WAITING = 50_000
"""Messages that wait to be sent. While the server is away, further ones are dropped."""


class PostgresBus:
    """See `replay.ports.Bus`. One thread listens, and one sends."""

    def __init__(self, url: PostgresUrl, *, namespace: str = "default") -> None:
        self._url = url
        self._namespace = namespace
        self._closed = False
        self._open()

    def __repr__(self) -> str:
        return f"PostgresBus({self._url.shown!r}, namespace={self._namespace!r})"

    def _open(self) -> None:
        self._pid = os.getpid()
        outage = _Outage(self._url)
        topic = topic_of(self._url.schema, self._namespace)
        self._sender = _Sender(self._url, topic, outage)
        self._listener = _Listener(self._url, topic, outage)

    def _check_process(self) -> None:
        if self._pid != os.getpid():  # forked: connections and threads are the parent's, the handlers too
            _inherited.append((self._sender, self._listener))
            self._open()

    @property
    def connected(self) -> bool:
        """True while messages are received."""
        return self._listener.connected

    def publish(self, channel: str, message: bytes = b"") -> None:
        """See `replay.ports.Bus.publish`. Empty messages on one channel that wait together are sent as one."""
        if not self._closed:
            self._check_process()
            self._sender.send(Message(channel, message))

    def subscribe(self, channel: str, handler: Handler) -> Callable[[], None]:
        """See `replay.ports.Bus.subscribe`."""
        if self._closed:
            return lambda: None
        self._check_process()
        listener = self._listener
        listener.add(channel, handler)
        return lambda: listener.remove(channel, handler)

    def close(self) -> None:
        """See `replay.ports.Bus.close`. Messages that wait are sent first."""
        if not self._closed:
            self._closed = True
            if self._pid == os.getpid():
                self._sender.close()
                self._listener.close()


def topic_of(schema: str, namespace: str) -> str:
    """Return the name by which processes of one namespace find each other: PostgreSQL's may have 63 bytes only."""
    return f"replay_{hashlib.sha256(f'{schema}:{namespace}'.encode()).hexdigest()[:40]}"


class _Outage:
    """Logs the beginning and the end of an outage once for both connections."""

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._away = False

    def began(self, error: Exception) -> None:
        """Log the beginning of an outage once."""
        with self._lock:
            already, self._away = self._away, True
        if not already:
            log.warning("the bus %s cannot be reached, trying again: %s", self._url.shown, error)

    def ended(self) -> None:
        """Log the end of an outage, if there was one."""
        with self._lock:
            away, self._away = self._away, False
        if away:
            log.warning("the bus %s can be reached again", self._url.shown)


class _Sender:
    """Sends messages in their order, from a thread that begins with the first one."""

    def __init__(self, url: PostgresUrl, topic: str, outage: _Outage) -> None:
        self._db = Database(url)
        self._topic = topic
        self._outage = outage
        self._changed = threading.Condition()
        self._waiting: dict[Any, Message] = {}  # by the message itself if it is empty, else by its number
        self._sending = False
        self._number = 0
        self._stop = False
        self._thread: threading.Thread | None = None

    def send(self, message: Message) -> None:
        """Queue *message*; an empty one that waits already is not queued again."""
        with self._changed:
            if self._stop or len(self._waiting) >= MOST_WAITING:
                return
            self._number += 1
            self._waiting.setdefault(self._number if message.body else message, message)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="replay-notify")
                self._thread.start()
            self._changed.notify_all()

    def _run(self) -> None:
        pause, sender, sent = FIRST_PAUSE, os.urandom(6).hex(), 0
        while (batch := self._next()) is not None:
            began = time.monotonic()
            texts: list[str] = []
            for message in batch:
                sent += 1
                texts += payloads(message, f"{sender}{sent}")
            delivered = self._deliver(texts)
            with self._changed:
                self._sending = False
                self._changed.notify_all()
                if self._stop and not (delivered and self._waiting):
                    break
            if delivered:
                pause = FIRST_PAUSE
                self._rest(WINDOW - (time.monotonic() - began))
            else:
                self._rest(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
        self._db.close()

    def _next(self) -> list[Message] | None:
        """Wait for messages and take them; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stop)
            batch, self._waiting = list(self._waiting.values()), {}
            self._sending = bool(batch)
            return batch or None

    def _rest(self, seconds: float) -> None:
        if seconds > 0:
            with self._changed:
                self._changed.wait_for(lambda: self._stop, seconds)

    def _deliver(self, texts: Sequence[str]) -> bool:
        """Send, once more on a new connection if the present one turns out to be stale; tell whether it worked."""
        for attempt in range(2):
            try:
                self._db.execute("SELECT pg_notify(%s, t) FROM unnest(%s::text[]) AS q(t)", (self._topic, list(texts)))
            except Exception as error:
                self._db.drop()
                if attempt:
                    self._outage.began(error)
            else:
                self._outage.ended()
                return True
        return False

    def close(self) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify_all()
            thread = self._thread
            if thread is not None and threading.current_thread() is not thread:
                self._changed.wait_for(lambda: not (self._sending or self._waiting) or not thread.is_alive(), PATIENCE)


class _Listener:
    """Holds the subscriptions and one connection. After an outage it connects and listens again."""

    def __init__(self, url: PostgresUrl, topic: str, outage: _Outage) -> None:
        self._db = Database(url)
        self._topic = topic
        self._outage = outage
        self._handlers: dict[str, list[Handler]] = {}
        self._changed = threading.Condition()
        self._failures = 0
        self._socket: socket.socket | None = None  # a copy of the connection's, to end the thread's wait
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.connected = False

    def add(self, channel: str, handler: Handler) -> None:
        """Subscribe. Returns when the server listens for us, or is unreachable."""
        with self._changed:
            if self._stop.is_set():
                return
            self._handlers.setdefault(channel, []).append(handler)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="replay-bus")
                self._thread.start()
            if threading.current_thread() is not self._thread:
                failures = self._failures
                self._changed.wait_for(
                    lambda: self.connected or self._failures > failures or self._stop.is_set(), PATIENCE
                )

    def remove(self, channel: str, handler: Handler) -> None:
        """Remove *handler*; harmless if it is unknown."""
        with self._changed:
            handlers = self._handlers.get(channel, [])
            if handler in handlers:
                handlers.remove(handler)
                if not handlers:
                    del self._handlers[channel]

    def close(self) -> None:
        with self._changed:
            self._stop.set()
            self._handlers.clear()
            self._changed.notify_all()
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join(2.0)

    # --- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            try:
                connection = self._db.connected()
                self._begin(connection)
                pause = FIRST_PAUSE
                self._outage.ended()
                self._listen(connection)
            except Exception as error:
                if not self._stop.is_set():
                    self._outage.began(error)
            finally:
                with self._changed:
                    self.connected = False
                    copy, self._socket = self._socket, None
                    self._failures += 1
                    self._changed.notify_all()
                if copy is not None:
                    copy.close()
                self._db.drop()
            if self._stop.wait(pause):
                break
            pause = min(LONGEST_PAUSE, pause * 2)
        self._db.close()

    def _begin(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(f'LISTEN "{self._topic}"'.encode())
        with self._changed:
            self._socket = socket.socket(fileno=os.dup(connection.fileno()))
            self.connected = True
            self._changed.notify_all()

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        """Take messages until the connection fails. It stays outside of transactions, else the server could forget nothing."""
        parts = Parts()
        while not self._stop.is_set():
            for notify in connection.notifies(timeout=QUIET):
                message = parts.take(notify.payload)
                if message is not None:
                    self._take(message)
                if self._stop.is_set():
                    return
            connection.execute("SELECT 1")

    def _take(self, message: Message) -> None:
        for handler in tuple(self._handlers.get(message.channel, ())):
            try:
                handler(message.body)
            except Exception:
                log.exception("a handler of %r raised", message.channel)


_inherited: list[object] = []  # kept from being closed, as they belong to the parent of a fork
