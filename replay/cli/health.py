"""The health port: `/livez`, `/readyz` and `/metrics` over HTTP, for orchestrators and Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, str]


class HealthServer:
    """Serves on a daemon thread.

    Args:
        port: 0 takes any free one; see `port`.
        routes: What to answer for each path: status code and text.
        host: Where to listen; all addresses by default, since probes come from outside.
    """

    def __init__(self, port: int, routes: dict[str, Callable[[], Answer]], host: str = "") -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the standard library's name
                route = routes.get(self.path.partition("?")[0])
                code, text = route() if route is not None else (404, f"try {', '.join(routes)}\n")
                body = text.encode()
                self.send_response(code)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: a probe every second must not fill the log."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="replay-health", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
