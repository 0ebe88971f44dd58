"""Amendments of logs: decides from a log's rows alone what an operator's action voids, keeps or refuses.

Rows are plain JSON (`log_rows.skeleton`), so that no user class is needed. Rows that an action does not touch keep their bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from replay.core import entries as e
from replay.core.errors import OperatorRefused

Rows = Sequence[list[Any]]

_OUTSIDE = frozenset(cls.__name__ for cls in e.OUTSIDE_FIBERS)
_ANSWERS = frozenset({"StepDone", "StepFailed", "Refused"})
_AMENDS = frozenset({"AttemptFailed", "Retried", "Edited"})


def live(rows: Rows) -> dict[int, list[Any]]:
    """Return the rows that are not void, by index, with edits applied."""
    changes = e.effective(list(rows)).changes
    changed = {index: changes.get(index, row) for index, row in enumerate(rows)}
    return {index: row for index, row in changed.items() if row is not None}


def retry_voids(rows: Rows) -> tuple[int, ...]:
    """Return the indexes that a retry voids: those named by the end, the end itself, and a timeout with its consequences."""
    end = next((i for i in reversed(range(len(rows))) if rows[i][0] == "Ended"), None)
    if end is None:
        return ()
    found = {*rows[end][5], end}
    valid = live(rows)
    timeout = next((i for i, row in valid.items() if row[0] == "CancelReceived" and row[5] == "timeout"), None)
    if timeout is not None:
        found.update(range(min([timeout, *undone(valid, timeout).values()]), end))
    return tuple(sorted(found))


def dissolved(rows: Rows) -> tuple[int, ...]:
    """Return the fibers that a retry dissolves: those named by the end."""
    end = next((row for row in reversed(rows) if row[0] == "Ended"), [])
    return tuple(end[7]) if len(end) > 7 else ()


def undone(valid: dict[int, list[Any]], begin: int) -> dict[str, int]:
    """Return the steps done before index *begin* and rolled back after it, with the indexes of their results."""
    ids = {
        row[3].removeprefix("rollback:")
        for i, row in valid.items()
        if i >= begin and row[0] == "StepDone" and row[3].startswith("rollback:")
    }
    return {row[3]: i for i, row in valid.items() if i < begin and row[0] == "StepDone" and row[3] in ids}


def restarted(rows: Rows, voids: Sequence[int]) -> dict[str, int]:
    """Return the children that a retry with *voids* would start again although only they failed: index by execution id.

    A child's start cannot be kept if an earlier entry is void, too: the workflow may not reach it again.
    """
    starts = {index for index in voids if rows[index][0] == "ChildStarted"}
    first_other = min((i for i in voids if i not in starts and rows[i][0] not in _OUTSIDE), default=len(rows))
    return {rows[index][4]: index for index in starts if index < first_other}


def awaited(rows: Rows, voids: Sequence[int] = ()) -> tuple[str, ...]:
    """Return the children with a valid start and no valid end, whose end must be notified (again)."""
    gone = set(voids)
    valid = [row for index, row in live(rows).items() if index not in gone]
    ended = {row[4] for row in valid if row[0] == "ExecutionEnded"}
    return tuple(row[4] for row in valid if row[0] == "ChildStarted" and row[4] not in ended)


def fiber_running(id: str, step_id: str, rows: Rows, current: list[dict[str, Any]]) -> int:
    """Return the fiber that runs a step now.

    *current* is the progress that the worker reported last. The log overrides it.

    Raises:
        OperatorRefused: The step is not running.
    """
    valid = [row for row in live(rows).values() if row[0] not in _OUTSIDE]
    if any(row[3] == step_id and row[0] in _ANSWERS for row in valid):
        raise OperatorRefused(f"step {step_id!r} of execution {id!r} has been answered already (see `replay show`)")
    last = valid[-1] if valid else None
    if last is not None and last[3] == step_id and last[0] in ("StepRetried", "StepBegun"):
        return int(last[2])
    for wait in current:
        if wait.get("id") == step_id and wait.get("kind") == "step":
            return int(wait["fiber"])
    raise OperatorRefused(f"execution {id!r} does not wait for step {step_id!r} now (see `replay show`)")


def fiber_of_failure(id: str, step_id: str, rows: Rows, voids: Sequence[int]) -> int:
    """Return the fiber in which a step failed and ended the execution.

    Raises:
        OperatorRefused: It ended for another reason, or an earlier step was rolled back.
    """
    valid = live(rows)
    failed = next((i for i in reversed(valid) if valid[i][0] == "StepFailed"), None)
    if failed is None or valid[failed][3] != step_id:
        found = "no step" if failed is None else f"step {valid[failed][3]!r}"
        raise OperatorRefused(f"execution {id!r} failed with {found}, not with step {step_id!r}")
    again = next((rows[i][3] for i in voids if i < failed and rows[i][0] == "StepDone"), None)
    if again is not None:
        raise OperatorRefused(
            f"step {again!r} of execution {id!r} was rolled back and must run again before step {step_id!r}. Fix: retry it"
        )
    return int(valid[failed][2])


def editable(id: str, step_id: str, rows: Rows, *, force: bool) -> int:
    """Return the index of a step's recorded result.

    Raises:
        OperatorRefused: There is no result, or later entries may have used it (unless *force*).
    """
    valid = live(rows)
    index = next((i for i in reversed(valid) if valid[i][0] == "StepDone" and valid[i][3] == step_id), None)
    if index is None:
        raise OperatorRefused(f"execution {id!r} has no result of a step {step_id!r}")
    later = [row for i, row in valid.items() if i > index and row[0] not in _OUTSIDE and row[0] != "TimerSet"]
    if later and not force:
        raise OperatorRefused(
            f"{len(later)} later entries may have used the result of step {step_id!r} (first: {later[0][0]} {later[0][3]!r}). "
            f"Fix: fork before the step, or force=True if the workflow goes the same way with the new result"
        )
    return int(index)


@attrs.frozen
class Prefix:
    """The part of a log that a fork takes: the first `cut` rows, then the rows `edits`, with `voids` void.

    `rows` is all of these rows; `amendments` is the number of them that amend others.
    `dissolved` and `anew`: what later entries say of fibers and of children.
    """

    cut: int
    edits: tuple[int, ...]
    voids: tuple[int, ...]
    rows: Rows
    dissolved: tuple[int, ...] = ()
    anew: tuple[tuple[int, str], ...] = ()

    @property
    def amends(self) -> bool:
        """The fork needs an amendment of its own."""
        return bool(self.voids or self.dissolved or self.anew)

    @property
    def amendments(self) -> int:
        """The number of rows that amend others."""
        amending = [row for row in self.rows if row[0] in _AMENDS or (row[0] == "Began" and len(row) > 6)]
        return len(amending) + self.amends


def fork_prefix(id: str, rows: Rows, before: str | None) -> Prefix:
    """Return the valid part of a log up to step *before* (None: up to the end or the cancel).

    It ends before the first step that was rolled back later: an undone step must not count as done.

    Raises:
        OperatorRefused: There is no entry of that step.
    """
    valid = live(rows)
    cut = _end(rows, valid) if before is None else _begin_of(id, before, rows, valid)
    cut = min([cut, *undone(valid, cut).values()])
    counts = live(rows[:cut])
    voids = tuple(index for index in counts if index not in valid)
    edits = tuple(
        index
        for index in range(cut, len(rows))
        if rows[index][0] == "Edited" and rows[index][6] < cut and rows[index][6] in valid
    )
    later = e.effective(list(rows))
    known = e.effective(list(rows[:cut]))
    anew = {i: id for i, id in later.started_anew.items() if i < cut and known.started_anew.get(i) != id}
    return Prefix(
        cut,
        edits,
        voids,
        [*rows[:cut], *(rows[index] for index in edits)],
        tuple(sorted(later.dissolved - known.dissolved)),
        tuple(anew.items()),
    )


def _end(rows: Rows, valid: dict[int, list[Any]]) -> int:
    for index, row in valid.items():
        if row[0] == "CancelReceived":
            return index
    return next((i for i in reversed(range(len(rows))) if rows[i][0] != "Ended"), -1) + 1


def _begin_of(id: str, step_id: str, rows: Rows, valid: dict[int, list[Any]]) -> int:
    """Return the index of a step's first valid entry; if all are void, of its first entry."""
    found = [i for i, row in enumerate(rows) if row[3] == step_id and row[0] not in _OUTSIDE]
    if not found:
        raise OperatorRefused(f"execution {id!r} has no entry of {step_id!r} (see `replay show`)")
    return next((i for i in found if i in valid), found[0])
