"""The queue contract on a real RabbitMQ, and what is RabbitMQ's own."""

from __future__ import annotations

import contextlib
import itertools
import logging
import subprocess
import sys
from collections.abc import Callable

import pytest

from replay.backends.rabbitmq import RabbitQueue, open_queue
from replay.ports import Queue
from replay.testing.contracts import QueueContract
from replay.testing.contracts.queue import Hints
from tests.servers.ports import free_port
from tests.servers.process import until
from tests.servers.rabbitmq import RabbitServer

_fresh = itertools.count()


@pytest.fixture
def namespace() -> str:
    return f"contract{next(_fresh)}"


class TestRabbitQueue(QueueContract):
    @pytest.fixture
    def make_queue(self, rabbitmq_server: RabbitServer, namespace: str) -> Callable[[], Queue]:
        return lambda: open_queue(rabbitmq_server.url, namespace=namespace)

    @pytest.fixture
    def make_absent_queue(self, namespace: str) -> Callable[[], Queue]:
        return lambda: open_queue(f"amqp://127.0.0.1:{free_port()}", namespace=namespace)


def test_hints_of_another_namespace_do_not_arrive(rabbitmq_server: RabbitServer, namespace: str) -> None:
    hints = Hints()
    with (
        contextlib.closing(open_queue(rabbitmq_server.url, namespace=namespace)) as here,
        contextlib.closing(open_queue(rabbitmq_server.url, namespace=f"{namespace}.emails")) as there,
    ):
        here.consume(["emails"], hints)
        there.publish("emails")
        until(lambda: there.stats().confirmed == 1, what="the other namespace's hint to be stored")
        here.publish("emails")
        assert hints.wait("emails")
        assert here.stats().consumed == 1


def test_ten_thousand_hints_are_folded_and_those_that_were_sent_are_confirmed(
    rabbitmq_server: RabbitServer, namespace: str
) -> None:
    with contextlib.closing(open_queue(rabbitmq_server.url, namespace=namespace)) as queue:
        for _ in range(10_000):
            queue.publish("emails")
        until(lambda: queue.stats().confirmed + queue.stats().folded == 10_000, what="the confirmations")
        stats = queue.stats()
        assert (stats.published, stats.returned, stats.refused) == (stats.confirmed, 0, 0)
        assert 4 <= stats.published < 5_000
        with rabbitmq_server.channel() as channel:
            found = channel.queue_declare(f"replay.{namespace}.emails", passive=True)
            assert found.method.message_count == stats.published


def test_each_hint_is_a_small_message_in_a_durable_quorum_queue(rabbitmq_server: RabbitServer, namespace: str) -> None:
    with contextlib.closing(open_queue(rabbitmq_server.url, namespace=namespace)) as queue:
        queue.publish("emails")
        until(lambda: queue.stats().confirmed == 1)
        assert queue.dead_letters() == 0
    with rabbitmq_server.channel() as channel:
        _, properties, body = channel.basic_get(f"replay.{namespace}.emails")
    assert (body, properties.delivery_mode) == (b'{"v":1,"q":"emails"}', 2)
    listed = rabbitmq_server.ctl("list_queues", "name", "durable", "type", "--silent").splitlines()
    for name in ("emails", "dead"):
        assert f"replay.{namespace}.{name}\ttrue\tquorum" in [line.strip() for line in listed]


def test_closing_leaves_no_connection_and_no_thread_behind(rabbitmq_server: RabbitServer, namespace: str) -> None:
    import threading

    queue = open_queue(rabbitmq_server.url, namespace=namespace)
    queue.consume(["emails"], Hints())
    queue.publish("emails")
    until(lambda: queue.connected)
    queue.close()
    assert not queue.connected
    assert "replay-rabbitmq" not in {thread.name for thread in threading.enumerate()}


def test_an_unused_queue_is_not_connected_and_needs_no_closing(rabbitmq_server: RabbitServer) -> None:
    assert not open_queue(rabbitmq_server.url).connected


def test_consuming_twice_or_after_closing_is_refused(rabbitmq_server: RabbitServer, namespace: str) -> None:
    queue = open_queue(rabbitmq_server.url, namespace=namespace)
    queue.consume(["emails"], Hints())
    with pytest.raises(RuntimeError, match=r"consuming already. Fix: open another"):
        queue.consume(["emails"], Hints())
    queue.close()
    with pytest.raises(RuntimeError, match="closed"):
        queue.consume(["emails"], Hints())


def test_a_consumer_may_close_the_queue_from_within(rabbitmq_server: RabbitServer, namespace: str) -> None:
    queue = open_queue(rabbitmq_server.url, namespace=namespace)
    hints = Hints()

    def close(name: str) -> None:
        queue.close()
        hints(name)

    queue.consume(["emails"], close)
    queue.publish("emails")
    assert hints.wait("emails")
    queue.close()
    assert not queue.connected


def test_the_password_is_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="replay")
    with contextlib.closing(open_queue(f"amqp://ann:s3cret@127.0.0.1:{free_port()}/shop")) as queue:
        queue.publish("emails")
        until(lambda: "unreachable" in caplog.text)
        assert "ann:***@127.0.0.1" in repr(queue)
        assert "s3cret" not in caplog.text + repr(queue)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("amqp://ann:s3/cret@host", "port"),
        ("redis://ann:s3cret@host", "amqp://"),
        ("amqp://ann:s3cret@host/?prefetch=3", "unknown options prefetch"),
        ("amqp://ann:s3cret@host/?heartbeat=soon", "heartbeat"),
        ("amqp://ann:s3cret@host/?cafile=/ca.pem", "amqps"),
        ("amqps://ann:s3cret@host/?cafile=/nowhere/ca.pem", "No such file"),
    ],
)
def test_a_malformed_url_is_refused_without_telling_its_password(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        open_queue(url)
    assert "s3" not in str(caught.value)
    assert "Fix:" in str(caught.value)


def test_a_wrong_password_is_an_outage_with_its_reason(
    rabbitmq_server: RabbitServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = rabbitmq_server.url.replace("guest:guest", "guest:wrong")
    with contextlib.closing(RabbitQueue(url)) as queue:
        queue.publish("emails")
        until(lambda: "unreachable" in caplog.text)
    assert "ACCESS_REFUSED" in caplog.text


def test_importing_the_module_loads_no_pika() -> None:
    program = "import sys, replay.backends.rabbitmq; raise SystemExit('pika' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
