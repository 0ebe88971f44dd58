"""The facts of a log: one frozen type per fact (participles), and their rows as stored.

A row is a JSON array `[kind, at, fiber, id, *fields]`. `at` is seconds since the epoch by the store's clock, `fiber` is 0 for
the workflow itself, `id` is the command's. The log is the audit trail: nothing else is kept.
"""

from __future__ import annotations

from typing import Any, TypeAlias, assert_never, cast

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """Base of all entries."""

    at: float
    fiber: int
    id: str


class AttemptStarted(Entry, frozen=True):
    """A worker began to run the workflow's code (once for each attempt).

    `anew`: log indexes of starts whose child failed or was cancelled, and execution ids of the children in their place.
    """

    worker: str = ""
    attempt: int = 1
    anew: tuple[tuple[int, str], ...] = ()


class StepDone(Entry, frozen=True):
    """A step returned. `seconds` is how long the last attempt took, `digest` a fingerprint of its arguments."""

    result: Any = None
    digest: int | None = None
    attempts: int = 1
    seconds: float = 0.0


class StepFailed(Entry, frozen=True):
    """A step failed for good."""

    error: Any = None
    digest: int | None = None
    attempts: int = 1
    seconds: float = 0.0


class StepRetried(Entry, frozen=True):
    """An attempt of a step failed; the next one is due at `due`. `details`: its last heartbeat."""

    error: Any = None
    attempt: int = 1
    due: float = 0.0
    seconds: float = 0.0
    details: Any = None


class StepBegun(Entry, frozen=True):
    """An at-most-once step is about to run."""


class TimerSet(Entry, frozen=True):
    """A sleep, or the timeout of a wait, ends at `due`."""

    due: float = 0.0


class TimerFired(Entry, frozen=True):
    """A sleep ended."""


class SignalReceived(Entry, frozen=True):
    """A wait took the oldest waiting signal of its name. `again`: the log index of the void receipt that it repeats."""

    signal: str = ""
    payload: Any = None
    again: int = -1


class WaitTimedOut(Entry, frozen=True):
    """A wait's timeout came first."""


class BranchChosen(Entry, frozen=True):
    """A switch chose a branch (its id)."""

    branch: str = ""


class Emitted(Entry, frozen=True):
    """An event was recorded, and is published once after the commit."""

    event: str = ""
    payload: Any = None


class ChildStarted(Entry, frozen=True):
    """A child execution was created in the same commit (`on_parent_close` is its fate at our end).

    Without an id: it was started before the execution continued as new, and is still open.
    """

    execution_id: str = ""
    workflow: str = ""
    on_parent_close: str = "cancel"


class ExecutionEnded(Entry, frozen=True):
    """An execution that was waited for ended; `result` or `error` as its `status` says."""

    execution_id: str = ""
    status: str = ""
    result: Any = None
    error: Any = None


class RaceWon(Entry, frozen=True):
    """A race was decided; the others are cancelled."""

    winner: str = ""


class NoteAdded(Entry, frozen=True):
    """A line of the user's own."""

    text: str = ""
    data: Any = None


class Patched(Entry, frozen=True):
    """`ctx.patched(change_id)` was first answered with True."""


class Refused(Entry, frozen=True):
    """A command could not be carried out (no branch matched, a value cannot be stored, ...); raised at its yield."""

    error: Any = None


class CancelReceived(Entry, frozen=True):
    """`Cancelled` is thrown at the current yield. `cause` is `cancel` or `timeout` (of the execution)."""

    reason: str | None = None
    cause: str = "cancel"


class AttemptFailed(Entry, frozen=True):
    """An attempt of the workflow failed; the next begins at `due` with the entries `voids` (log indexes) void.

    `dissolved`: fibers that the next attempt does without. `cancelled`: children that the failure cancelled.
    `due` is 0 if the next attempt begins at once and is not counted: the failure was an earlier attempt's.
    """

    error: Any = None
    attempt: int = 1
    due: float = 0.0
    voids: tuple[int, ...] = ()
    dissolved: tuple[int, ...] = ()
    cancelled: tuple[str, ...] = ()


