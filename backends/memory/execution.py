"""An execution as the memory store holds it."""

from __future__ import annotations

import attrs

from replay.core import requests as r

_HEADER = tuple(f.name for f in attrs.fields(r.Header))


class Execution:
    """A header that changes in place (building a new one for each commit would double a step's cost), log and inbox."""

    __slots__ = (*_HEADER, "cancelled", "dedupe", "ends", "inbox", "log", "purge_at", "stamp", "watchers")

    def __init__(self, create: r.Create, now: float) -> None:
        at = now if create.at is None else create.at
        self.id = create.id
        self.workflow = create.workflow
        self.version = create.version
        self.queue = create.queue
        self.status = "pending"
        self.input = create.input
        self.created_at = self.updated_at = now
        self.result: bytes | None = None
        self.error: bytes | None = None
        self.ended_at: float | None = None
        self.parent_id = create.parent_id
        self.metadata = create.metadata
        self.priority = create.priority
        self.retention = create.retention
        self.deadline = None if create.timeout is None else max(at, now) + create.timeout
        self.attempt = 1
        self.run = 0
        self.length = len(create.entries)
        self.amendments = create.amendments
        self.arrivals = 0
        self.last_commit = ""
        self.token: str | None = None
        self.worker: str | None = None
        self.lost_leases = 0
        self.due_at: float | None = max(at, now) - create.priority * r.PRIORITY_STEP if at <= now else at
        self.current = b"[]"
        self.log: list[bytes] = list(create.entries)
        self.inbox: dict[int, r.Message] = {}
        self.dedupe: dict[str, int] = {}  # accepted message ids -> number of arrivals by then, oldest first
        self.ends: dict[str, int] = {}  # execution that ended -> number of the message in the inbox that tells of it
        self.cancelled = False  # a cancel has been accepted in this life
        self.watchers: dict[str, None] = {}
        self.purge_at: float | None = None
        self.stamp = 0  # of the entry in the heap of what is due that holds; others are stale

    def header(self) -> r.Header:
        return r.Header(**{name: getattr(self, name) for name in _HEADER})

    def messages(self, seen: int) -> tuple[r.Message, ...]:
        if self.arrivals <= seen:
            return ()
        return tuple(m for m in self.inbox.values() if m.seq > seen)
