"""A TCP proxy that spoils connections on purpose: before a request arrives, after it was served, or altogether."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from tests.servers.ports import free_port
from tests.servers.process import PATIENCE

Verdict = Literal["pass", "cut before", "cut after"]
_CHUNK = 1 << 16


class Proxy:
    """Forwards connections to *host*:*port*, until told otherwise.

    What to do with bytes from a client is decided by `rule`, called with each chunk as it was read (small requests
    arrive as one chunk): `"pass"`; `"cut before"`, the server never sees it; `"cut after"`, the server gets it and
    answers, and the connection is cut instead of passing the answer on: the client cannot know that it was served.
    ("The answer" is the next thing the server says, so this is for protocols that ask and answer in turn.)
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.rule: Callable[[bytes], Verdict] = lambda _chunk: "pass"
        self.delay = 0.0  # Seconds by which each chunk towards the server is held back.
        self.cuts = 0
        self.connections = 0
        self._target = (host, port)
        self._links: set[_Link] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._swallow = threading.Event()
        self.accept()

    # --- what clients meet -----------------------------------------------------------------------

    def accept(self) -> None:
        """Take connections and forward them (the state it starts in)."""
        self._swallow.clear()
        if self._listener is None:
            self._listener = socket.create_server((self.host, self.port), backlog=256)
            threading.Thread(target=self._serve, args=(self._listener,), daemon=True, name="proxy").start()

    def refuse(self) -> None:
        """Refuse new connections and cut the present ones, like a server that is not running."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _close(listener)
        self.cut()

    def black_hole(self) -> None:
        """From now on take connections and bytes, but pass nothing on in either direction, like a lost route."""
        self._swallow.set()

    def cut(self) -> None:
        """Cut all present connections; new ones are taken as before."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def cut_next(self, *, after: bool, containing: bytes = b"", times: int = 1) -> None:
        """Cut the next *times* requests that contain *containing*: after the server served them, or before."""
        left = times
        lock = threading.Lock()

        def rule(chunk: bytes) -> Verdict:
            nonlocal left
            with lock:
                if left == 0 or containing not in chunk:
                    return "pass"
                left -= 1
            return "cut after" if after else "cut before"

        self.rule = rule

    def close(self) -> None:
        """Stop for good."""
        self.refuse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- the threads -----------------------------------------------------------------------------

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(self._target, timeout=PATIENCE)
            except OSError:
                _close(client)
                continue
            for side in (client, server):
                side.settimeout(None)
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(self, client, server)
            with self._lock:
                self._links.add(link)
            link.start()

    def _forget(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)


class _Link:
    """One client's connection and ours to the server for it."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._cut_on_answer = False
        self._gone = threading.Event()

    def start(self) -> None:
        for pump in (self._requests, self._answers):
            threading.Thread(target=self._run, args=(pump,), daemon=True, name="proxy-link").start()

    def cut(self) -> None:
        self._gone.set()
        _close(self._client)
        _close(self._server)
        self._proxy._forget(self)

    def _run(self, pump: Callable[[], None]) -> None:
        try:
            pump()
        except OSError:
            pass
        finally:
            self.cut()

    def _requests(self) -> None:
        proxy = self._proxy
        while chunk := self._client.recv(_CHUNK):
            if proxy._swallow.is_set():
                continue
            if proxy.delay and self._gone.wait(proxy.delay):
                return
            verdict = proxy.rule(chunk)
            if verdict != "pass":
                proxy.cuts += 1
            if verdict == "cut before":
                return
            self._cut_on_answer |= verdict == "cut after"
            self._server.sendall(chunk)

    def _answers(self) -> None:
        while chunk := self._server.recv(_CHUNK):
            if self._cut_on_answer:
                return
            if not self._proxy._swallow.is_set():
                self._client.sendall(chunk)


def _close(side: socket.socket) -> None:
    """Close *side* so that a thread that reads from it notices."""
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()
