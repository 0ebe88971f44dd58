"""Broadcast over Redis's pub/sub: wake-ups and emitted events. Losing all of it costs only latency."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from replay.backends.redis.scripts import pack
from replay.backends.redis.topology import RawConnection, Topology, find_topology
from replay.backends.redis.url import RedisUrl, read_url
from replay.logs import get_logger

log = get_logger("replay.redis")

Handler = Callable[[bytes], None]

PATIENCE = 1.0
"""Seconds that `subscribe` waits for its confirmation, and a connection for a reply."""

QUIET = 10.0
"""Seconds without a message after which the listener pings the server."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between attempts to connect."""


class RedisBus:
    """See `replay.ports.Bus`. One thread listens. Publishers write to a socket and wait for no reply."""

    def __init__(self, url: RedisUrl, *, namespace: str = "default") -> None:
        self._url = url
        self._namespace = namespace
        self._closed = False
        self._open()

    def __repr__(self) -> str:
        return f"RedisBus({self._url.shown!r}, namespace={self._namespace!r})"

    def _open(self) -> None:
        self._pid = os.getpid()
        outage = _Outage(self._url)
        self._publisher = _Publisher(self._url, outage)
        self._listener = _Listener(self._url, outage)

    def _check_process(self) -> None:
        if self._pid != os.getpid():  # forked: sockets and thread are the parent's, the handlers too
            self._open()

    def _name(self, channel: str) -> bytes:
        return f"{self._namespace}:{channel}".encode()

    @property
    def connected(self) -> bool:
        """True while messages are received."""
        return self._listener.connected

    def publish(self, channel: str, message: bytes = b"") -> None:
        """See `replay.ports.Bus.publish`."""
        if not self._closed:
            self._check_process()
            self._publisher.send(pack((b"PUBLISH", self._name(channel), message)))

    def subscribe(self, channel: str, handler: Handler) -> Callable[[], None]:
        """See `replay.ports.Bus.subscribe`."""
        if self._closed:
            return lambda: None
        self._check_process()
        listener, name = self._listener, self._name(channel)
        listener.add(name, handler)
        return lambda: listener.remove(name, handler)

    def close(self) -> None:
        """See `replay.ports.Bus.close`."""
        if not self._closed:
            self._closed = True
            if self._pid == os.getpid():
                self._listener.close()
                self._publisher.close()


def _bus_url(url: RedisUrl) -> RedisUrl:
    import attrs

    return attrs.evolve(url, socket_timeout=PATIENCE)


