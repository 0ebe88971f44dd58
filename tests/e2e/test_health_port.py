"""The health port under clients that say nothing, hang up, reset or send no HTTP; IPv4, IPv6 and one address."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from replay.cli.process import health_server
from replay.cli.process.health_server import CONNECTIONS, HealthServer
from tests.servers.process import PATIENCE, until


def broken() -> tuple[int, str]:
    raise LookupError("secret of the store")


ROUTES = {"/livez": lambda: (200, "ok\n"), "/broken": broken}


@contextlib.contextmanager
def serving(host: str = "", patience: float = PATIENCE) -> Iterator[int]:
    server = HealthServer(0, ROUTES, host, patience=patience)
    try:
        yield server.port
    finally:
        server.close()


def ask(port: int, request: bytes = b"GET /livez HTTP/1.1\r\n\r\n", host: str = "127.0.0.1") -> bytes:
    with socket.create_connection((host, port), PATIENCE) as client:
        client.sendall(request)
        found = b""
        while chunk := client.recv(4096):
            found += chunk
    return found


def connections() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_probes_are_answered_over_ipv4_and_ipv6() -> None:
    with serving() as port:
        assert b"200 OK" in ask(port)
        if socket.has_dualstack_ipv6():
            assert b"200 OK" in ask(port, host="::1")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("[::1]", "127.0.0.1")])
def test_one_address_serves_that_address_alone(host: str, other: str) -> None:
    with serving(host) as port:
        assert b"200 OK" in ask(port, host=host.strip("[]"))
        with pytest.raises(ConnectionRefusedError):
            ask(port, host=other)


def test_a_machine_without_ipv6_is_served_over_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with serving() as port:
        assert b"200 OK" in ask(port)


def test_no_resolver_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a resolver was asked")

    for name in ("getfqdn", "gethostbyaddr", "gethostbyname", "getnameinfo"):
        monkeypatch.setattr(socket, name, refuse)
    with serving("127.0.0.1") as port:
        assert b"200 OK" in ask(port)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\n\n", b"400"),
        (b"GET /livez HTTP/9.9\r\n\r\n", b"505"),
        (b"GET /livez HTTP/x\r\n\r\n", b"400"),
        (b"POST /livez HTTP/1.1\r\n\r\n", b"501"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /other HTTP/1.1\r\n\r\n", b"404"),
    ],
)
def test_a_request_that_is_none_gets_an_answer(
    request_: bytes, status: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving() as port:
        try:
            found = ask(port, request_)
        except ConnectionResetError:  # the answer came before the whole request was taken
            found = status
        assert status in found
        assert b"200 OK" in ask(port)
    assert capfd.readouterr().err == ""


def test_a_probe_that_fails_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as port:
        assert b" 500 " in (found := ask(port, b"GET /broken HTTP/1.1\r\n\r\n"))
    assert b"secret" not in found
    assert "the probe /broken failed" in caplog.text


def test_clients_that_hang_up_or_reset_are_not_logged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as port:
        for n in range(40):
            client = socket.create_connection(("127.0.0.1", port))
            if n % 2:
                client.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
            if n % 4 < 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        assert b"200 OK" in ask(port)
        until(lambda: connections() == 0)
    assert capfd.readouterr().err == ""
    assert caplog.text == ""


def test_500_silent_connections_keep_no_probe_waiting_and_hold_few_threads() -> None:
    with serving() as port, contextlib.ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
        for _ in range(5):
            assert b"200 OK" in ask(port)
        until(lambda: connections() <= CONNECTIONS)


@pytest.mark.parametrize("said", [b"", b"GET", b"GET /livez HTTP/1.1\r\nA: "])
def test_a_request_that_does_not_come_ends_its_connection(said: bytes) -> None:
    with serving(patience=0.2) as port, socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(said)
        with contextlib.suppress(ConnectionError):
            while client.recv(4096):
                pass
        until(lambda: connections() == 0)


def test_a_client_that_trickles_is_not_waited_for_at_each_byte() -> None:
    with serving(patience=0.3) as port, socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nA: ")
        closed = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while not closed.wait(0.05):
                    client.sendall(b"a")

        thread = threading.Thread(target=trickle)
        thread.start()
        with contextlib.suppress(ConnectionError):
            while client.recv(4096):
                pass
        closed.set()
        thread.join()
        until(lambda: connections() == 0)


def test_a_full_server_that_answers_all_its_clients_refuses_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_server, "CONNECTIONS", 1)
    go_on, begun = threading.Event(), threading.Event()

    def slow() -> tuple[int, str]:
        begun.set()
        go_on.wait(PATIENCE)
        return 200, "slow\n"

    server = HealthServer(0, {"/slow": slow})
    try:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as first:
            first.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
            assert begun.wait(PATIENCE)
            with contextlib.suppress(ConnectionError):
                assert ask(server.port) == b""
            go_on.set()
            assert b"200" in first.recv(4096)
    finally:
        server.close()
