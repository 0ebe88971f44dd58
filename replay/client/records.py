"""What callers are shown: executions, steps, pages and trees, decoded."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import attrs

from replay.codec.log_rows import Unreadable, decoded
from replay.core import entries as e
from replay.core.requests import Header
from replay.ports import Codec

T = TypeVar("T")


class Status(enum.StrEnum):
    """Where an execution stands."""

    PENDING = "pending"
    RUNNING = "running"
    SLEEPING = "sleeping"
    RETRYING = "retrying"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    COMPENSATION_FAILED = "compensation_failed"
    STUCK = "stuck"

    @property
    def ended(self) -> bool:
        """Whether this is the end."""
        return self in _ENDED

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"{value!r} is not a status. Fix: use one of {', '.join(cls)}")


_ENDED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.COMPENSATION_FAILED)


@attrs.frozen
class Execution:
    """One run of a workflow. Instants are seconds since the epoch, UTC.

    Attributes:
        error: What ended it (an exception; for a cancelled one the reason).
        attempt: Of the whole workflow, from 1.
        current: What it runs or waits for (dicts with `kind`, `id`, `at` (source line), `due`, ...).
        due_at: When a worker is to look at it again; None if only a message wakes it.
    """

    id: str
    workflow: str
    input: Any
    status: Status
    result: Any
    error: Any
    attempt: int
    created_at: float
    updated_at: float
    ended_at: float | None
    parent_id: str | None
    metadata: dict[str, Any]
    version: str
    current: list[dict[str, Any]]
    queue: str = "default"
    priority: int = 0
    due_at: float | None = None
    worker: str | None = None
    length: int = 0
    run: int = 0


@attrs.frozen
class StepRecord:
    """What became of one step. Instants are seconds since the epoch, UTC.

    `status` is `completed`, `failed`, `retrying` or `running`; a void record (its answer was discarded for a retry) is `void`.
    """

    id: str
    status: str
    result: Any
    error: Any
    attempts: int
    started_at: float | None
    ended_at: float | None


@attrs.frozen
class Detail:
    """An execution with its steps and its audit trail (all entries, oldest first).

    Values of classes that this process does not know are `UnknownValue`s, damaged entries `Unreadable`.
    """

    execution: Execution
    steps: tuple[StepRecord, ...]
    audit: tuple[e.Fact | Unreadable, ...]


@attrs.frozen
class Page(Generic[T]):
    """Some items, and the cursor that continues after them (None at the end). Iterable."""

    items: tuple[T, ...]
    cursor: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@attrs.frozen
class Tree:
    """An execution and the trees of its children, oldest first."""

    execution: Execution
    children: tuple[Tree, ...]


def execution_of(header: Header, codec: Codec) -> Execution:
    """Return *header* decoded, as far as possible here (see `decoded`)."""
    return Execution(
        header.id,
        header.workflow,
        decoded(codec, header.input),
        Status(header.status),
        decoded(codec, header.result),
        decoded(codec, header.error),
        header.attempt,
        header.created_at,
        header.updated_at,
        header.ended_at,
        header.parent_id,
        json.loads(header.metadata),
        header.version,
        _current(header),
        header.queue,
        header.priority,
        None if header.due_at is None else max(header.due_at, header.created_at),
        header.worker,
        header.length,
        header.run,
    )


def _current(header: Header) -> list[dict[str, Any]]:
    """Return where an execution is; in the pause before the next attempt of the whole workflow no code waits for anything."""
    told: list[dict[str, Any]] = json.loads(header.current)
    if not told and header.status == Status.RETRYING:
        return [{"kind": "attempt", "attempt": header.attempt, "due": header.due_at}]
    return told


def steps_of(audit: tuple[e.Fact | Unreadable, ...]) -> tuple[StepRecord, ...]:
    """Return what became of each step, in the order in which they first left a trace."""
    void = {i for entry in audit if isinstance(entry, e.AttemptFailed | e.Retried) for i in entry.voids}
    edited = {entry.index: entry.result for entry in audit if isinstance(entry, e.Edited)}
    found: dict[str, StepRecord] = {}
    began: dict[str, float] = {}
    for index, entry in enumerate(audit):
        match entry:
            case e.StepBegun(id=id, at=at):
                began[id] = at
                found[id] = StepRecord(id, "running", None, None, 1, at, None)
            case e.StepRetried(id=id, at=at, error=error, attempt=attempt, seconds=seconds):
                began.setdefault(id, at - seconds)
                status = "void" if index in void else "retrying"
                found[id] = StepRecord(id, status, None, error, attempt, began[id], None)
            case e.StepDone(id=id, at=at, attempts=attempts, seconds=seconds):
                status = "void" if index in void else "completed"
                result = edited.get(index, entry.result)
                found[id] = StepRecord(id, status, result, None, attempts, began.pop(id, at - seconds), at)
            case e.StepFailed(id=id, at=at, error=error, attempts=attempts, seconds=seconds):
                status = "void" if index in void else "failed"
                found[id] = StepRecord(id, status, None, error, attempts, began.pop(id, at - seconds), at)
            case _:
                pass
    return tuple(found.values())
