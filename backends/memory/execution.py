"""An execution as the memory store holds it."""

from __future__ import annotations

from replay.core import requests as r

_HEADER = r.Header.__struct_fields__


class Execution:
    """A header that changes in place (building a new one for each commit would double a step's cost), log and inbox."""

    __slots__ = (*_HEADER, "cancelled", "dedupe", "ends", "inbox", "log", "purge_at", "stamp", "watchers")

    def __init__(self, header: r.Header, entries: tuple[bytes, ...]) -> None:
        self.id = header.id
        self.workflow = header.workflow
        self.version = header.version
        self.queue = header.queue
        self.status = header.status
        self.input = header.input
        self.created_at = header.created_at
        self.updated_at = header.updated_at
        self.result = header.result
        self.error = header.error
        self.ended_at = header.ended_at
        self.parent_id = header.parent_id
        self.metadata = header.metadata
        self.priority = header.priority
        self.retention = header.retention
        self.deadline = header.deadline
        self.attempt = header.attempt
        self.run = header.run
        self.length = header.length
        self.amendments = header.amendments
        self.arrivals = header.arrivals
        self.last_commit = header.last_commit
        self.token = header.token
        self.worker = header.worker
        self.lost_leases = header.lost_leases
        self.due_at = header.due_at
        self.current = header.current
        self.log: list[bytes] = list(entries)
        self.inbox: dict[int, r.Message] = {}
        self.dedupe: dict[str, int] = {}  # accepted message ids -> number of arrivals by then, oldest first
        self.ends: dict[str, int] = {}  # execution that ended -> number of its message in the inbox
        self.cancelled = False  # a cancel has been accepted in this life
        self.watchers: dict[str, None] = {}
        self.purge_at: float | None = None
        self.stamp = 0  # of its valid entry in the heap of due times; others are stale

    def header(self) -> r.Header:
        """Return a copy of the header."""
        return r.Header(**{name: getattr(self, name) for name in _HEADER})

    def messages(self, seen: int) -> tuple[r.Message, ...]:
        """Return the messages in the inbox beyond *seen*."""
        if self.arrivals <= seen:
            return ()
        return tuple(m for m in self.inbox.values() if m.seq > seen)

    def put_in(self, message: r.Message) -> None:
        """Put *message* into the inbox. An earlier end of the same execution is out of date."""
        if message.kind == "ended":
            self.take_out(self.ends.get(message.name))
            self.ends[message.name] = message.seq
        self.inbox[message.seq] = message

    def take_out(self, seq: int | None) -> None:
        """Take the message *seq* out of the inbox, if it is there."""
        message = None if seq is None else self.inbox.pop(seq, None)
        if message is not None and message.kind == "ended":
            del self.ends[message.name]

    def remember(self, message_id: str) -> None:
        """Remember an accepted message id, and the newest `ACCEPTED_LIMIT` of them."""
        self.dedupe[message_id] = self.arrivals
        while next(iter(self.dedupe.values())) <= self.arrivals - r.ACCEPTED_LIMIT:
            del self.dedupe[next(iter(self.dedupe))]
