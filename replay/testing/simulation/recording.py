"""A store wrapper that reports every request and reply to the timeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from replay.core import requests as r

Record = Callable[[str, Sequence[r.Request[Any]], Sequence[Any]], None]
"""Called with the caller's name, the requests, and their replies."""


@attrs.frozen
class RecordingStore:
    """Store that calls *record* after each `apply`; everything else goes to the wrapped store.

    Attributes:
        store: The wrapped store.
        caller: Name of the caller in the timeline: a worker's, or `user`.
        record: Called after each `apply`.
    """

    store: Any
    caller: str
    record: Record

    def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        """See `replay.ports.Store.apply`."""
        replies: list[Any] = self.store.apply(requests)
        self.record(self.caller, requests, replies)
        return replies

    def close(self) -> None:
        """Do nothing: the wrapped store belongs to its maker."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)
