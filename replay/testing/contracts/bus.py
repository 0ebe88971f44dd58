"""Contract of `replay.ports.Bus`, as tests to inherit."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from replay.ports import Bus

PATIENCE = 300.0  # seconds until a message counts as lost; a sound backend needs milliseconds, a busy machine more


class Inbox:
    """Collects messages, for a test to wait for."""

    def __init__(self) -> None:
        self._messages: queue.Queue[bytes] = queue.Queue()

    def __call__(self, message: bytes) -> None:
        """Take *message*."""
        self._messages.put(message)

    def next(self) -> bytes:
        """Return the next message, waiting for it.

        Raises:
            AssertionError: None came.
        """
        try:
            return self._messages.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"no message in {PATIENCE:g} s") from None

    @property
    def empty(self) -> bool:
        """Tell whether all messages were taken out."""
        return self._messages.empty()


class BusContract:
    """Tests of a bus, given these fixtures.

    * `make_bus`: a function that opens a bus object on your backend. Objects opened within one test talk to each
      other; those of another test do not (use a fresh namespace).
    * `make_absent_bus` (optional): the same for a backend that is not there.
    """

    @pytest.fixture
    def make_bus(self) -> Callable[[], Bus]:
        """Give the function that opens a bus; to be overridden."""
        raise NotImplementedError("Fix: override the fixture make_bus in your subclass")

    @pytest.fixture
    def make_absent_bus(self, make_bus: Callable[[], Bus]) -> Callable[[], Bus]:
        """Give the function that opens a bus whose backend is away; override it if there can be such a thing."""
        return make_bus

    @pytest.fixture
    def bus(self, make_bus: Callable[[], Bus]) -> Iterator[Bus]:
        """Open a bus for one test."""
        with contextlib.closing(make_bus()) as bus:
            yield bus

    @pytest.fixture
    def other(self, make_bus: Callable[[], Bus]) -> Iterator[Bus]:
        """Open a second bus on the same backend."""
        with contextlib.closing(make_bus()) as bus:
            yield bus

    def test_it_is_a_bus(self, bus: Bus) -> None:
        """It has the methods of the port."""
        assert isinstance(bus, Bus)

    def test_a_message_reaches_the_other_object_right_after_subscribing(self, bus: Bus, other: Bus) -> None:
        """The subscription is in force when `subscribe` returns, each time anew."""
        for i in range(20):
            inbox = Inbox()
            unsubscribe = other.subscribe(f"c{i}", inbox)
            bus.publish(f"c{i}", b"hello")
            assert inbox.next() == b"hello"
            unsubscribe()

    def test_both_objects_see_what_either_says(self, bus: Bus, other: Bus) -> None:
        """The publisher's own subscriptions included."""
        here, there = Inbox(), Inbox()
        bus.subscribe("c", here)
        other.subscribe("c", there)
        for speaker in (bus, other):
            speaker.publish("c", b"hello")
            assert here.next() == there.next() == b"hello"

    def test_messages_of_one_publisher_keep_their_order(self, bus: Bus, other: Bus) -> None:
        """While nothing fails."""
        inbox = Inbox()
        other.subscribe("c", inbox)
        sent = [b"%d" % i for i in range(200)]
        for message in sent:
            bus.publish("c", message)
        assert [inbox.next() for _ in sent] == sent

    @pytest.mark.parametrize("message", [b"", bytes(range(256)), b"\r\n$-1\r\n", b"x" * 100_000], ids=len)
    def test_messages_arrive_byte_by_byte(self, bus: Bus, other: Bus, message: bytes) -> None:
        """Nothing is decoded on the way."""
        inbox = Inbox()
        other.subscribe("c", inbox)
        bus.publish("c", message)
        received = inbox.next()
        assert received == message
        assert type(received) is bytes

    def test_each_of_several_handlers_gets_each_message(self, bus: Bus, other: Bus) -> None:
        """Also within one object."""
        inboxes = [Inbox() for _ in range(3)]
        for inbox in inboxes:
            other.subscribe("c", inbox)
        bus.publish("c", b"hello")
        assert [inbox.next() for inbox in inboxes] == [b"hello"] * 3

    def test_channels_do_not_mix(self, bus: Bus, other: Bus) -> None:
        """Names that look like patterns are names."""
        inbox, star = Inbox(), Inbox()
        other.subscribe("order", inbox)
        other.subscribe("*", star)
        for channel in ("orde", "orders", "order:1", "ORDER"):
            bus.publish(channel, b"wrong")
        bus.publish("order", b"right")
        bus.publish("*", b"star")
        assert (inbox.next(), star.next()) == (b"right", b"star")
        assert inbox.empty
        assert star.empty

    def test_an_unsubscribed_handler_gets_nothing_and_the_others_go_on(self, bus: Bus, other: Bus) -> None:
        """Unsubscribing twice is harmless."""
        gone, stays = Inbox(), Inbox()
        unsubscribe = other.subscribe("c", gone)
        other.subscribe("c", stays)
        unsubscribe()
        unsubscribe()
        bus.publish("c", b"hello")
        assert stays.next() == b"hello"
        assert gone.empty

    def test_a_handler_may_come_back(self, bus: Bus, other: Bus) -> None:
        """After the last handler of a channel has gone."""
        inbox = Inbox()
        other.subscribe("c", inbox)()
        other.subscribe("c", inbox)
        bus.publish("c", b"hello")
        assert inbox.next() == b"hello"

    def test_a_handler_that_raises_stays_subscribed_and_harms_no_other(self, bus: Bus, other: Bus) -> None:
        """It is logged."""
        before, after = Inbox(), Inbox()

        def failing(message: bytes) -> None:
            before(message)
            raise ValueError("the handler failed on purpose")

        other.subscribe("c", failing)
        other.subscribe("c", after)
        for message in (b"1", b"2"):
            bus.publish("c", message)
            assert before.next() == after.next() == message

    def test_handlers_may_subscribe_unsubscribe_and_publish(self, bus: Bus, other: Bus) -> None:
        """From within a call."""
        inbox = Inbox()
        undo: list[Callable[[], None]] = []

        def first(_message: bytes) -> None:
            undo.pop()()
            other.publish("b", b"from within")

        other.subscribe("b", inbox)
        undo.append(other.subscribe("a", first))
        bus.publish("a", b"go")
        assert inbox.next() == b"from within"

    def test_publishing_to_nobody_is_harmless(self, bus: Bus) -> None:
        """There need not be a subscriber."""
        bus.publish("nobody", b"hello")

    def test_after_closing_twice_nothing_raises(self, make_bus: Callable[[], Bus]) -> None:
        """Shutting down needs no order among threads."""
        bus = make_bus()
        unsubscribe = bus.subscribe("c", Inbox())
        bus.close()
        bus.close()
        bus.publish("c", b"late")
        unsubscribe()

    def test_nothing_raises_although_the_backend_is_absent(self, make_absent_bus: Callable[[], Bus]) -> None:
        """Neither does it wait for ever."""

        def use() -> None:
            bus = make_absent_bus()
            unsubscribe = bus.subscribe("c", Inbox())
            bus.publish("c", b"hello")
            unsubscribe()
            bus.close()

        failures: list[BaseException] = []

        def guarded() -> None:
            try:
                use()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it waits for a backend that is not there"
        assert not failures, failures[0]
