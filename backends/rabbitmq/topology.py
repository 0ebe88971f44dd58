"""Broker topology: a durable quorum queue for each execution queue, one for dead letters, and the message format."""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from typing import Any

MESSAGE_LIMIT = 1_024  # bytes


class Topology:
    """The queues of one namespace: their names on the broker and their settings.

    Attributes:
        as_found: Names of queues with other settings, or without permission to declare them. They are used as they are.
    """

    def __init__(self, namespace: str) -> None:
        self._prefix = f"replay.{_quote(namespace)}"
        self.dead = f"{self._prefix}.dead"
        self.as_found: set[str] = set()

    def name(self, queue: str) -> str:
        """Return the broker's name for the execution queue *queue*."""
        # A queue that is itself called "dead" must not meet the dead-letter queue.
        return f"{self._prefix}.{'%64ead' if queue == 'dead' else _quote(queue)}"

    def settings(self, name: str) -> dict[str, Any]:
        """Return the arguments to declare the queue *name* with; all queues are durable quorum queues."""
        if name == self.dead:
            return {"x-queue-type": "quorum", "x-max-length": 10_000}
        return {
            "x-queue-type": "quorum",
            # A hint that crashed this many consumers gets no further try: the store holds the work.
            "x-delivery-limit": 20,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.dead,
            # Without consumers hints pile up. Beyond this number the newest are refused, which loses nothing.
            "x-max-length": 100_000,
            "x-overflow": "reject-publish",
        }


def hint(queue: str) -> bytes:
    """Return the message of a hint: executions of *queue* are ready."""
    return json.dumps({"v": 1, "q": queue}, separators=(",", ":")).encode()


def is_hint(body: bytes, queue: str) -> bool:
    """Return True if *body* is a hint for *queue*. Anybody may have published there."""
    if len(body) > MESSAGE_LIMIT:
        return False
    try:
        return bool(json.loads(body) == {"v": 1, "q": queue})
    except (ValueError, RecursionError):
        return False


def _quote(name: str) -> str:
    """Return *name* such that dots only separate, short enough for AMQP."""
    quoted = urllib.parse.quote(name, safe="", errors="surrogatepass").replace(".", "%2E")
    return quoted if len(quoted) <= 100 else "%" + hashlib.sha256(quoted.encode()).hexdigest()
