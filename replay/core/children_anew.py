"""Children of a retried workflow: a child that failed, or that the failure cancelled, is started anew in its place.

The next attempt decides this when it begins, by the store's word. A child that was repaired meanwhile keeps its result.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from replay.core.effects import Effect
from replay.core.entries import Effective
from replay.core.ids import is_keyed, replacing_id
from replay.core.interpreter import Interpreter
from replay.core.requests import ENDED, Get, Header

FAILED = ENDED - {"completed"}
"""Statuses of executions that ended without a result."""

Anew = tuple[tuple[int, str], ...]
"""Log indexes of starts, with the execution ids of the children in the place of those that were started."""


def children_to_start_anew(
    parent: Header, interpreter: Interpreter, amended: Effective
) -> Generator[Effect, Any, Anew]:
    """Return the starts that the attempt which begins must repeat.

    Candidates are open children that no valid decision of the log cancelled, and void starts with an idempotency key.
    """
    dismissed = interpreter.dismissed
    anew = []
    for execution_id, indexes in amended.starts.items():
        is_open = execution_id in interpreter.children and execution_id not in dismissed
        if execution_id in amended.replaced or not (is_open or _is_void_and_keyed(execution_id, indexes, amended)):
            continue
        child: Header | None = yield Get(execution_id)
        if child is not None and _ended_badly(child, parent, amended):
            instead = replacing_id(parent.id, parent.run, execution_id)
            anew += [(index, instead) for index in indexes]
    return tuple(sorted(anew))


def _is_void_and_keyed(execution_id: str, indexes: tuple[int, ...], amended: Effective) -> bool:
    """Tell whether a start with the same idempotency key may come again."""
    keyed = is_keyed(execution_id) or execution_id in amended.replaced.values()
    return keyed and all(amended.changes.get(index, ()) is None for index in indexes)


def _ended_badly(child: Header, parent: Header, amended: Effective) -> bool:
    """Tell whether the parent must not wait for *child*.

    A child of somebody else with an idempotency key is never replaced: there is one execution for a key.
    """
    ours = child.parent_id == parent.id
    if not ours and is_keyed(child.id):
        return False
    return child.status in FAILED or (ours and child.id in amended.cancelled and child.status not in ENDED)
