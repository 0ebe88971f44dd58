"""Topology: the server of each shard (one server, a Sentinel primary, or a cluster's masters), and connections to it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Protocol, cast

from replay.backends.redis.url import RedisUrl


class RawConnection(Protocol):
    """Used part of redis-py's connections, most of which are untyped there."""

    _sock: Any

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def send_command(self, *args: Any) -> None: ...
    def send_packed_command(self, command: list[bytes]) -> None: ...
    def read_response(self, **options: Any) -> Any: ...


Connect = Callable[..., RawConnection]
"""Creates an unconnected connection from redis-py's options."""

Prepare = Callable[[RawConnection], None]
"""Prepares a new connection, once."""


class Node:
    """One server and its idle connections. A failed connection is dropped, because its replies may come late."""

    def __init__(self, make: Callable[[], RawConnection], prepare: Prepare | None = None) -> None:
        self._make = make
        self._prepare = prepare
        self._idle: list[RawConnection] = []

    def take(self) -> RawConnection:
        """Return a connection for exclusive use, connected. Raises redis-py's errors."""
        try:
            return self._idle.pop()
        except IndexError:
            connection = self._make()
        try:
            connection.connect()
            if self._prepare is not None:
                self._prepare(connection)
        except BaseException:
            connection.disconnect()
            raise
        return connection

    def give(self, connection: RawConnection) -> None:
        """Take back a sound connection."""
        self._idle.append(connection)

    def drop(self) -> None:
        """Close the idle connections (after a restart of the server, or a fork)."""
        idle, self._idle = self._idle, []
        for connection in idle:
            with contextlib.suppress(Exception):
                connection.disconnect()


class Topology(Protocol):
    """Finds the server of a shard."""

    def node(self, tag: bytes) -> Node:
        """Return the server of the keys with this tag. Raises redis-py's `ConnectionError` if it is unknown."""
        ...

    def refresh(self) -> None:
        """Find the servers again after a failure. A missing answer raises nothing."""
        ...

    def nodes(self) -> list[Node]:
        """Return the known servers."""
        ...

    def close(self) -> None:
        """Drop all idle connections."""
        ...


def options_of(url: RedisUrl) -> dict[str, Any]:
    """Return redis-py's options for a connection to one of the servers of *url*."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "db": url.db,
        "protocol": 3,
        "legacy_responses": False,
        "decode_responses": False,
        "socket_timeout": url.socket_timeout,
        "socket_connect_timeout": min(2.0, url.socket_timeout),
        "socket_keepalive": True,
        "client_name": "replay",
        "retry": Retry(NoBackoff(), 0),  # redis-py repeats ten times by default; `Connection` repeats itself
        **url.login,
        **(url.tls or {}),
    }


def connector(url: RedisUrl) -> Connect:
    """Return redis-py's class of connections for *url*."""
    from redis.connection import Connection, SSLConnection

    return cast("Connect", Connection if url.tls is None else SSLConnection)


def find_topology(url: RedisUrl, connect: Connect | None = None, prepare: Prepare | None = None) -> Topology:
    """Return the topology of *url*; nothing is connected yet."""
    connect = connect or connector(url)
    options = options_of(url)

    def node(host: str, port: int) -> Node:
        return Node(lambda: connect(host=host, port=port, **options), prepare)

    match url.kind:
        case "single":
            return Single(node(*url.hosts[0]))
        case "sentinel":
            sentinel_options = options_of(url) | {"db": 0}
            for name in url.login:
                del sentinel_options[name]
            sentinel_options |= url.sentinel_login
            return Sentinels(url, node, lambda host, port: connect(host=host, port=port, **sentinel_options))
        case "cluster":
            return Cluster(url, node)


