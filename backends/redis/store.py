"""The store and bus in Redis: one server, a primary behind Sentinels, or a cluster.

Every transition is one Lua script in one hash slot: atomic, fenced and idempotent. A batch of requests is one round trip
to each of its servers. A namespace's keys begin with `{namespace:shard}:`; `lua/lib/base.lua` lists them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from replay.backends.redis import rows
from replay.backends.redis.bus import RedisBus, open_bus
from replay.backends.redis.connection import Connection, Unusable
from replay.backends.redis.doctor import examine
from replay.backends.redis.handlers import Handlers
from replay.backends.redis.round_trips import RoundTrips, together
from replay.backends.redis.scripts import Call, load_scripts
from replay.backends.redis.shards import Shards
from replay.backends.redis.topology import Connect
from replay.backends.redis.url import RedisUrl, read_url
from replay.core import requests as r
from replay.core.errors import ConfigError, ReplayError, StoreUnavailable
from replay.logs import get_logger
from replay.ports import Clock

__all__ = ["RedisBus", "RedisStore", "open_bus", "open_store"]

log = get_logger("replay.redis")

SCHEMA = 1
"""Version of the key layout. A store with a newer version is refused."""

OUTBOX_DEADLINE = 1.0
"""Seconds that a reply may wait for deliveries to other shards; afterwards the workers perform them."""


_Outbox = list[tuple[int, int, list[bytes]]]
"""New outbox items of a batch: index of the request, shard, items (names and values in turn)."""


def _note(outbox: _Outbox, i: int, shard: int, items: list[bytes]) -> None:
    outbox.append((i, shard, items))


def _raised(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, ReplayError):
            raise answer
    return answers


class RedisStore:
    """See `replay.ports.Store`.

    Args:
        url: The server, service or cluster; see `open_store`.
        namespace: Separates applications that share a Redis.
        clock: The store's clock, for simulations; None: the server's.
        connect: Creates connections instead of redis-py's classes, e.g. to count round trips.

    Raises:
        ConfigError: The login is refused, or the namespace has another number of shards.
        StoreUnavailable: The server cannot be reached.
    """

    def __init__(
        self, url: RedisUrl, *, namespace: str = "default", clock: Clock | None = None, connect: Connect | None = None
    ) -> None:
        if not re.fullmatch(r"[^{}\s\x00-\x1f]{1,200}", namespace):
            raise ConfigError(
                f"namespace {namespace!r} is not allowed: use 1 to 200 characters without spaces, '{{' and '}}'"
            )
        self.namespace = namespace
        self._url = url
        scripts = load_scripts()
        self._connection = Connection(url, list(scripts.values()), connect)
        try:
            self._handlers = Handlers(Shards(namespace, self._agree_on_shards(), scripts), clock)
            try:
                self._connection.perform(self._handlers.index_schedules(), 0.0)
            except Unusable:
                raise
            except StoreUnavailable as error:  # a server that refuses writes is there to be read
                log.warning("%r takes no writes: %s", self, error)
        except BaseException:
            self._connection.close()
            raise

    def __repr__(self) -> str:
        return f"RedisStore({self._url.shown!r}, namespace={self.namespace!r})"

    def _agree_on_shards(self) -> int:
        """Return the number of shards of the namespace. A new namespace gets it here; nothing is written to an older one."""
        tag = b"{%b}:" % self.namespace.encode()
        key = tag + b"meta"

        def command(*args: Any) -> Call:
            return Call(0, tag, None, args, args[0] != b"HMGET")

        read = [command(b"HMGET", key, b"shards", b"schema")]
        ((shards, schema),) = _raised(self._connection.perform(read))
        if shards is None or schema is None:
            new = [
                command(b"HSETNX", key, b"shards", self._url.default_shards),
                command(b"HSETNX", key, b"schema", SCHEMA),
            ]
            shards, schema = _raised(self._connection.perform(new + read))[2]
        if int(schema) > SCHEMA:
            raise ConfigError(
                f"namespace {self.namespace!r} of {self._url.shown} was written by a newer replay (schema {int(schema)}, "
                f"this one knows {SCHEMA}). Fix: upgrade this process"
            )
        if self._url.shards is not None and int(shards) != self._url.shards:
            raise ConfigError(
                f"namespace {self.namespace!r} of {self._url.shown} has {int(shards)} shards, the URL says "
                f"{self._url.shards}. Fix: leave `shards` out of the URL; the number cannot change later"
            )
        return int(shards)

    def close(self) -> None:
        """See `replay.ports.Store.close`."""
        self._connection.close()

    def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        """See `replay.ports.Store.apply`."""
        outbox: _Outbox = []
        started = [self._handlers.start(request, partial(_note, outbox, i)) for i, request in enumerate(requests)]
        replies = [self._run_one(started[0])] if len(started) == 1 else self._run(together(started))
        if outbox:
            self._deliver_outbox(outbox, replies)
        return replies

    def _run_one(self, request: RoundTrips[Any]) -> Any:
        """Fast path of `_run(together([request]))[0]` for the commonest batch: an execution's next step."""
        replies: list[Any] | None = None
        while True:
            try:
                calls = next(request) if replies is None else request.send(replies)
            except StopIteration as end:
                return end.value
            except ReplayError as refusal:
                return refusal
            replies = self._connection.perform(calls)

    def _run(self, batch: RoundTrips[list[Any]], deadline: float | None = None) -> list[Any]:
        try:
            calls = next(batch)
            while True:
                calls = batch.send(self._connection.perform(calls, deadline))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    # --- between shards -----------------------------------------------------------------------------------

    def _deliver_outbox(self, outbox: _Outbox, replies: list[Any]) -> None:
        """Deliver new outbox items to other shards at once. Failed deliveries stay in the outboxes."""
        items = [
            (i, rows.read_outbox_item(shard, found[n], found[n + 1]))
            for i, shard, found in outbox
            for n in range(0, len(found), 2)
        ]
        more: _Outbox = []
        try:
            deliveries = [self._handlers.start(item, partial(_note, more, i)) for i, item in items]
            outcomes = self._run(together(deliveries), OUTBOX_DEADLINE)
            done = [
                self._handlers.start(r.Forget(item), partial(_note, more, i))
                for (i, item), outcome in zip(items, outcomes, strict=True)
                if type(outcome) is not ReplayError  # the server's own refusal
            ]
            self._run(together(done), OUTBOX_DEADLINE)
        except StoreUnavailable as error:
            log.warning("deliveries to other shards are left to the workers: %s", error)
            return
        for (i, item), outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, r.Created):
                woken: tuple[str, ...] = (item.queue,) if outcome.fresh and isinstance(item, r.Create) else ()
            else:
                woken = getattr(outcome, "woken", ())
            if woken:
                replies[i] = msgspec.structs.replace(
                    replies[i], woken=tuple(dict.fromkeys((*replies[i].woken, *woken)))
                )
        if more:  # the end of a cancelled child notifies yet another shard
            self._deliver_outbox(more, replies)

    # --- operators --------------------------------------------------------------------------------------------

    def warnings(self) -> list[str]:
        """Return warnings about unsafe settings of the servers, each with its remedy.

        Raises:
            StoreUnavailable: A server cannot be reached.
        """
        import redis

        found: dict[str, None] = {}
        for node in self._connection.topology.nodes():
            connection = node.take()
            try:
                found |= dict.fromkeys(examine(connection))
                node.give(connection)
            except (redis.RedisError, OSError) as error:
                with contextlib.suppress(Exception):
                    connection.disconnect()
                raise StoreUnavailable(f"Redis {self._url.shown}: {error}") from error
        return list(found)