def _is_readable(sock: socket.socket) -> bool:
    """Tell whether *sock* has something to read. By `poll`, as `select` fails beyond 1,024 descriptors."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class _Outage:
    """Logs the beginning and the end of an outage once for both connections."""

    def __init__(self, url: RedisUrl) -> None:
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


class _Publisher:
    """Sends without waiting. The server sends no replies, so a readable socket means that the server closed it."""

    def __init__(self, url: RedisUrl, outage: _Outage) -> None:
        self._outage = outage
        self._topology: Topology = find_topology(_bus_url(url))
        self._lock = threading.Lock()
        self._connection: RawConnection | None = None
        self._pause = 0.0
        self._not_before = 0.0

    def send(self, command: bytes) -> None:
        """Send *command*, or drop it during an outage."""
        with self._lock:
            try:
                self._connected().sendall(command)
            except Exception:
                self._lost()
                if self._not_before > time.monotonic():
                    return
                try:  # the connection was stale: once more on a new one
                    self._connected().sendall(command)
                except Exception as error:
                    self._lost()
                    self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, self._pause * 2))
                    self._not_before = time.monotonic() + self._pause
                    self._outage.began(error)

    def _connected(self) -> Any:
        if self._connection is not None:
            sock: Any = self._connection._sock
            if sock is not None and not _is_readable(sock):
                return sock
            raise ConnectionError("the server closed the connection")
        if time.monotonic() < self._not_before:
            raise ConnectionError("it could not be reached a moment ago")
        connection = self._topology.node(b"bus").take()
        connection.send_command("CLIENT", "REPLY", "OFF")
        self._connection, self._pause = connection, 0.0
        self._outage.ended()
        return connection._sock

    def _lost(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.disconnect()
            self._topology.refresh()

    def close(self) -> None:
        with self._lock:
            self._not_before = float("inf")
            self._lost_quietly()

    def _lost_quietly(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.disconnect()


class _Listener:
    """Holds the subscriptions and one connection. After an outage it connects and subscribes again."""

    def __init__(self, url: RedisUrl, outage: _Outage) -> None:
        self._outage = outage
        self._topology: Topology = find_topology(_bus_url(url))
        self._handlers: dict[bytes, list[Handler]] = {}
        self._changed = threading.Condition()
        self._connection: RawConnection | None = None
        self._asked: dict[bytes, int] = {}  # SUBSCRIBEs sent on this connection, and those confirmed
        self._confirmed: dict[bytes, int] = {}
        self._failures = 0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def connected(self) -> bool:
        """True while there is a connection."""
        return self._connection is not None

    def add(self, name: bytes, handler: Handler) -> None:
        """Subscribe. Returns at the server's confirmation, or when the server is unreachable."""
        with self._changed:
            if self._stop.is_set():
                return
            handlers = self._handlers.setdefault(name, [])
            handlers.append(handler)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="replay-bus")
                self._thread.start()
            elif len(handlers) == 1:
                self._ask(b"SUBSCRIBE", name)
            if threading.current_thread() is self._thread:
                return
            connection, failures = self._connection, self._failures

            def settled() -> bool:
                asked = self._asked.get(name, 0)
                in_force = bool(asked) and self._confirmed.get(name, 0) >= asked
                away = self._failures > failures or (failures > 0 and connection is None)
                return in_force or away or self._stop.is_set()

            self._changed.wait_for(settled, PATIENCE)

    def remove(self, name: bytes, handler: Handler) -> None:
        """Remove *handler*; harmless if it is unknown."""
        with self._changed:
            handlers = self._handlers.get(name, [])
            if handler in handlers:
                handlers.remove(handler)
                if not handlers:
                    del self._handlers[name]
                    self._ask(b"UNSUBSCRIBE", name)

    def _ask(self, verb: bytes, *names: bytes) -> None:
        """Send a change of subscriptions. The thread notices failures."""
        connection = self._connection
        if connection is None:
            return
        if verb == b"SUBSCRIBE":
            for name in names:
                self._asked[name] = self._asked.get(name, 0) + 1
        with contextlib.suppress(Exception):
            sock: Any = connection._sock
            sock.sendall(pack((verb, *names)))

    def close(self) -> None:
        with self._changed:
            self._stop.set()
            self._handlers.clear()
            connection, self._connection = self._connection, None
            self._changed.notify_all()
        if connection is not None:
            with contextlib.suppress(Exception):
                import socket

                sock: Any = connection._sock
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join(2.0)

    # --- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            connection: RawConnection | None = None
            try:
                connection = self._topology.node(b"bus").take()
                self._begin(connection)
                pause = FIRST_PAUSE
                self._outage.ended()
                self._listen(connection)
            except Exception as error:
                if not self._stop.is_set():
                    self._outage.began(error)
            finally:
                with self._changed:
                    self._connection = None
                    self._failures += 1
                    self._changed.notify_all()
                if connection is not None:
                    with contextlib.suppress(Exception):
                        connection.disconnect()
            if self._stop.wait(pause):
                return
            pause = min(LONGEST_PAUSE, pause * 2)
            with contextlib.suppress(Exception):
                self._topology.refresh()

    def _begin(self, connection: RawConnection) -> None:
        with self._changed:
            if self._stop.is_set():
                return
            self._connection, self._failures = connection, 0
            self._asked, self._confirmed = {}, {}
            if self._handlers:
                self._ask(b"SUBSCRIBE", *self._handlers)

    def _listen(self, connection: RawConnection) -> None:
        """Take messages until the connection fails. A silent server gets a ping."""
        import redis

        asked = False
        while not self._stop.is_set():
            try:
                reply: Any = connection.read_response(
                    timeout=PATIENCE if asked else QUIET, disconnect_on_error=False, push_request=True
                )
            except redis.TimeoutError:
                if asked:
                    raise
                sock: Any = connection._sock
                sock.sendall(pack((b"PING",)))
                asked = True
                continue
            asked = False
            if isinstance(reply, list) and reply:
                self._take(reply)

    def _take(self, reply: list[Any]) -> None:
        kind, name = reply[0], reply[1]
        if kind == b"message":
            for handler in tuple(self._handlers.get(name, ())):
                try:
                    handler(reply[2])
                except Exception:
                    log.exception("a handler of %r raised", name.decode(errors="replace"))
        elif kind == b"subscribe":
            with self._changed:
                self._confirmed[name] = self._confirmed.get(name, 0) + 1
                self._changed.notify_all()


def open_bus(url: str, *, namespace: str = "default") -> RedisBus:
    """Open the bus in a Redis (URLs as for `open_store`). The bus connects as soon as the server is reachable.

    Raises:
        ConfigError: The URL is malformed.
    """
    return RedisBus(read_url(url), namespace=namespace)
