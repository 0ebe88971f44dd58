"""A store with a virtual clock, asked in short form: the language of the store's promises."""

from __future__ import annotations

from typing import Any

from replay.core import requests as r
from replay.ports import Store
from replay.testing.simulation.clock import VirtualClock

LEASE = 30.0
LANES = (("w", ""), ("v", "2"))


class Asking:
    """A store with a virtual clock, and the requests of these tests in short form."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock

    def ask(self, request: r.Request[Any]) -> Any:
        """Return the reply; a refusal is raised."""
        (reply,) = self.store.apply([request])
        if isinstance(reply, Exception):
            raise reply
        return reply

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.move_to(self.clock.now() + seconds)

    def create(self, id: str, **options: Any) -> r.Created:
        """Create an execution of workflow `w`, a moment after the one before."""
        self.wait(0.001)
        return self.ask(r.Create(id, options.pop("workflow", "w"), b"null", **options))  # type: ignore[no-any-return]

    def claim(self, nonce: str, limit: int = 10, queues: tuple[str, ...] = ("default",), **options: Any) -> list[str]:
        """Return the ids of what was claimed."""
        return [each.header.id for each in self.claims(nonce, limit, queues, **options).claimed]

    def claims(self, nonce: str, limit: int = 10, queues: tuple[str, ...] = ("default",), **options: Any) -> r.Claims:
        """Claim."""
        workflows = options.pop("workflows", LANES)
        return self.ask(r.Claim(nonce, "worker", queues, workflows, limit, LEASE, **options))  # type: ignore[no-any-return]

    def commit(self, id: str, token: str, expected: int, then: Any = None, **options: Any) -> r.Committed:
        """Commit, `KeepLease` by default, under an id made of what distinguishes it."""
        commit_id = options.pop("commit_id", f"{token}:{expected}:{type(then).__name__}")
        return self.ask(r.Commit(id, token, expected, commit_id, then or r.KeepLease(LEASE), **options))  # type: ignore[no-any-return]

    def signal(self, id: str, message_id: str, payload: bytes = b"null") -> r.Delivered:
        """Deliver a signal."""
        return self.ask(r.Deliver(id, message_id, "signal", "go", payload))  # type: ignore[no-any-return]

    def get(self, id: str) -> r.Header:
        """Return the header of an execution that exists."""
        header = self.ask(r.Get(id))
        assert header is not None, f"{id!r} does not exist"
        return header  # type: ignore[no-any-return]
