"""An AMQP connection with one channel, opened again after an outage of any length.

Hard rules, on which everything here rests:

1. All code runs on the I/O thread. No other thread calls it.
2. There is one way to recover. Any failure of the channel or the connection drops both. After a pause both are opened
   again, and everything on the broker is declared again. No state of the broker is ever assumed.
3. No callback raises because of an unreachable broker.
4. Every wait has a deadline. A queue can hang on a healthy broker. RabbitMQ, killed soon after the creation of a quorum
   queue, left the queue without a leader. It also ignored messages on a channel that knew a deleted queue of the same name.
   The first stall leads to a fresh connection. After the second stall in a row, a consumer deletes the queue and declares
   it again: it holds hints only.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from replay.backends.rabbitmq.topology import Topology
from replay.backends.rabbitmq.url import RabbitUrl
from replay.logs import get_logger

logger = get_logger("replay.rabbitmq")

FIRST_RETRY = 0.1  # seconds: a broker that only cut us off is there again at once
RETRY_CAP = 5.0  # seconds: so that an idle worker is back soon after a long outage
FAREWELL = 0.5  # seconds for the broker to answer our goodbye
DELETION = 30.0  # seconds that deleting a queue may take; RabbitMQ waits 5 for the leader that is missing

_chance = random.SystemRandom()  # our own: the global generator may be seeded by the application, or by a test

_REFUSED, _MISSING, _DIFFERENT, _CRASHED = 403, 404, 406, 541  # reply codes of AMQP


class Health:
    """Logs the beginning of an outage once, and its end once all connections work again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._down: set[str] = set()
        self._told = False

    def down(self, role: str, reason: str) -> None:
        """Note a failed connection of *role*."""
        self._down.add(role)
        if not self._told:
            self._told = True
            logger.warning("%s: broker unreachable, carrying on without hints (%s)", self._url, reason)

    def up(self, role: str) -> None:
        """Note a working connection of *role*."""
        self._down.discard(role)
        if self._told and not self._down:
            self._told = False
            logger.warning("%s: broker restored, hints flow again", self._url)


