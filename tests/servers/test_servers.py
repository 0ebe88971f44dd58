"""The private servers and the proxy do what the tests that use them believe."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.servers.process import PATIENCE, Process, until
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisCluster, RedisSentinel, RedisServer

SET = ("SET", "k", "v")


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    redis_server.run("FLUSHALL")
    with Proxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


def set_through(proxy: Proxy, timeout: float = PATIENCE) -> bool:
    connection = redis.Connection(host=proxy.host, port=proxy.port, socket_timeout=timeout, protocol=2)
    try:
        connection.send_command(*SET)
        return bool(connection.read_response() == b"OK")
    finally:
        connection.disconnect()


def test_a_killed_redis_with_an_append_only_file_comes_back_with_its_data_on_its_port(
    redis_server: RedisServer,
) -> None:
    redis_server.run(*SET)
    with redis_server.down():
        assert not redis_server.answers()
    assert redis_server.run("GET", "k") == "v"


def test_a_redis_with_passwords_and_rules_lets_each_user_in() -> None:
    with RedisServer(password="main", users=["worker on >secret ~* &* +@all"]) as server:
        for url in (server.url, server.url_of(3, user="worker", password="secret")):
            with redis.Redis.from_url(url, protocol=2) as client:
                assert client.set("k", "v")
        assert not redis.Redis(unix_socket_path=str(server.unix_socket), password="main", protocol=2).exists("none")


def test_a_paused_redis_answers_only_after_it_is_resumed(redis_server: RedisServer) -> None:
    redis_server.pause()
    try:
        with redis_server.client(socket_timeout=0.1) as client, pytest.raises(redis.TimeoutError):
            client.get("k")
    finally:
        redis_server.resume()
    until(redis_server.answers)


def test_the_cluster_serves_every_slot(redis_cluster: RedisCluster) -> None:
    (host, port) = redis_cluster.nodes[0]
    with redis.RedisCluster(host=host, port=port) as client:
        for i in range(50):
            assert client.set(f"k{i}", i)
        assert len(client.get_primaries()) == 3


def test_the_sentinel_promotes_the_replica_with_its_data(redis_sentinel: RedisSentinel) -> None:
    with redis_sentinel.primary.client() as client:
        client.set("k", "v")
        assert client.wait(1, int(PATIENCE * 1000)) == 1  # Counts the writes of its own connection only.
    new = redis_sentinel.failover()
    assert new.run("GET", "k") == "v"
    redis_sentinel.settle()
    assert redis_sentinel.primary is new


def test_the_proxy_passes_on_what_it_is_not_told_to_spoil(proxy: Proxy) -> None:
    assert set_through(proxy)


def test_a_request_cut_before_is_not_served(proxy: Proxy, redis_server: RedisServer) -> None:
    proxy.cut_next(after=False, containing=b"\r\nSET\r\n")
    with pytest.raises(redis.ConnectionError):
        set_through(proxy)
    assert redis_server.run("EXISTS", "k") == 0
    assert set_through(proxy)


def test_a_request_cut_after_was_served_although_nobody_was_told(proxy: Proxy, redis_server: RedisServer) -> None:
    proxy.cut_next(after=True, containing=b"\r\nSET\r\n")
    with pytest.raises(redis.ConnectionError):
        set_through(proxy)
    assert redis_server.run("GET", "k") == "v"
    assert proxy.cuts == 1


def test_a_refusing_proxy_can_accept_again(proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises(redis.ConnectionError):
        set_through(proxy)
    proxy.accept()
    assert set_through(proxy)


def test_a_black_hole_takes_everything_and_answers_nothing(proxy: Proxy, redis_server: RedisServer) -> None:
    proxy.black_hole()
    with pytest.raises(redis.TimeoutError):
        set_through(proxy, timeout=0.1)
    assert redis_server.run("EXISTS", "k") == 0


def test_rabbitmq_serves_and_tells_about_its_queues(rabbitmq_server: RabbitServer) -> None:
    with rabbitmq_server.channel() as channel:
        channel.queue_declare("servers", durable=True)
        assert "servers" in rabbitmq_server.ctl("list_queues", "name")
        channel.queue_delete("servers")


def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    if sys.platform != "linux":
        return  # Nothing else ties a child's life to its parent's.
    program = (
        "import os, sys; from pathlib import Path; from tests.servers.process import Process\n"
        f"p = Process(['/bin/sleep', '1000'], Path({str(tmp_path / 'log')!r})); p.start(lambda: True)\n"
        "print(p.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    pid = int(done.stdout)
    until(lambda: not is_running(pid), what="the orphan to die")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    process = Process([sys.executable, "-c", "raise SystemExit('no disk')"], tmp_path / "log")
    with pytest.raises(Exception, match="no disk"):
        process.start(lambda: False)
