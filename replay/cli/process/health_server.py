"""The health port: a small HTTP server that silent, slow and broken clients cannot exhaust."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler

log = logging.getLogger("replay.worker")

Answer = tuple[int, str]
"""Status code and text."""

CONNECTIONS = 32
"""Most connections at once. Probes are answered within milliseconds; more connections would take the descriptors of steps."""

PATIENCE = 5.0
"""Seconds. A probe sends its request at once."""


_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class HealthServer:
    """HTTP server on a daemon thread.

    Args:
        port: Port to listen on; 0 takes any free one.
        routes: Probe for each path; it returns status code and text.
        host: Address to listen on; by default all addresses of IPv4 and IPv6, since probes come from outside.
        patience: Seconds in which a client must send its request, and take each part of the answer.

    Raises:
        OSError: The port is taken, or the address is none of this machine's.
    """

    def __init__(
        self, port: int, routes: Mapping[str, Callable[[], Answer]], host: str = "", *, patience: float = PATIENCE
    ) -> None:
        self._server = _Server(_listener(host, port), routes, patience)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="replay-health", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _listener(host: str, port: int) -> socket.socket:
    """Return a listening socket. Without *host* one socket serves IPv4 and IPv6, where the machine has both."""
    if not host:
        if socket.has_dualstack_ipv6():
            with contextlib.suppress(_NoIPv6):
                return _bound(socket.AF_INET6, ("::", port))
        return _bound(socket.AF_INET, ("", port))
    family, *_, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    return _bound(family, address)


class _NoIPv6(OSError):
    """The kernel knows IPv6, and this machine has no address of it."""


def _bound(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    try:
        return socket.create_server(
            address, family=family, backlog=128, dualstack_ipv6=address[0] == "::" and socket.has_dualstack_ipv6()
        )
    except OSError as error:
        if address[0] == "::" and error.errno in _NO_IPV6:
            raise _NoIPv6(error.errno, error.strerror) from error
        raise


class _Server(socketserver.ThreadingTCPServer):
    """One thread a connection. The oldest silent connection makes room for a new one."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, routes: Mapping[str, Callable[[], Answer]], patience: float) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_address = listener.getsockname()
        self.routes = routes
        self.patience = patience
        self._lock = threading.Lock()
        self._silent: dict[object, float] = {}
        self._open: set[object] = set()

    def verify_request(self, request: object, client_address: object) -> bool:
        """Admit a connection, unless all others are being answered."""
        with self._lock:
            if len(self._open) >= CONNECTIONS and not self._evict(next(iter(self._silent), None)):
                return False
            self._open.add(request)
            self._silent[request] = time.monotonic()
            return True

    def service_actions(self) -> None:
        """Close connections whose request does not come; called twice a second."""
        with self._lock:
            late = time.monotonic() - self.patience
            for request in [each for each, since in self._silent.items() if since < late]:
                self._evict(request)

    def _evict(self, request: object) -> bool:
        """Close a silent connection; its thread notices. Return False for None."""
        if not isinstance(request, socket.socket):
            return False
        del self._silent[request]
        self._open.discard(request)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)
        return True

    def heard(self, request: object) -> None:
        """Note that the request of a connection has come."""
        with self._lock:
            self._silent.pop(request, None)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close a connection."""
        with self._lock:
            self._silent.pop(request, None)
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing for a client that hung up or reset; anything else is an error of ours."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.error("the health port failed to answer: %r", error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "replay", ""

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.patience)

    def parse_request(self) -> bool:
        """Parse line and headers; answer what is no HTTP, an empty line included."""
        if super().parse_request():
            self.server.heard(self.connection)
            return True
        if not self.requestline.strip():
            self.send_error(400)
        return False

    def do_GET(self) -> None:  # the standard library's name
        self.wfile.write(self._head())

    def do_HEAD(self) -> None:
        self._head()

    def _head(self) -> bytes:
        """Send status and headers; return the body."""
        routes = self.server.routes
        route = routes.get(self.path.partition("?")[0])
        try:
            code, text = route() if route is not None else (404, f"try {', '.join(routes)}\n")
        except Exception as error:
            log.exception("the probe %s failed", self.path)
            code, text = 500, f"{type(error).__name__}\n"
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return body

    def log_message(self, *_: object) -> None:
        """Log nothing: a probe every second must not fill the log."""
