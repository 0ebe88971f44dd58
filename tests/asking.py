"""One request to a store, for tests that need a single reply."""

from __future__ import annotations

from typing import Any

from replay.core import requests as r


def ask(store: Any, request: r.Request[Any]) -> Any:
    """Return the reply to *request*.

    Raises:
        Exception: The store refused the request.
    """
    (reply,) = store.apply([request])
    if isinstance(reply, Exception):
        raise reply
    return reply
