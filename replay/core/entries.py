"""The facts of a log: one frozen type per fact (participles), and their rows as stored.

A row is a JSON array `[kind, at, fiber, id, *fields]`. `at` is seconds since the epoch by the store's clock, `fiber` is 0 for
the workflow itself, `id` is the command's. The log is the audit trail: nothing else is kept.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs


@attrs.frozen
class Entry:
    """Base of all entries."""

    at: float
    fiber: int
    id: str


@attrs.frozen
class AttemptStarted(Entry):
    """A worker began to run the workflow's code (once for each attempt)."""

    worker: str = ""
    attempt: int = 1


@attrs.frozen
class StepDone(Entry):
    """A step returned. `seconds` is how long the last attempt took, `digest` a fingerprint of its arguments."""

    result: Any = None
    digest: int | None = None
    attempts: int = 1
    seconds: float = 0.0


@attrs.frozen
class StepFailed(Entry):
    """A step failed for good."""

    error: Any = None
    digest: int | None = None
    attempts: int = 1
    seconds: float = 0.0


@attrs.frozen
class StepRetried(Entry):
    """An attempt of a step failed; the next one is due at `due`. `details`: its last heartbeat."""

    error: Any = None
    attempt: int = 1
    due: float = 0.0
    seconds: float = 0.0
    details: Any = None


@attrs.frozen
class StepBegun(Entry):
    """An at-most-once step is about to run."""


@attrs.frozen
class TimerSet(Entry):
    """A sleep, or the timeout of a wait, ends at `due`."""

    due: float = 0.0


@attrs.frozen
class TimerFired(Entry):
    """A sleep ended."""


@attrs.frozen
class SignalReceived(Entry):
    """A wait took the oldest waiting signal of its name. `again`: the log index of the void receipt that it repeats."""

    signal: str = ""
    payload: Any = None
    again: int = -1


@attrs.frozen
class WaitTimedOut(Entry):
    """A wait's timeout came first."""


@attrs.frozen
class BranchChosen(Entry):
    """A switch chose a branch (its id)."""

    branch: str = ""


@attrs.frozen
class Emitted(Entry):
    """An event was recorded, and is published once after the commit."""

    event: str = ""
    payload: Any = None


@attrs.frozen
class ChildStarted(Entry):
    """A child execution was created in the same commit (`on_parent_close` is its fate at our end).

    Without an id: it was started before the execution continued as new, and is still open.
    """

    execution_id: str = ""
    workflow: str = ""
    on_parent_close: str = "cancel"


@attrs.frozen
class ExecutionEnded(Entry):
    """An execution that was waited for ended; `result` or `error` as its `status` says."""

    execution_id: str = ""
    status: str = ""
    result: Any = None
    error: Any = None


@attrs.frozen
class RaceWon(Entry):
    """A race was decided; the others are cancelled."""

    winner: str = ""


@attrs.frozen
class NoteAdded(Entry):
    """A line of the user's own."""

    text: str = ""
    data: Any = None


@attrs.frozen
class Patched(Entry):
    """`ctx.patched(change_id)` was first answered with True."""


@attrs.frozen
class Refused(Entry):
    """A command could not be carried out (no branch matched, a value cannot be stored, ...); raised at its yield."""

    error: Any = None


@attrs.frozen
class CancelReceived(Entry):
    """`Cancelled` is thrown at the current yield. `cause` is `cancel` or `timeout` (of the execution)."""

    reason: str | None = None
    cause: str = "cancel"


@attrs.frozen
class AttemptFailed(Entry):
    """An attempt of the workflow failed; the next begins at `due` with the entries `voids` (log indexes) void."""

    error: Any = None
    attempt: int = 1
    due: float = 0.0
    voids: tuple[int, ...] = ()


@attrs.frozen
class ExecutionClosed(Entry):
    """The execution ended. `voids`: the entries that a retry must void so that the failed command runs again.

    `error`: the error of a clean-up that failed after a cancel.
    """

    status: str = ""
    voids: tuple[int, ...] = ()
    error: Any = None


# --- written by operators ---------------------------------------------------------------------------


@attrs.frozen
class Retried(Entry):
    """An operator had the execution tried again, with the entries `voids` void."""

    by: str = ""
    why: str = ""
    voids: tuple[int, ...] = ()


@attrs.frozen
class Edited(Entry):
    """An operator replaced the result of the step recorded at log index `index`."""

    by: str = ""
    why: str = ""
    index: int = -1
    result: Any = None


