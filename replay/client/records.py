"""Decoded records for callers: executions, steps, pages and trees."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import attrs

from replay.codec.log_rows import Unreadable, decoded
from replay.core import entries as e
from replay.core.errors import text_of
from replay.core.progress import INTERNAL
from replay.core.requests import Header, WorkerRow
from replay.ports import Codec

T = TypeVar("T")


class Status(enum.StrEnum):
    """The status of an execution."""

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
        """Whether an execution with this status has ended."""
        return self in _ENDED

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"{value!r} is not a status. Fix: use one of {', '.join(cls)}")


UNREADABLE = "unreadable"
"""Kind of `current`, and key of `metadata`, in the place of what cannot be read."""

_ENDED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.COMPENSATION_FAILED)


@attrs.frozen
class Execution:
    """One run of a workflow. Instants are seconds since the epoch, UTC.

    Attributes:
        error: The exception that ended it; for a cancelled execution the reason.
        attempt: The number of the whole workflow's attempt, from 1.
        current: The commands that it runs or waits for: dicts with `kind`, `id`, `at` (source line), `due`, ...
        due_at: Instant at which it is due for a worker; None if only a message wakes it.

    Damaged metadata is `{"unreadable": reason}`, damaged progress `[{"kind": "unreadable", "error": reason}]`; an unknown
    status is `stuck`.
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
    """The record of one step. Instants are seconds since the epoch, UTC.

    `status` is `completed`, `failed`, `retrying` or `running`, or `void` if a retry discarded the result.
    """

    id: str
    status: str
    result: Any
    error: Any
    attempts: int
    started_at: float | None
    ended_at: float | None


@attrs.frozen
class WaitingMessage:
    """A message in an execution's inbox: a signal that nobody has waited for yet, a cancel, or the end of another execution.

    Attributes:
        kind: `signal`, `cancel` or `ended`.
        name: The signal's id; the execution that ended, or that cancels (empty: nobody's).
        payload: The signal's payload, the cancel's reason, or how the execution ended.
        at: Instant of its arrival, seconds since the epoch.
    """

    kind: str
    name: str
    payload: Any
    at: float


@attrs.frozen
class Detail:
    """An execution with its steps, its audit trail (all entries, oldest first) and its inbox (waiting messages, oldest first).

    Values of classes that this process does not know are `UnknownValue`s, damaged entries `Unreadable`.
    """

    execution: Execution
    steps: tuple[StepRecord, ...]
    audit: tuple[e.Fact | Unreadable, ...]
    inbox: tuple[WaitingMessage, ...] = ()


@attrs.frozen
class Page(Generic[T]):
    """Some items, and the cursor of the next page (None at the end). Iterable."""

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
    """Return *header* decoded, as far as possible in this process (see `decoded`)."""
    return Execution(
        header.id,
        header.workflow,
        decoded(codec, header.input),
        _status(header),
        decoded(codec, header.result),
        decoded(codec, header.error),
        header.attempt,
        header.created_at,
        header.updated_at,
        header.ended_at,
        header.parent_id,
        _metadata(header),
        header.version,
        _current(header),
        header.queue,
        header.priority,
        None if header.due_at is None else max(header.due_at, header.created_at),
        header.worker,
        header.length,
        header.run,
    )


def _status(header: Header) -> Status:
    try:
        return Status(header.status)
    except ValueError:
        return Status.STUCK


def _metadata(header: Header) -> dict[str, Any]:
    try:
        found = json.loads(header.metadata)
    except (ValueError, TypeError, RecursionError) as error:
        return {UNREADABLE: text_of(error)}
    return found if isinstance(found, dict) else {UNREADABLE: f"{type(found).__name__} instead of an object"}


def _current(header: Header) -> list[dict[str, Any]]:
    """Return the progress of an execution. Between two attempts of the whole workflow it is the pause itself."""
    try:
        reported: list[dict[str, Any]] = json.loads(header.current)
    except (ValueError, TypeError, RecursionError) as error:
        return [{"kind": UNREADABLE, "error": text_of(error)}]
    if not isinstance(reported, list) or not all(isinstance(each, dict) for each in reported):
        return [{"kind": UNREADABLE, "error": "no list of objects"}]
    if not reported and header.status == Status.RETRYING:
        return [{"kind": "attempt", "attempt": header.attempt, "due": header.due_at}]
    return [{key: value for key, value in each.items() if key not in INTERNAL} for each in reported]


def steps_of(audit: tuple[e.Fact | Unreadable, ...]) -> tuple[StepRecord, ...]:
    """Return a record of each step, in the order of their first entries."""
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


def worker_facts(row: WorkerRow) -> dict[str, Any]:
    """Return the registered facts of a worker. `workflows` and `queues` are lists; facts that cannot be read are left out."""
    try:
        found = json.loads(row.info)
    except (ValueError, TypeError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    workflows = found.get("workflows")
    listed = workflows if isinstance(workflows, list) else []
    queues = found.get("queues")
    return {
        **found,
        "workflows": [each for each in listed if isinstance(each, dict) and isinstance(each.get("key"), str)],
        "queues": [str(each) for each in queues] if isinstance(queues, list) else [],
    }
