"""The connection to a URL's servers: batches of one round trip to each server, repeated until the replies or the deadline."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis import exceptions

from replay.backends.redis.scripts import Call, Script, pack
from replay.backends.redis.topology import Connect, Node, RawConnection, Topology, find_topology
from replay.backends.redis.url import RedisUrl
from replay.core.errors import ConfigError, ReplayError, StoreUnavailable
from replay.logs import get_logger

log = get_logger("replay.redis")

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
"""Seconds between tries: short after a brief restart, long for an overloaded server."""

_PASSING = ("BUSY", "NOREPLICAS", "MISCONF", "OOM", "Script attempted to access a non local key")
"""Beginnings of temporary refusals without a class in redis-py. A refused call applied nothing."""

_chance = random.SystemRandom()
"""Chance of this module's own: the global generator may be seeded by the application, or by a test."""

_MISSING = object()


class Connection:
    """Connection to the servers of one URL. Safe to use from several threads, and after a fork."""

    def __init__(self, url: RedisUrl, scripts: Sequence[Script], connect: Connect | None = None) -> None:
        self.url = url
        self._scripts = scripts
        self._connect = connect
        self._closed = threading.Event()
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        self.topology: Topology = find_topology(self.url, self._connect, self._teach)

    def _teach(self, connection: RawConnection) -> None:
        """Load the scripts that the server lacks, so that no batch must be repeated for one."""
        connection.send_command("SCRIPT", "EXISTS", *(script.sha for script in self._scripts))
        known = connection.read_response()
        missing = [script for script, there in zip(self._scripts, known, strict=True) if not there]
        if missing:
            connection.send_packed_command([pack((b"SCRIPT", b"LOAD", script.text)) for script in missing])
            for _ in missing:
                connection.read_response()

    def close(self) -> None:
        """Drop the connections. Safe to call twice."""
        self._closed.set()
        self.topology.close()

    def perform(self, calls: Sequence[Call], deadline: float | None = None) -> list[Any]:
        """Send *calls* and return one reply each. Calls of one shard run in order.

        A call that the server refuses for good has a `ReplayError` as its reply.

        Raises:
            StoreUnavailable: Some calls did not run within the deadline. Repeating them is safe.
        """
        if self._closed.is_set():
            raise StoreUnavailable(f"the store {self.url.shown} is closed")
        if self._pid != os.getpid():  # forked: the connections are the parent's
            self._closed = threading.Event()
            self._open()
        answers: list[Any] = [_MISSING] * len(calls)
        tries, until = 0, None
        while True:
            trouble = self._try(calls, answers)
            if _MISSING not in answers:
                return answers
            if trouble is None:  # only unknown scripts: send them whole, at once
                continue
            moment = time.monotonic()
            if until is None:
                until = moment + (self.url.deadline if deadline is None else deadline)
            if moment >= until:
                raise StoreUnavailable(
                    f"Redis {self.url.shown} did not serve a request in time: {trouble}"
                ) from trouble
            if tries:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**tries, until - moment)
                self._closed.wait(pause * _chance.uniform(0.5, 1.0))
            tries += 1
            if self._closed.is_set():
                raise StoreUnavailable(f"the store {self.url.shown} was closed meanwhile") from trouble
            self.topology.refresh()

    def _try(self, calls: Sequence[Call], answers: list[Any]) -> Exception | None:
        """Send the unanswered calls and note the replies. Return a temporary failure, if there was one."""
        trouble: Exception | None = None
        refusals: list[Exception] = []  # of all, raised when all servers' replies have been read
        groups: dict[Node, list[int]] = {}
        for i, call in enumerate(calls):
            if answers[i] is _MISSING:
                try:
                    groups.setdefault(self.topology.node(call.tag), []).append(i)
                except redis.RedisError as error:
                    trouble = error
        sent = []
        for node, members in groups.items():
            connection = None
            try:
                connection = node.take()
                self._send(connection, [calls[i] for i in members])
                sent.append((node, connection, members))
            except (redis.RedisError, OSError) as error:
                trouble = self._broken(connection, error)
                refusals += [trouble] if isinstance(trouble, Unusable) else []
        for n, (node, connection, members) in enumerate(sent):
            try:
                trouble = self._receive(connection, calls, members, answers) or trouble
                node.give(connection)
            except ReplayError as error:
                node.give(connection)
                refusals.append(error)
            except (redis.ConnectionError, redis.TimeoutError, redis.InvalidResponse, OSError) as error:
                trouble = self._broken(connection, error)
                refusals += [trouble] if isinstance(trouble, Unusable) else []
            except BaseException:
                for _, unread, _ in sent[n:]:
                    unread.disconnect()
                raise
        if refusals:
            raise refusals[0]
        return trouble

    def _send(self, connection: RawConnection, calls: list[Call]) -> None:
        data = [call.packed() for call in calls]
        if self.url.ack_replicas and any(call.writes for call in calls):
            # WAIT asks about this connection's own writes. A repetition may have none, hence one that always is.
            data.append(pack((b"SET", calls[0].tag + b"ack", b"")))
            data.append(pack((b"WAIT", self.url.ack_replicas, int(self.url.socket_timeout * 500))))
        connection.send_packed_command([b"".join(data) if len(data) > 1 else data[0]])

    def _receive(
        self, connection: RawConnection, calls: Sequence[Call], members: list[int], answers: list[Any]
    ) -> Exception | None:
        trouble: Exception | None = None
        refusal: ReplayError | None = None
        unknown = False
        for i in members:
            try:
                answer = connection.read_response()
                if calls[i].writes or not unknown:  # a read is asked again after the write that it stands behind
                    answers[i] = answer
            except exceptions.NoScriptError:
                calls[i].known, unknown = False, True
            except redis.ResponseError as error:
                refused = self._refused(calls[i], error)
                if isinstance(refused, Unusable):
                    refusal = refused
                elif not _may_pass(error):
                    answers[i] = refused
                trouble = error
        if self.url.ack_replicas and any(calls[i].writes for i in members):
            acknowledged = _acknowledged(connection)
            if acknowledged < self.url.ack_replicas:
                refusal = StoreUnavailable(
                    f"{acknowledged} of {self.url.ack_replicas} replicas of {self.url.shown} acknowledged in time"
                )
        if refusal is not None:
            raise refusal
        return trouble

    def _refused(self, call: Call, error: Exception) -> ReplayError:
        if isinstance(error, exceptions.AskError) and self.url.kind != "cluster":  # and MovedError
            hosts = ",".join(f"{host}:{port}" for host, port in self.url.hosts)
            return Unusable(
                f"{self.url.shown} is a node of a Redis Cluster ({type(error).__name__}: {error}). "
                f"Fix: redis+cluster://{hosts}, with user and password as they are"
            )
        if isinstance(error, exceptions.NoPermissionError):
            return Unusable(
                f"Redis {self.url.shown} does not permit {_name(call)}: {error}. Fix: grant the user +@all -@dangerous "
                f"(+info +config|get for `replay doctor`) on the namespace's keys and channels"
            )
        return ReplayError(f"Redis {self.url.shown} refused {_name(call)}: {error}")

    def _broken(self, connection: RawConnection | None, error: Exception) -> Exception:
        if connection is not None:
            connection.disconnect()
        if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError) or (
            isinstance(error, redis.ResponseError) and any(c in str(error) for c in ("NOAUTH", "WRONGPASS", "NOPERM"))
        ):
            return Unusable(
                f"Redis {self.url.shown} refuses our login: {error}. Fix: user and password in the store's URL"
            )
        if isinstance(error, redis.ResponseError) and "DB index" in str(error):
            return Unusable(
                f"Redis {self.url.shown} has no database {self.url.db}: {error}. Fix: the number in the URL"
            )
        return error


def _acknowledged(connection: RawConnection) -> int:
    """Read the replies of SET and WAIT; return the number of replicas that have the writes."""
    count: Any = 0
    refused = False
    for _ in range(2):
        try:
            count = connection.read_response()
        except redis.ResponseError:
            refused = True
    return 0 if refused else int(count)


def _may_pass(error: Exception) -> bool:
    """Return True for temporary refusals: failovers, moving slots, full memory or disk, a long script."""
    passing = (
        exceptions.ReadOnlyError,
        exceptions.TryAgainError,
        exceptions.ClusterDownError,
        exceptions.AskError,  # and MovedError
        exceptions.OutOfMemoryError,
    )
    return isinstance(error, passing) or any(code in str(error) for code in _PASSING)


class Unusable(StoreUnavailable, ConfigError):
    """The server refuses this URL. Repeating helps only after a change of the URL or a password."""


def _name(call: Call) -> str:
    return f"script {call.script.name!r}" if call.script is not None else repr(call.args[0])
