"""Contract of `replay.ports.Queue`, as tests to inherit."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from replay.ports import Queue

PATIENCE = 300.0  # seconds until a hint counts as lost; a sound backend needs milliseconds, a busy machine more


class Hints:
    """Collects hints, for a test to wait for."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._changed = threading.Condition()

    def __call__(self, queue: str) -> None:
        """Note a hint of *queue*."""
        with self._changed:
            self.seen[queue] += 1
            self._changed.notify_all()

    def wait(self, queue: str, count: int = 1, timeout: float = PATIENCE) -> bool:
        """Wait until *count* hints of *queue* have come; tell whether they did."""
        with self._changed:
            return self._changed.wait_for(lambda: self.seen[queue] >= count, timeout)

    def wait_by_asking(self, queue: Queue, name: str) -> None:
        """Publish a hint of *name* again and again until one more has come: then the consumer is in force."""
        before = self.seen[name]
        until = time.monotonic() + PATIENCE
        while True:
            queue.publish(name)
            if self.wait(name, before + 1, timeout=0.5):
                return
            assert time.monotonic() < until, f"no hint of {name!r} in {PATIENCE:g} s"


class QueueContract:
    """Tests of a queue, given these fixtures.

    * `make_queue`: a function that opens a queue object on your backend. Objects opened within one test talk to each
      other; those of another test do not (use a fresh namespace).
    * `make_absent_queue` (optional): the same for a backend that is not there.
    """

    @pytest.fixture
    def make_queue(self) -> Callable[[], Queue]:
        """Give the function that opens a queue; to be overridden."""
        raise NotImplementedError("Fix: override the fixture make_queue in your subclass")

    @pytest.fixture
    def make_absent_queue(self, make_queue: Callable[[], Queue]) -> Callable[[], Queue]:
        """Give the function that opens a queue whose backend is away; override it if there can be such a thing."""
        return make_queue

    @pytest.fixture
    def queue(self, make_queue: Callable[[], Queue]) -> Iterator[Queue]:
        """Open a queue for one test."""
        with contextlib.closing(make_queue()) as queue:
            yield queue

    def test_it_is_a_queue(self, queue: Queue) -> None:
        """It has the methods of the port."""
        assert isinstance(queue, Queue)

    def test_a_hint_reaches_the_consumer(self, queue: Queue) -> None:
        """Published by the same object."""
        hints = Hints()
        queue.consume(["emails"], hints)
        hints.wait_by_asking(queue, "emails")

    def test_a_hint_reaches_the_consumer_of_another_object(self, queue: Queue, make_queue: Callable[[], Queue]) -> None:
        """As between an API process and a worker."""
        hints = Hints()
        queue.consume(["emails"], hints)
        with contextlib.closing(make_queue()) as other:
            hints.wait_by_asking(other, "emails")

    def test_each_hint_by_itself_arrives_when_nothing_fails(self, queue: Queue) -> None:
        """None is lost on the way."""
        hints = Hints()
        queue.consume(["emails"], hints, prefetch=4)
        hints.wait_by_asking(queue, "emails")
        for _ in range(30):
            before = hints.seen["emails"]
            queue.publish("emails")
            assert hints.wait("emails", before + 1), hints.seen

    def test_one_hint_at_least_comes_after_the_last_of_many(self, queue: Queue) -> None:
        """However many are folded."""
        hints = Hints()
        queue.consume(["emails"], hints, prefetch=4)
        hints.wait_by_asking(queue, "emails")
        for _ in range(10):
            for _ in range(300):
                queue.publish("emails")
            before = hints.seen["emails"]
            queue.publish("emails", 200)
            assert hints.wait("emails", before + 1), hints.seen

    def test_hints_come_with_the_name_of_their_queue(self, queue: Queue) -> None:
        """A consumer of several queues can tell them apart, whatever they are called."""
        names = ["emails", "e.mails", "dead", "größe/ü 1", "x" * 300]
        hints = Hints()
        queue.consume(names, hints)
        for name in names:
            hints.wait_by_asking(queue, name)

    def test_a_consumer_gets_no_hints_of_other_queues(self, queue: Queue) -> None:
        """Separation is by queue."""
        hints = Hints()
        queue.consume(["emails"], hints)
        queue.publish("reports", 5)
        hints.wait_by_asking(queue, "emails")
        assert set(hints.seen) == {"emails"}

    def test_a_consumer_that_raises_gets_the_next_hint(self, queue: Queue) -> None:
        """Its failure neither ends the consumer nor brings the hint back."""
        hints = Hints()

        def failing(name: str) -> None:
            hints(name)
            raise ValueError("the consumer failed on purpose")

        queue.consume(["emails"], failing)
        hints.wait_by_asking(queue, "emails")
        hints.wait_by_asking(queue, "emails")

    def test_publishing_nothing_sends_nothing(self, queue: Queue) -> None:
        """Zero hints are no hint."""
        hints = Hints()
        queue.consume(["emails", "reports"], hints)
        queue.publish("reports", 0)
        hints.wait_by_asking(queue, "emails")
        assert "reports" not in hints.seen

    def test_many_threads_may_publish_at_once(self, queue: Queue) -> None:
        """The port is thread-safe."""
        hints = Hints()
        queue.consume(["emails"], hints)
        hints.wait_by_asking(queue, "emails")

        def publish() -> None:
            for _ in range(50):
                queue.publish("emails")

        before = hints.seen["emails"]
        threads = [threading.Thread(target=publish) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert hints.wait("emails", before + 1), hints.seen
        hints.wait_by_asking(queue, "emails")

    def test_closing_twice_is_harmless(self, make_queue: Callable[[], Queue]) -> None:
        """Used or not."""
        unused, used = make_queue(), make_queue()
        used.publish("emails")
        for queue in (unused, used, unused, used):
            queue.close()

    def test_closing_flushes_what_was_published(self, queue: Queue, make_queue: Callable[[], Queue]) -> None:
        """A process may publish and end."""
        hints = Hints()
        queue.consume(["emails"], hints)
        hints.wait_by_asking(queue, "emails")
        before = hints.seen["emails"]
        other = make_queue()
        other.publish("emails")
        if other is not queue:
            other.close()
        assert hints.wait("emails", before + 1)

    def test_after_closing_no_hint_comes_and_publishing_is_harmless(self, make_queue: Callable[[], Queue]) -> None:
        """Shutting down needs no order among threads."""
        hints = Hints()
        queue = make_queue()
        queue.consume(["emails"], hints)
        hints.wait_by_asking(queue, "emails")
        queue.close()
        before = hints.seen["emails"]
        queue.publish("emails")
        assert hints.seen["emails"] == before

    def test_publishing_returns_although_the_backend_is_absent(self, make_absent_queue: Callable[[], Queue]) -> None:
        """It neither waits nor raises, however often it is called."""
        queue = make_absent_queue()

        def publish() -> None:
            for i in range(20_000):
                queue.publish(f"q{i % 3}")
            queue.consume(["q1"], Hints())
            queue.close()

        thread = threading.Thread(target=publish, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "publishing or closing waits for a backend that is not there"
