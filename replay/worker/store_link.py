"""Store connection of a worker: availability, back-off, and one log line per outage."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from replay.core import requests as r
from replay.core.errors import StoreUnavailable
from replay.logs import get_logger
from replay.observability.metrics import Metrics
from replay.ports import Store

log = get_logger("replay.worker")

LONGEST_BACKOFF = 5.0
"""Longest pause between attempts to reach an unreachable store, seconds."""


class StoreLink:
    """Sends requests, for the loop and for the heartbeat.

    Args:
        store: The store.
        metrics: Counts batches and their duration.
        entropy: Random source of the back-off's jitter.
        now: The clock of `retry_at`.

    Attributes:
        unreachable: The loop's last batch was not answered.
        retry_at: Instant of the next attempt.
        asking: The loop waits for the store, not for workflow code.
        answered: Instant of the store's last answer to the loop (`time.monotonic`).
    """

    def __init__(self, store: Store, metrics: Metrics, entropy: random.Random, now: Callable[[], float]) -> None:
        self.unreachable = False
        self.retry_at = 0.0
        self.asking = False
        self.answered = 0.0
        self._store = store
        self._metrics = metrics
        self._entropy = entropy
        self._now = now
        self._backoff = 0.0
        self._logging = threading.Lock()
        self._logged_unreachable = False

    def batch(self, requests: Sequence[r.Request[Any]]) -> list[Any] | None:
        """Return the replies; None if the store is unreachable (send the same batch again at `retry_at`)."""
        began = time.perf_counter()
        self.asking = True
        try:
            replies = self._store.apply(requests)
        except StoreUnavailable as error:
            self._log_availability(error)
            self.unreachable = True
            self._backoff = min(LONGEST_BACKOFF, max(0.05, self._backoff * 2))
            self.retry_at = self._now() + self._backoff * (0.5 + self._entropy.random() / 2)
            self._metrics.unreachable += 1
            return None
        finally:
            self.answered, self.asking = time.monotonic(), False
        self._log_availability()
        self.unreachable, self._backoff = False, 0.0
        self._metrics.batches += 1
        self._metrics.requests += len(requests)
        self._metrics.batch_seconds += time.perf_counter() - began
        return replies

    def call(self, request: r.Request[Any]) -> Any:
        """Return the reply to one request, outside the loop's batches. Any thread.

        Raises:
            StoreUnavailable: The store cannot be reached (which was logged, once for all threads).
        """
        try:
            (reply,) = self._store.apply([request])
        except StoreUnavailable as error:
            self._log_availability(error)
            raise
        self._log_availability()
        return reply

    def _log_availability(self, error: StoreUnavailable | None = None) -> None:
        """Log the beginning (*error*) or the end of an outage, once for all threads."""
        if error is None and not self._logged_unreachable:
            return
        with self._logging:
            if self._logged_unreachable == (error is not None):
                return
            self._logged_unreachable = error is not None
        if error is not None:
            log.warning("the store cannot be reached, trying again: %s", error)
        else:
            log.warning("the store can be reached again")
