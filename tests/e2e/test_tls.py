"""Encrypted connections with a private authority: rediss:// and amqps://, and a server that cannot be trusted."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay import Engine, StoreUnavailable
from replay.backends.rabbitmq import open_queue
from replay.testing.contracts.queue import Hints
from tests.e2e.app import sleepy
from tests.servers.ports import free_port
from tests.servers.process import PATIENCE
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, and cert.pem and key.pem for localhost that it has signed."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl(
        "req",
        "-x509",
        *key,
        "-keyout",
        "ca-key.pem",
        "-out",
        "ca.pem",
        "-days",
        "2",
        "-subj",
        "/CN=replay test authority",
    )
    openssl("req", *key, "-keyout", "key.pem", "-out", "cert.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-extfile", "names", "-days", "2")
    openssl("x509", "-req", "-in", "cert.csr", *signed, "-out", "cert.pem")
    return folder


@pytest.fixture
def redis_port(authority: Path) -> Iterator[int]:
    port = free_port()
    files = ("--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "ca.pem")
    files = tuple(part if part.startswith("--") else str(authority / part) for part in files)
    with RedisServer(config=["--tls-port", str(port), "--tls-auth-clients", "no", *files]):
        yield port


def test_executions_run_over_rediss(redis_port: int, authority: Path) -> None:
    url = f"rediss://localhost:{redis_port}/0?ssl_ca_certs={authority / 'ca.pem'}"
    with Engine(url, workflows=[sleepy], worker=True, namespace=uuid.uuid4().hex) as engine:
        assert engine.start(sleepy, 0.0).result(PATIENCE) == "slept"


def test_a_server_of_an_unknown_authority_is_refused(redis_port: int) -> None:
    with (
        Engine(f"rediss://localhost:{redis_port}/0?deadline=2") as engine,
        pytest.raises(StoreUnavailable, match=r"(?i)certificate"),
    ):
        engine.ping()


def test_hints_travel_over_amqps(authority: Path) -> None:
    port = free_port()
    config = [
        f"listeners.ssl.default = {port}",
        f"ssl_options.cacertfile = {authority / 'ca.pem'}",
        f"ssl_options.certfile = {authority / 'cert.pem'}",
        f"ssl_options.keyfile = {authority / 'key.pem'}",
        "ssl_options.verify = verify_none",
    ]
    with RabbitServer(config=config):
        queue = open_queue(f"amqps://guest:guest@localhost:{port}/?cafile={authority / 'ca.pem'}", namespace="tls")
        try:
            hints = Hints()
            queue.consume(["default"], hints)
            hints.wait_by_asking(queue, "default")
        finally:
            queue.close()