class ExecutionClosed(Entry, frozen=True):
    """The execution ended. `voids`: the entries that a retry must void so that the failed command runs again.

    `error`: the error of a clean-up that failed after a cancel. `dissolved` and `cancelled`: as of `AttemptFailed`.
    """

    status: str = ""
    voids: tuple[int, ...] = ()
    error: Any = None
    dissolved: tuple[int, ...] = ()
    cancelled: tuple[str, ...] = ()


# --- written by operators ---------------------------------------------------------------------------


class Retried(Entry, frozen=True):
    """An operator had the execution tried again, with the entries `voids` void.

    `dissolved`: as of `AttemptFailed`. `anew`: as of `AttemptStarted` (a fork takes it along).
    """

    by: str = ""
    why: str = ""
    voids: tuple[int, ...] = ()
    dissolved: tuple[int, ...] = ()
    anew: tuple[tuple[int, str], ...] = ()


class Edited(Entry, frozen=True):
    """An operator replaced the result of the step recorded at log index `index`."""

    by: str = ""
    why: str = ""
    index: int = -1
    result: Any = None


class Intervened(Entry, frozen=True):
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

Amendment: TypeAlias = AttemptStarted | AttemptFailed | ExecutionClosed | Retried | Edited
"""Entries that change what earlier ones say, or name what is to be changed."""

_STORED_KINDS: dict[type[Any], str] = {
    AttemptStarted: "Began", BranchChosen: "Chosen", RaceWon: "Raced", NoteAdded: "Noted", ExecutionClosed: "Ended",
}  # fmt: skip
"""Kinds whose stored name is older than their class's: logs of 0.1 are read, and today's written, with these."""

KINDS: dict[str, type[Any]] = {_STORED_KINDS.get(cls, cls.__name__): cls for cls in Fact.__args__}
"""Each class of entries, by the kind that stands in its rows."""

_KIND_OF = {cls: kind for kind, cls in KINDS.items()}

_FIELDS: dict[type[Any], tuple[str, ...]] = {cls: cls.__struct_fields__ for cls in KINDS.values()}

_TUPLES = frozenset({"voids", "dissolved", "cancelled", "anew"})

_LENGTH_OF_0_1 = {AttemptStarted: 6, AttemptFailed: 8, ExecutionClosed: 7, Retried: 7}
"""Length of the rows of kinds that have more fields since."""

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
        row.append(list(value) if name in _TUPLES else value)
    while len(row) > _LENGTH_OF_0_1.get(type(entry), len(row)) and row[-1] == []:
        row.pop()  # readable by workers of 0.1
    return row


def from_row(row: list[Any]) -> Fact:
    """Return the entry that a decoded row stands for.

    Raises:
        ValueError: It is not a row of this (or an older) version.
    """
    try:
        cls = KINDS[row[0]]
        fields = row[1:]
        if cls in _LENGTH_OF_0_1:
            for at, name in enumerate(_FIELDS[cls][: len(fields)]):
                if name in _TUPLES:
                    fields[at] = tuple(tuple(pair) for pair in fields[at]) if name == "anew" else tuple(fields[at])
        entry: Fact = cls(*fields)
        return entry
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a log entry of this version: {str(row)[:200]}") from error


