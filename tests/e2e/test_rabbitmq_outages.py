"""A real RabbitMQ is killed, blocked, frozen, emptied and fed with garbage: hints flow again, and nobody waits."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from replay.backends.rabbitmq import RabbitQueue, open_queue
from replay.testing.contracts.queue import Hints
from tests.servers.ports import free_port
from tests.servers.process import until
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer

_fresh = itertools.count()


@pytest.fixture
def namespace() -> str:
    return f"outage{next(_fresh)}"


@pytest.fixture
def opened(rabbitmq_server: RabbitServer, namespace: str) -> Iterator[Callable[..., RabbitQueue]]:
    """Opens queues of one namespace, closed after the test."""
    with contextlib.ExitStack() as stack:

        def opened(url: str = rabbitmq_server.url) -> RabbitQueue:
            return stack.enter_context(contextlib.closing(open_queue(url, namespace=namespace)))

        yield opened


@pytest.fixture
def proxy(rabbitmq_server: RabbitServer) -> Iterator[Proxy]:
    with Proxy(rabbitmq_server.host, rabbitmq_server.port) as proxy:
        yield proxy


def through(proxy: Proxy, options: str = "") -> str:
    return f"amqp://guest:guest@{proxy.host}:{proxy.port}/%2F{options}"


def messages(server: RabbitServer, name: str) -> int:
    with server.channel() as channel:
        return int(channel.queue_declare(name, passive=True).method.message_count)


def said(caplog: pytest.LogCaptureFixture, *texts: str) -> int:
    """Count the log lines that hold all *texts*."""
    return sum(all(text in record.getMessage() for text in texts) for record in caplog.records)


def test_consumers_and_publishers_are_restored_when_a_killed_broker_comes_back(
    rabbitmq_server: RabbitServer, opened: Callable[..., RabbitQueue], caplog: pytest.LogCaptureFixture
) -> None:
    url = rabbitmq_server.url + "?stall_timeout=1"
    publisher, consumer, hints = opened(url), opened(url), Hints()
    consumer.consume(["emails", "default"], hints)
    hints.wait_by_asking(publisher, "emails")
    hints.wait_by_asking(publisher, "default")
    with rabbitmq_server.down():
        until(lambda: not publisher.connected and not consumer.connected, what="the loss to be noticed")
        for _ in range(1_000):
            publisher.publish("emails")
    hints.wait_by_asking(publisher, "emails")
    hints.wait_by_asking(publisher, "default")
    ours = "?stall_timeout=1"  # a fixture of another module may hold a queue of the same broker
    until(lambda: publisher.connected and consumer.connected and said(caplog, ours, "restored") >= 2)
    assert said(caplog, ours, "StreamLostError") == 2  # One outage, two queue objects.


@pytest.mark.parametrize("fate", ["ra:stop_server(quorum_queues, {Name, node()})", "sys:suspend(whereis(Name))"])
def test_a_queue_that_does_not_answer_is_made_anew(
    fate: str,
    rabbitmq_server: RabbitServer,
    opened: Callable[..., RabbitQueue],
    namespace: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = rabbitmq_server.url + "?stall_timeout=0.5"
    publisher, consumer, hints = opened(url), opened(url), Hints()
    publisher.publish("emails")
    publisher.publish("healthy")
    until(lambda: publisher.stats().confirmed == 2)
    # What a broker killed at a bad moment does by itself: the queue is on record, but nobody serves it.
    rabbitmq_server.ctl("eval", f"Name = '%2F_replay.{namespace}.emails', {fate}.")
    consumer.consume(["healthy", "emails"], hints)
    hints.wait_by_asking(publisher, "emails")
    hints.wait_by_asking(publisher, "healthy")
    assert said(caplog, "made anew") >= 1


def test_hints_published_during_an_outage_arrive_after_it(
    rabbitmq_server: RabbitServer, opened: Callable[..., RabbitQueue], proxy: Proxy
) -> None:
    publisher, consumer, hints = opened(through(proxy)), opened(), Hints()
    consumer.consume(["emails"], hints)
    hints.wait_by_asking(publisher, "emails")
    before = hints.seen["emails"]
    proxy.refuse()
    until(lambda: not publisher.connected, what="the loss to be noticed")
    publisher.publish("emails", 4)
    proxy.accept()
    assert hints.wait("emails", before + 4)


def test_a_broker_that_was_never_there_is_reported_once_and_hinders_nobody(
    opened: Callable[..., RabbitQueue], caplog: pytest.LogCaptureFixture
) -> None:
    queue = opened(f"amqp://127.0.0.1:{free_port()}")
    queue.consume(["emails"], Hints())
    for _ in range(20_000):
        queue.publish("emails")
    until(lambda: queue.stats().reconnects >= 6, what="several attempts")
    stats = queue.stats()
    assert (stats.connected, stats.published, stats.folded) == (False, 0, 19_996)
    assert queue.dead_letters(timeout=0.05) is None
    assert said(caplog, "broker unreachable, carrying on without hints") == 1


def test_a_broker_that_appears_later_is_used(
    opened: Callable[..., RabbitQueue], proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.refuse()
    queue, hints = opened(through(proxy)), Hints()
    queue.consume(["emails"], hints)
    queue.publish("emails", 3)
    until(lambda: queue.stats().reconnects >= 2, what="failed attempts")
    proxy.accept()
    assert hints.wait("emails", 3)
    until(lambda: said(caplog, "restored") == 1)


def test_connections_that_are_cut_over_and_over_come_back(opened: Callable[..., RabbitQueue], proxy: Proxy) -> None:
    queue, hints = opened(through(proxy)), Hints()
    queue.consume(["emails"], hints)
    for _ in range(4):
        hints.wait_by_asking(queue, "emails")
        proxy.cut()
    hints.wait_by_asking(queue, "emails")


def test_a_broker_that_falls_silent_is_left_and_found_again(opened: Callable[..., RabbitQueue], proxy: Proxy) -> None:
    queue, hints = opened(through(proxy, "?heartbeat=1&stack_timeout=1")), Hints()
    queue.consume(["emails"], hints)
    hints.wait_by_asking(queue, "emails")
    proxy.black_hole()
    until(lambda: not queue.connected, what="the silence to be noticed")
    proxy.cut()
    proxy.accept()
    hints.wait_by_asking(queue, "emails")


def test_closing_does_not_wait_for_a_frozen_broker(
    rabbitmq_server: RabbitServer, opened: Callable[..., RabbitQueue]
) -> None:
    queue, hints = opened(), Hints()
    queue.consume(["emails"], hints)
    hints.wait_by_asking(queue, "emails")
    rabbitmq_server.pause()
    try:
        queue.publish("emails")
        queue.close()
        assert not queue.connected
    finally:
        rabbitmq_server.resume()


GARBAGE = [
    b"",
    b"\x00\xff garbage",
    b'{"v":1}',
    b'{"v":1,"q":"reports"}',
    b'{"v":2,"q":"emails"}',
    b'{"v":1,"q":"emails","x":0}',
    b'[{"v":1,"q":"emails"}]',
    b"[" * 1_000,
    b'{"v":1,"q":"emails"}' + b" " * 2_000,
    b"x" * 1_000_000,
]


def test_messages_that_are_no_hints_go_to_the_dead_letter_queue_once(
    rabbitmq_server: RabbitServer,
    opened: Callable[..., RabbitQueue],
    namespace: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue, hints = opened(), Hints()
    queue.consume(["emails"], hints)
    hints.wait_by_asking(queue, "emails")
    before = hints.seen["emails"]
    with rabbitmq_server.channel() as channel:
        for body in GARBAGE:
            channel.basic_publish("", f"replay.{namespace}.emails", body)
        channel.basic_publish("", f"replay.{namespace}.emails", b'{"v": 1, "q": "emails"}')
        assert hints.wait("emails", before + 1)
        until(lambda: queue.dead_letters() == len(GARBAGE), what="the dead letters")
        dead = [channel.basic_get(f"replay.{namespace}.dead", auto_ack=True)[2] for _ in GARBAGE]
    assert sorted(dead) == sorted(GARBAGE)
    assert messages(rabbitmq_server, f"replay.{namespace}.emails") == 0
    assert queue.stats().malformed == len(GARBAGE)
    assert said(caplog, "no hint") == 1


def test_a_queue_deleted_underneath_is_declared_and_consumed_again(
    rabbitmq_server: RabbitServer, opened: Callable[..., RabbitQueue], namespace: str
) -> None:
    queue, hints = opened(rabbitmq_server.url + "?stall_timeout=0.5"), Hints()
    queue.consume(["emails"], hints)
    for _ in range(3):
        hints.wait_by_asking(queue, "emails")
        with rabbitmq_server.channel() as channel:
            channel.queue_delete(f"replay.{namespace}.emails")
    hints.wait_by_asking(queue, "emails")


def test_a_hint_that_found_no_queue_is_said_again(
    rabbitmq_server: RabbitServer, opened: Callable[..., RabbitQueue], namespace: str
) -> None:
    queue = opened()
    queue.publish("emails")
    until(lambda: queue.stats().confirmed == 1)
    with rabbitmq_server.channel() as channel:
        channel.queue_delete(f"replay.{namespace}.emails")
    queue.publish("emails")
    until(lambda: queue.stats().confirmed == 3, what="the hint to be said again")
    assert queue.stats().returned == 1
    assert messages(rabbitmq_server, f"replay.{namespace}.emails") == 1


def test_a_queue_with_other_settings_is_used_as_found(
    rabbitmq_server: RabbitServer,
    opened: Callable[..., RabbitQueue],
    namespace: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with rabbitmq_server.channel() as channel:
        channel.queue_declare(f"replay.{namespace}.emails", durable=True)
    queue, hints = opened(), Hints()
    queue.consume(["emails"], hints)
    hints.wait_by_asking(queue, "emails")
    assert "used as found" in caplog.text


def test_publishing_goes_on_under_a_memory_alarm_and_so_do_the_workers(
    rabbitmq_server: RabbitServer, opened: Callable[..., RabbitQueue]
) -> None:
    publisher, both, hints = opened(), opened(), Hints()
    both.consume(["emails"], hints)
    hints.wait_by_asking(publisher, "emails")
    hints.wait_by_asking(both, "emails")
    before = hints.seen["emails"]
    with rabbitmq_server.memory_alarm():
        for queue in (publisher, both):
            for _ in range(5_000):
                queue.publish("emails")
        assert both.connected
    assert hints.wait("emails", before + 2), hints.seen


def test_a_blocked_connection_is_given_up_after_its_timeout_and_hints_flow_when_the_alarm_ends(
    rabbitmq_server: RabbitServer, opened: Callable[..., RabbitQueue], caplog: pytest.LogCaptureFixture
) -> None:
    publisher, consumer, hints = opened(rabbitmq_server.url + "?blocked_connection_timeout=0.2"), opened(), Hints()
    consumer.consume(["emails"], hints)
    hints.wait_by_asking(publisher, "emails")
    with rabbitmq_server.memory_alarm():

        def has_given_up() -> bool:
            publisher.publish("emails")
            return publisher.stats().reconnects >= 2

        until(has_given_up, what="the blocked connection to be given up twice")
        assert (said(caplog, "unreachable"), said(caplog, "restored")) == (1, 0)
    hints.wait_by_asking(publisher, "emails")
    until(lambda: said(caplog, "restored") == 1)


def test_a_broker_that_revokes_the_login_is_an_outage_until_it_is_granted_again(
    rabbitmq_server: RabbitServer, opened: Callable[..., RabbitQueue], caplog: pytest.LogCaptureFixture
) -> None:
    rabbitmq_server.ctl("add_user", "ann", "s3cret")
    rabbitmq_server.ctl("set_permissions", "ann", ".*", ".*", ".*")
    url = rabbitmq_server.url.replace("guest:guest", "ann:s3cret")
    queue, hints = opened(url), Hints()
    queue.consume(["emails"], hints)
    hints.wait_by_asking(queue, "emails")
    rabbitmq_server.ctl("change_password", "ann", "other")
    rabbitmq_server.ctl("close_all_user_connections", "ann", "revoked")
    until(lambda: not queue.connected and queue.stats().reconnects >= 4, what="the refusals")
    queue.publish("emails")
    rabbitmq_server.ctl("change_password", "ann", "s3cret")
    hints.wait_by_asking(queue, "emails")
    assert said(caplog, "unreachable") == 1
    assert "s3cret" not in caplog.text


def test_the_broker_shows_who_is_connected(rabbitmq_server: RabbitServer, opened: Callable[..., RabbitQueue]) -> None:
    queue, hints = opened(), Hints()
    queue.consume(["emails"], hints)
    hints.wait_by_asking(queue, "emails")
    listed = rabbitmq_server.ctl("list_connections", "client_properties")
    assert f":{os.getpid()}" in listed
    assert "replay@" in listed


def test_an_error_on_the_io_thread_does_not_end_the_hints(
    opened: Callable[..., RabbitQueue], caplog: pytest.LogCaptureFixture
) -> None:
    queue, hints = opened(), Hints()
    queue.consume(["emails"], hints)
    hints.wait_by_asking(queue, "emails")

    def bug() -> Any:
        raise KeyError("a bug on purpose")

    queue._on_io_thread(bug)
    until(lambda: "unexpected error" in caplog.text)
    hints.wait_by_asking(queue, "emails")


@pytest.fixture(autouse=True)
def _no_noise_from_pika(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO, logger="replay")
    yield
    assert not [record for record in caplog.records if record.name.startswith("pika")]


def test_closing_during_the_handshake_is_silent_and_quick(
    rabbitmq_server: RabbitServer, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(40):
        queue = open_queue(rabbitmq_server.url, namespace=namespace)
        queue.consume(["default"], lambda name: None)
        pause = threading.Event()
        pause.wait(number * 0.002)  # so that some are met at each stage of the handshake
        queue.close()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