class Single:
    """One server."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def node(self, tag: bytes) -> Node:
        """See `Topology.node`."""
        return self._node

    def refresh(self) -> None:
        """See `Topology.refresh`."""
        self._node.drop()

    def nodes(self) -> list[Node]:
        """See `Topology.nodes`."""
        return [self._node]

    def close(self) -> None:
        """See `Topology.close`."""
        self._node.drop()


class Sentinels:
    """The primary of a service behind Sentinels. A wrong answer is harmless: a replica refuses to write."""

    def __init__(
        self, url: RedisUrl, make: Callable[[str, int], Node], sentinel: Callable[[str, int], RawConnection]
    ) -> None:
        self._url = url
        self._make = make
        self._sentinel = sentinel
        self._address: tuple[str, int] | None = None
        self._node: Node | None = None
        self._lock = threading.Lock()

    def node(self, tag: bytes) -> Node:
        """See `Topology.node`."""
        import redis

        node = self._node
        if node is None:
            self.refresh()
            node = self._node
        if node is None:
            raise redis.ConnectionError(f"no Sentinel of {self._url.shown} names a primary of {self._url.service!r}")
        return node

    def refresh(self) -> None:
        """See `Topology.refresh`."""
        with self._lock:
            if self._node is not None:
                self._node.drop()
            named: dict[tuple[str, int], Node] = {}
            for host, port in self._url.hosts:
                address = self._ask(host, port)
                if address is None or address in named:
                    continue
                named[address] = self._node if self._node and address == self._address else self._make(*address)
                if _is_primary(named[address]):  # otherwise that Sentinel may be out of date: ask the next one
                    self._address, self._node = address, named[address]
                    return
            if named:
                self._address, self._node = next(iter(named.items()))

    def _ask(self, host: str, port: int) -> tuple[str, int] | None:
        import redis

        connection = self._sentinel(host, port)
        try:
            connection.connect()
            connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service)
            found: Any = connection.read_response()
            return (found[0].decode(), int(found[1])) if found else None
        except (redis.RedisError, OSError):
            return None
        finally:
            connection.disconnect()

    def nodes(self) -> list[Node]:
        """See `Topology.nodes`."""
        return [self.node(b"")]

    def close(self) -> None:
        """See `Topology.close`."""
        if self._node is not None:
            self._node.drop()


def _is_primary(node: Node) -> bool:
    """Return True if *node* is a primary. HELLO tells the role, too, and needs fewer permissions than ROLE."""
    import redis

    try:
        connection = node.take()
    except (redis.RedisError, OSError):
        return False
    try:
        connection.send_command("HELLO")
        role = connection.read_response()[b"role"]
    except Exception:
        connection.disconnect()
        return False
    node.give(connection)
    return bool(role == b"master")


class Cluster:
    """The masters of a Redis Cluster. Commands go to single nodes: redis-py refuses scripts in cluster pipelines."""

    def __init__(self, url: RedisUrl, make: Callable[[str, int], Node]) -> None:
        self._url = url
        self._make = make
        self._nodes: dict[tuple[str, int], Node] = {}
        self._slots: list[tuple[int, int, Node]] = []
        self._found: dict[bytes, Node] = {}
        self._lock = threading.Lock()

    def node(self, tag: bytes) -> Node:
        """See `Topology.node`."""
        node = self._found.get(tag)
        return node if node is not None else self._find(tag)

    def _find(self, tag: bytes) -> Node:
        import redis
        from redis.crc import key_slot

        if not self._slots:
            self.refresh()
        slot = key_slot(tag)
        for first, last, node in self._slots:
            if first <= slot <= last:
                self._found[tag] = node
                return node
        raise redis.ConnectionError(f"no node of {self._url.shown} says who serves slot {slot}")

    def refresh(self) -> None:
        """See `Topology.refresh`."""
        with self._lock:
            for node in self._nodes.values():
                node.drop()
            for host, port in dict.fromkeys([*self._nodes, *self._url.hosts]):
                if self._learn_from(host, port):
                    return

    def _learn_from(self, host: str, port: int) -> bool:
        import redis

        node = self._make(host, port)
        try:
            connection = node.take()
            connection.send_command("CLUSTER", "SLOTS")
            rows: Any = connection.read_response()
            node.give(connection)
        except (redis.RedisError, OSError):
            return False
        finally:
            node.drop()
        slots = []
        for first, last, master, *_replicas in rows:
            address = (master[0].decode() if master[0] else host, int(master[1]))
            slots.append((int(first), int(last), self._nodes.setdefault(address, self._make(*address))))
        self._slots, self._found = slots, {}
        return bool(slots)

    def nodes(self) -> list[Node]:
        """See `Topology.nodes`."""
        if not self._slots:
            self.refresh()
        return list(dict.fromkeys(node for _, _, node in self._slots))

    def close(self) -> None:
        """See `Topology.close`."""
        for node in self._nodes.values():
            node.drop()