class Effective(msgspec.Struct, frozen=True):
    """The effect of amendments on a log.

    Attributes:
        changes: Replaced rows by log index; None: the row is void.
        again: Number of voided results of each step, or starts of each child, by the command's id.
        receipts: Void rows of received signals, which are to be received again, by log index.
        ended: Executions whose end was recorded in a void entry, so that it must be requested again.
        dissolved: Numbers of fibers that are given to no fiber.
        cancelled: Children that failed attempts cancelled.
        replaced: Children that others took the place of, with the execution ids of those.
        started_anew: Log indexes of valid starts whose child took the place of another.
        starts: Log indexes of all starts, void ones included, by the child's execution id.
    """

    changes: dict[int, list[Any] | None] = msgspec.field(default_factory=dict)
    again: dict[str, int] = msgspec.field(default_factory=dict)
    receipts: dict[int, list[Any]] = msgspec.field(default_factory=dict)
    ended: frozenset[str] = frozenset()
    dissolved: frozenset[int] = frozenset()
    cancelled: frozenset[str] = frozenset()
    replaced: dict[str, str] = msgspec.field(default_factory=dict)
    started_anew: dict[int, str] = msgspec.field(default_factory=dict)
    starts: dict[str, tuple[int, ...]] = msgspec.field(default_factory=dict)


UNAMENDED = Effective()
"""The effect of no amendments."""


class _Amendments:
    """Applies the amendments of a log, in order."""

    def __init__(self, rows: list[list[Any]]) -> None:
        self._rows = rows
        self.changes: dict[int, list[Any] | None] = {}
        self.again: dict[str, int] = {}
        self.dissolved: set[int] = set()
        self.cancelled: set[str] = set()
        self.children: dict[int, str] = {}
        self.replaced: dict[str, str] = {}

    def apply(self, entry: Amendment) -> None:
        match entry:
            case AttemptFailed() | ExecutionClosed():
                self.cancelled.update(entry.cancelled)
                if isinstance(entry, AttemptFailed):
                    self._void(entry.voids, entry.dissolved)
            case Retried():
                self._void(entry.voids, entry.dissolved)
                self._start_anew(entry.anew)
            case AttemptStarted():
                self._start_anew(entry.anew)
            case Edited(index=index):
                original = self.changes.get(index) or self._rows[index]
                self.changes[index] = ["StepDone", *original[1:4], entry.result, *original[5:]]
            case _:
                assert_never(entry)

    def _void(self, voids: tuple[int, ...], dissolved: tuple[int, ...]) -> None:
        self.dissolved.update(dissolved)
        for index in voids:
            row = self._rows[index]
            if self.changes.get(index, ()) is not None and row[0] in ("StepDone", "ChildStarted"):
                self.again[row[3]] = self.again.get(row[3], 0) + 1
            self.changes[index] = None

    def _start_anew(self, anew: tuple[tuple[int, str], ...]) -> None:
        for index, execution_id in anew:
            row = self._rows[index]
            self.replaced[self.children.get(index, row[4])] = execution_id
            self.children[index] = execution_id
            if self.changes.get(index, ()) is not None:
                self.changes[index] = [*row[:4], execution_id, *row[5:]]


_AMENDING = frozenset(kind for kind, cls in KINDS.items() if cls in Amendment.__args__)


def effective(rows: list[list[Any]]) -> Effective:
    """Return what the amendments in *rows* (the whole log, decoded, in order) make of it."""
    amendments = _Amendments(rows)
    for row in rows:
        if row[0] in _AMENDING:
            amendments.apply(cast("Amendment", from_row(row)))
    changes = amendments.changes
    void = [(index, rows[index]) for index in sorted(changes) if changes[index] is None]
    receipts = {index: row for index, row in void if row[0] == "SignalReceived" and row[6] < 0}
    for index, row in enumerate(rows) if receipts else ():
        if row[0] == "SignalReceived" and row[6] >= 0 and changes.get(index, row) is not None:
            del receipts[row[6]]  # it was received again since
    starts: dict[str, tuple[int, ...]] = {}
    for index, row in enumerate(rows):
        if row[0] == "ChildStarted" and row[3]:
            id = amendments.children.get(index, row[4])
            starts[id] = (*starts.get(id, ()), index)
    return Effective(
        changes,
        amendments.again,
        receipts,
        frozenset(row[4] for _, row in void if row[0] == "ExecutionEnded"),
        frozenset(amendments.dissolved),
        frozenset(amendments.cancelled),
        amendments.replaced,
        {index: id for index, id in amendments.children.items() if changes.get(index) is not None},
        starts,
    )
