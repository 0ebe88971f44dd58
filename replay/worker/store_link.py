"""The store as a worker reaches it: whether it answers, when to try again, and one word of it in the log."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from replay.core import requests as r
from replay.core.errors import StoreUnavailable
from replay.observability.metrics import Metrics
from replay.ports import Store

log = logging.getLogger("replay.worker")

LONGEST_BACKOFF = 5.0
"""Longest pause between attempts to reach an unreachable store, seconds."""


class StoreLink:
    """Sends requests, for the loop and for the heartbeat.

    Args:
        store: Where to.
        metrics: What batches cost is counted here.
        entropy: Of pauses.
        now: The time by which `retry_at` is given.

    Attributes:
        away: The loop's last batch was not answered.
        retry_at: When to send it again.
        asking: The loop waits for the store, not for workflow code.
        answered: When the store last let the loop go on (`time.monotonic`).
    """

    def __init__(self, store: Store, metrics: Metrics, entropy: random.Random, now: Callable[[], float]) -> None:
        self.away = False
        self.retry_at = 0.0
        self.asking = False
        self.answered = 0.0
        self._store = store
        self._metrics = metrics
        self._entropy = entropy
        self._now = now
        self._backoff = 0.0
        self._telling = threading.Lock()
        self._told_away = False

    def batch(self, requests: Sequence[r.Request[Any]]) -> list[Any] | None:
        """Return the replies; None if the store cannot be reached (the same batch is to be sent again at `retry_at`)."""
        began = time.perf_counter()
        self.asking = True
        try:
            replies = self._store.apply(requests)
        except StoreUnavailable as error:
            self._tell(error)
            self.away = True
            self._backoff = min(LONGEST_BACKOFF, max(0.05, self._backoff * 2))
            self.retry_at = self._now() + self._backoff * (0.5 + self._entropy.random() / 2)
            self._metrics.unreachable += 1
            return None
        finally:
            self.answered, self.asking = time.monotonic(), False
        self._tell()
        self.away, self._backoff = False, 0.0
        self._metrics.batches += 1
        self._metrics.requests += len(requests)
        self._metrics.batch_seconds += time.perf_counter() - began
        return replies

    def beside(self, request: r.Request[Any]) -> Any:
        """Return the reply to one request beside the loop's. Any thread.

        Raises:
            StoreUnavailable: The store cannot be reached (which was logged, once for all threads).
        """
        try:
            (reply,) = self._store.apply([request])
        except StoreUnavailable as error:
            self._tell(error)
            raise
        self._tell()
        return reply

    def _tell(self, error: StoreUnavailable | None = None) -> None:
        """Say that the store is away, or back, once for all threads."""
        if error is None and not self._told_away:
            return
        with self._telling:
            if self._told_away == (error is not None):
                return
            self._told_away = error is not None
        if error is not None:
            log.warning("the store cannot be reached, trying again: %s", error)
        else:
            log.warning("the store can be reached again")
