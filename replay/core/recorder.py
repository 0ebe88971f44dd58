"""The recorder: entries and messages of a session that are not committed yet.

A value reaches the workflow only after passing through the codec (invariant I6): `record` encodes an entry, decodes it, and
feeds the interpreter.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from replay.core import entries as e
from replay.core.commands import Start
from replay.core.effects import Publish
from replay.core.errors import Cancelled, LogTooLong, NotSerializable, PayloadTooLarge
from replay.core.interpreter import Interpreter
from replay.core.requests import Create, Header
from replay.core.settings import SessionSettings


class Recorder:
    """Entries, consumed messages, children to create and to cancel, and events of the next commit."""

    def __init__(self, header: Header, interpreter: Interpreter, settings: SessionSettings) -> None:
        self.entries: list[bytes] = []
        self.consumed: list[int] = []
        self.creates: list[Create] = []
        self.cancels: list[str] = []
        self.publish: list[Publish] = []
        self._id = header.id
        self._retention = header.retention
        self._interpreter = interpreter
        self._settings = settings
        self._codec = settings.codec

    @property
    def unsaved(self) -> bool:
        """Something is to be committed."""
        return bool(self.entries or self.consumed or self.cancels)

    def clear(self) -> None:
        """Forget all: it was committed, or never will be."""
        self.entries, self.consumed, self.creates, self.cancels, self.publish = [], [], [], [], []

    def record(self, entry: e.Fact, consumed: tuple[int, ...] = ()) -> None:
        """Append *entry* and feed it to the workflow. An entry that cannot be stored becomes a `Refused`."""
        try:
            if isinstance(entry, e.ChildStarted):
                self.create(entry, self._interpreter.fibers[entry.fiber].command)
            data = self._limited(e.to_row(entry), f"{e.kind_of(entry)} {entry.id!r}")
        except (NotSerializable, PayloadTooLarge) as refused:
            if isinstance(entry, e.Emitted | e.NoteAdded):
                refused = self._within_the_value(entry, refused)
            elif isinstance(entry, e.StepFailed | e.Refused | e.StepRetried):
                refused = NotSerializable(f"the error of {entry.id!r} cannot be recorded: {refused}")
            entry = e.Refused(entry.at, entry.fiber, entry.id, refused)
            data = self._codec.encode(e.to_row(entry))
        self.entries.append(data)
        self.consumed.extend(consumed)
        if isinstance(entry, e.Emitted):
            self.publish.append(Publish(entry.event, self._codec.encode(entry.payload)))
        self._interpreter.feed_entry(e.from_row(self._codec.decode(data)))

    def _within_the_value(
        self, entry: e.Emitted | e.NoteAdded, refused: NotSerializable | PayloadTooLarge
    ) -> NotSerializable | PayloadTooLarge:
        """Return the refusal with a path that begins in the user's value, not in the row."""
        try:
            self._codec.encode(entry.payload if isinstance(entry, e.Emitted) else entry.data)
        except NotSerializable as own:
            return own
        return refused

    def step_done(self, entry: e.StepDone, data: bytes) -> None:
        """Record a result that the step's thread has encoded (as *data*) and decoded: as `record`, but faster."""
        self._interpreter.feed_entry(entry)
        # The same row as `entries.to_row` gives: every codec writes JSON, and the result is encoded already.
        id, digest = self._codec.encode(entry.id), b"null" if entry.digest is None else b"%d" % entry.digest
        numbers = entry.at, entry.fiber, id, data, digest, entry.attempts, entry.seconds
        self.entries.append(b'["StepDone",%a,%d,%b,%b,%b,%d,%a]' % numbers)

    def record_end(self, entry: e.ExecutionClosed | e.AttemptFailed) -> None:
        """Append *entry*, the last one of the workflow's attempt, without feeding it."""
        try:
            self.entries.append(self._codec.encode(e.to_row(entry)))
        except NotSerializable as refused:
            plain = msgspec.structs.replace(entry, error=RuntimeError(f"{getattr(entry, 'error', None)} ({refused})"))
            self.entries.append(self._codec.encode(e.to_row(plain)))

    def end_if_too_long(self, length: int) -> None:
        """Fail the workflow whose log, *length* entries long as committed, exceeds the limit."""
        limit = self._settings.log_limit
        if length + len(self.entries) > limit and self._interpreter.outcome is None:
            self._interpreter.fail(_too_long(self._id, limit))

    def value(self, value: Any, what: str) -> bytes:
        """Encode a result or input.

        Raises:
            NotSerializable, PayloadTooLarge: It cannot be stored.
        """
        return self._limited(value, what)

    def error(self, error: BaseException) -> bytes:
        """Encode the error with which the execution ends; one that cannot be stored becomes its text."""
        if isinstance(error, Cancelled):
            return self._codec.encode(error.reason)
        try:
            return self._codec.encode(error)
        except NotSerializable as refused:
            return self._codec.encode(RuntimeError(f"{type(error).__name__} ({refused})"))

    def create(self, entry: e.ChildStarted, command: Start[Any]) -> None:
        """Create the child of *entry* with the next commit.

        Raises:
            NotSerializable, PayloadTooLarge: Its input cannot be stored.
        """
        workflow = command.workflow
        own: float | None = getattr(workflow, "retention", None)
        self.creates.append(
            Create(
                entry.execution_id,
                workflow.key,
                self._limited(command.input, f"the input of child {entry.id!r}"),
                version=getattr(workflow, "version", ""),
                queue=getattr(workflow, "queue", "default"),
                timeout=command.timeout if command.timeout is not None else getattr(workflow, "timeout", None),
                parent_id=self._id,
                metadata=json.dumps(getattr(workflow, "metadata", {})).encode(),
                priority=getattr(workflow, "priority", 0),
                retention=own if own is not None else self._retention,
            )
        )

    def _limited(self, value: Any, what: str) -> bytes:
        data = self._codec.encode(value)
        limit = self._settings.payload_limit
        if len(data) > limit:
            raise PayloadTooLarge(
                f"{what} takes {len(data):,} bytes, over the limit of {limit:,}. "
                f"Fix: store it elsewhere and pass a reference, or raise payload_limit"
            )
        return data


def _too_long(id: str, limit: int) -> LogTooLong:
    return LogTooLong(
        f"the log of execution {id!r} is over the limit of {limit:,} entries. "
        f"Fix: `return ctx.continue_as_new(...)` in loops, split the work into children, or raise log_limit"
    )