class Connection:
    """Keeps one connection open. Subclasses start their work in `begin` and then call `working`."""

    role = "connection"
    remakes = False  # deletes a queue that hangs

    def __init__(self, loop: Any, url: RabbitUrl, topology: Topology, health: Health) -> None:
        self.loop = loop
        self.topology = topology
        self.up = False
        self.reconnects = 0
        self.channel: Any = None
        self.connection: Any = None
        self._parameters = url.parameters
        self.stall_timeout = url.stall_timeout
        self._health = health
        self._attempt = 0
        self._up_since = 0.0
        self._timer: Any = None
        self._asking: deque[str] = deque()
        self._stalls: Counter[str] = Counter()  # queue -> times in a row that it did not answer
        self._patient_from = 0.0  # instant before which no wait counts
        self._why: object = None
        self._silent = False
        self._on_closed: Callable[[], None] | None = None

    # --- for subclasses ------------------------------------------------------------------------

    def begin(self) -> None:
        """Start working on the fresh `self.channel`."""
        raise NotImplementedError

    def lost(self) -> None:
        """Forget the state of the lost channel."""

    def waiting_for(self) -> tuple[str, float] | None:
        """Return the broker's name of the queue with the longest wait for an answer, and its start (monotonic)."""
        raise NotImplementedError

    def answered(self, name: str) -> None:
        """Note an answer of the queue *name*."""
        if self._stalls:
            del self._stalls[name]

    def working(self, *, sound: bool = True) -> None:
        """Note that the work of `begin` is under way. Without *sound* the outage is not over yet."""
        if not self.up:
            self.up = True
            self._up_since = time.monotonic()
        if sound:
            self._health.up(self.role)

    def declare(self, name: str, then: Callable[[], None]) -> None:
        """Declare the queue *name*, then call *then*."""
        if self.remakes and self._stalls[name] >= 2:
            del self._stalls[name]
            self._delete(name, lambda: self.declare(name, then))
            return
        if name in self.topology.as_found:
            then()
            return

        def declared(_answer: Any) -> None:
            self._asking.popleft()
            then()

        self._asking.append(name)
        self.channel.queue_declare(name, durable=True, arguments=self.topology.settings(name), callback=declared)

    def count(self, name: str, note: Callable[[int], None]) -> None:
        """Call *note* with the number of messages in the queue *name*. Uses a channel of its own, as a refusal closes it."""

        def counted(answer: Any) -> None:
            note(answer.method.message_count)
            answer_channel.close()

        def ask(channel: Any) -> None:
            channel.queue_declare(name, passive=True, callback=counted)

        answer_channel = self.connection.channel(on_open_callback=ask)

    def current(self, channel: Any) -> bool:
        """Return True if *channel* is the channel in use, and open."""
        return channel is self.channel and channel is not None and bool(channel.is_open)

    # --- the connection's life -------------------------------------------------------------------

    def open(self) -> None:
        """Connect. Reconnects by itself until `close`."""
        from pika import SelectConnection

        self._timer = None
        if self._on_closed is not None:
            return
        try:
            self.connection = SelectConnection(
                self._parameters,
                on_open_callback=self._on_connected,
                on_open_error_callback=self._on_lost,
                on_close_callback=self._on_lost,
                custom_ioloop=self.loop,
            )
        except OSError as error:
            self.connection = None
            self._on_lost(None, error)

    def reopen(self, why: object, *, outage: bool = True) -> None:
        """Drop the connection within `FAREWELL` seconds, in any state. It is opened again after a pause.

        Without *outage* nothing is logged, and the pause is short.
        """
        connection = self.connection
        if connection is not None and not (connection.is_closed or connection.is_closing):
            self._why = why
            self._silent = not outage
            if connection.is_open:  # during the handshake pika cannot close without an error of its own
                connection.close()
            self.loop.call_later(FAREWELL, lambda: self._hang_up(connection))

    def close(self, on_closed: Callable[[], None]) -> None:
        """Close for good; *on_closed* is called within about `FAREWELL` seconds."""
        self._on_closed = on_closed
        if self._timer is not None:
            self.loop.remove_timeout(self._timer)
        if self.connection is None or self.connection.is_closed:
            on_closed()
            return
        self.reopen("closed")

    def _hang_up(self, connection: Any) -> None:
        if connection is not self.connection or connection.is_closed:
            return
        if not (connection.is_open or connection.is_closing):  # still shaking hands: the socket goes with the loop
            if self._on_closed is not None:
                self.connection = None
                self._on_closed()
        else:
            # pika offers no public way to drop a connection whose peer has stopped answering.
            connection._terminate_stream(ConnectionError("no answer to our goodbye"))

    def _on_connected(self, connection: Any) -> None:
        if self._why is not None:  # it was to be closed meanwhile
            connection.close()
        elif not connection.is_closing:
            connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        self.channel = channel
        self._patient_from = time.monotonic()
        self.begin()
        self._watch(channel)

    def _watch(self, channel: Any) -> None:
        """Drop the connection when a queue does not answer (rule 4)."""
        if channel is not self.channel:
            return
        waiting = self.waiting_for()
        if waiting is not None:
            name, since = waiting
            if time.monotonic() - max(since, self._patient_from) > self.stall_timeout:
                self._stalls[name] += 1
                self._attempt = 0  # The broker is well, and enough time was lost already.
                self.reopen(f"queue {name!r} does not answer")
                return
        self.loop.call_later(self.stall_timeout / 4, lambda: self._watch(channel))

    def _delete(self, name: str, then: Callable[[], None]) -> None:
        """Delete the queue *name*, then call *then* in any case. Uses a channel of its own, as a refusal closes it."""
        main = self.channel
        self._patient_from = time.monotonic() + DELETION
        logger.warning("queue %r did not answer twice: it is deleted and made anew, as it holds hints only", name)

        def ask(channel: Any) -> None:
            channel.add_on_close_callback(closed)
            channel.queue_delete(name, callback=lambda _answer: channel.close())

        def closed(_channel: Any, _why: Any) -> None:
            if self.current(main):
                self._patient_from = time.monotonic()
                then()

        self.connection.channel(on_open_callback=ask)

    def _on_channel_closed(self, channel: Any, why: Any) -> None:
        if channel is not self.channel:
            return
        self._adapt(why)
        self.channel = None
        # Not from within the callback: pika is still clearing the channel away.
        connection = self.connection
        self.loop.add_callback_threadsafe(lambda: self.reopen(why) if connection is self.connection else None)

    def _adapt(self, why: Any) -> None:
        """Adapt to a refusal, so that the next attempt avoids it."""
        code = getattr(why, "reply_code", 0)
        if code in (_REFUSED, _DIFFERENT) and self._asking:
            name = self._asking[0]
            self.topology.as_found.add(name)
            logger.warning(
                "queue %r is used as found: it could not be declared (%s). Fix: delete it while no worker runs, "
                "so that it is made anew, or allow this user to configure it",
                name,
                brief(why),
            )
        elif code == _MISSING:
            self.topology.as_found.clear()

    def _on_lost(self, connection: Any, error: Any) -> None:
        if connection is not self.connection:
            return
        if self.up and time.monotonic() - self._up_since > RETRY_CAP:
            self._attempt = 0
        waiting = self.waiting_for()
        if waiting is not None and getattr(error, "reply_code", 0) == _CRASHED:
            self._stalls[waiting[0]] += 1
        self.connection = self.channel = None
        self.up = False
        self._asking.clear()
        self.lost()
        why, self._why = self._why or error, None
        if self._on_closed is not None:
            self._on_closed()
            return
        silent, self._silent = self._silent, False
        if silent:
            self._attempt = 0
        else:
            self._health.down(self.role, brief(why))
        pause = min(RETRY_CAP, FIRST_RETRY * 2**self._attempt) * _chance.uniform(0.5, 1.0)
        self._attempt = min(self._attempt + 1, 10)
        self.reconnects += 1
        self._timer = self.loop.call_later(pause, self.open)


def brief(error: object) -> str:
    """Return the innermost error in one line, without pika's nesting."""
    while isinstance(error, BaseException):
        # AMQPConnectionError and its kin wrap the cause, sometimes in a list of one failure per address.
        inner = getattr(error, "exceptions", None) or getattr(error, "exception", None) or error.args[:1]
        inner = inner[-1] if isinstance(inner, (list, tuple)) and inner else inner
        if not isinstance(inner, BaseException):
            return f"{type(error).__name__}: {error}"[:300]
        error = inner
    return str(error)[:300]