def open_store(
    url: str,
    *,
    namespace: str = "default",
    clock: Clock | None = None,
    shards: int | None = None,
    ack_replicas: int | None = None,
    deadline: float | None = None,
    socket_timeout: float | None = None,
    connect: Connect | None = None,
) -> RedisStore:
    """Open the store in a Redis.

    Args:
        url: `redis://user:password@host:6379/0`, `rediss://...?ssl_ca_certs=FILE&ssl_cert_reqs=required`,
            `redis+sentinel://host:26379,host2:26379/service?db=0` or `redis+cluster://host:6379,host2:6379`. The
            following options may also stand in its query, and `tls=1` where the scheme cannot say so.
        namespace: Separates applications that share a Redis.
        clock: The store's clock, for simulations; None: the server's.
        shards: Number of hash slots of a new namespace (default: 1, in a cluster 16). It cannot change later.
        ack_replicas: Number of replicas that must have each batch before its reply (WAIT).
        deadline: Seconds of retries before `StoreUnavailable` (default 10).
        socket_timeout: Seconds that one reply may take (default 5).
        connect: Creates connections instead of redis-py's classes.

    Raises:
        ConfigError: The URL is malformed, the login is refused, or the namespace has another number of shards.
        StoreUnavailable: The server cannot be reached.
    """
    understood = read_url(
        url, shards=shards, ack_replicas=ack_replicas, deadline=deadline, socket_timeout=socket_timeout
    )
    return _open(understood, namespace=namespace, clock=clock, connect=connect)


def prepare_store(url: str, *, namespace: str = "default", clock: Clock | None = None) -> Callable[[], RedisStore]:
    """Check the URL without connecting; return the function that opens the store. Raises `ConfigError`."""
    return partial(_open, read_url(url), namespace=namespace, clock=clock)


def _open(url: RedisUrl, **options: Any) -> RedisStore:
    try:
        return RedisStore(url, **options)
    except Unusable as error:
        raise ConfigError(str(error)) from error