@attrs.frozen
class Intervened(Entry):
    """An operator acted on the execution as a whole (`force_fail`, `fork`, ...)."""

    by: str = ""
    why: str = ""
    action: str = ""
    data: Any = None


Fact: TypeAlias = (
    AttemptStarted | StepDone | StepFailed | StepRetried | StepBegun | TimerSet | TimerFired | SignalReceived | WaitTimedOut | BranchChosen
    | Emitted | ChildStarted | ExecutionEnded | RaceWon | NoteAdded | Patched | Refused | CancelReceived | AttemptFailed | ExecutionClosed
    | Retried | Edited | Intervened
)  # fmt: skip
"""The closed union of entries: every `match` over it ends in `assert_never`."""

_STORED_KINDS: dict[type[Any], str] = {
    AttemptStarted: "Began", BranchChosen: "Chosen", RaceWon: "Raced", NoteAdded: "Noted", ExecutionClosed: "Ended",
}  # fmt: skip
"""Kinds whose stored name is older than their class's: logs of 0.1 are read, and today's written, with these."""

KINDS: dict[str, type[Any]] = {_STORED_KINDS.get(cls, cls.__name__): cls for cls in Fact.__args__}
"""Each class of entries, by the kind that stands in its rows."""

_KIND_OF = {cls: kind for kind, cls in KINDS.items()}

_FIELDS = {cls: tuple(f.name for f in attrs.fields(cls)) for cls in KINDS.values()}

OUTSIDE_FIBERS = (AttemptStarted, AttemptFailed, ExecutionClosed, Retried, Edited, Intervened)
"""Entries about the execution as a whole: replaying them resumes no fiber."""


def kind_of(entry: Entry) -> str:
    """Return the kind of *entry* as its row has it."""
    return _KIND_OF.get(type(entry), type(entry).__name__)


def to_row(entry: Entry) -> list[Any]:
    """Return *entry* as the row to store (values not yet encoded)."""
    row: list[Any] = [_KIND_OF[type(entry)]]
    for name in _FIELDS[type(entry)]:
        value = getattr(entry, name)
        row.append(list(value) if name == "voids" else value)
    return row


def from_row(row: list[Any]) -> Fact:
    """Return the entry that a decoded row stands for.

    Raises:
        ValueError: It is not a row of this (or an older) version.
    """
    try:
        cls = KINDS[row[0]]
        fields = row[1:]
        if cls is ExecutionClosed or cls is AttemptFailed or cls is Retried:
            at = _FIELDS[cls].index("voids")
            fields[at] = tuple(fields[at])
        entry: Fact = cls(*fields)
        return entry
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a log entry of this version: {str(row)[:200]}") from error


@attrs.frozen
class Effective:
    """The effect of amendments on a log.

    Attributes:
        changes: Replaced rows by log index; None: the row is void.
        again: Number of voided results of each step, or starts of each child, by the command's id.
        receipts: Void rows of received signals, which are to be received again, by log index.
        ended: Executions whose end was recorded in a void entry, so that it must be requested again.
    """

    changes: dict[int, list[Any] | None] = attrs.Factory(dict)
    again: dict[str, int] = attrs.Factory(dict)
    receipts: dict[int, list[Any]] = attrs.Factory(dict)
    ended: frozenset[str] = frozenset()


def effective(rows: list[list[Any]]) -> Effective:
    """Return the effect of the amendments in *rows* (the whole log, decoded, in order)."""
    changes: dict[int, list[Any] | None] = {}
    again: dict[str, int] = {}
    for row in rows:
        match row[0]:
            case "AttemptFailed" | "Retried":
                for index in row[-1]:
                    if changes.get(index, ()) is not None and rows[index][0] in ("StepDone", "ChildStarted"):
                        again[rows[index][3]] = again.get(rows[index][3], 0) + 1
                    changes[index] = None
            case "Edited":
                original = changes.get(row[6]) or rows[row[6]]
                changes[row[6]] = ["StepDone", *original[1:4], row[7], *original[5:]]
            case _:
                pass
    void = [(index, rows[index]) for index in sorted(changes) if changes[index] is None]
    receipts = {index: row for index, row in void if row[0] == "SignalReceived" and row[6] < 0}
    for index, row in enumerate(rows) if receipts else ():
        if row[0] == "SignalReceived" and row[6] >= 0 and changes.get(index, row) is not None:
            del receipts[row[6]]  # it was received again since
    return Effective(changes, again, receipts, frozenset(row[4] for _, row in void if row[0] == "ExecutionEnded"))
