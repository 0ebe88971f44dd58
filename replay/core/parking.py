"""The place at which an execution was parked, as its progress tells, compared with its code when a session resumes it.

A plain wait leaves no entry in the log, nor does a step that runs. So the log alone cannot show that such a command was replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from replay.core.divergence import parked_elsewhere
from replay.core.interpreter import Interpreter
from replay.core.progress import AFTER, JOIN, SETTLING, STUCK_AT, describe

Report: TypeAlias = list[dict[str, Any]]

_COMPARED = ("kind", "id", "signal", JOIN)


def place_of(current: Any, length: int) -> Report | None:
    """Return the commands at which an execution stood when its log had *length* entries; None if nothing is known.

    Args:
        current: The header's `current`, decoded.
        length: Number of entries in the log now. A report that was made before the last of them says nothing.
    """
    if not isinstance(current, list) or not all(isinstance(each, dict) for each in current):
        return None
    if current and current[0].get("kind") == "stuck":
        return place_of(current[0].get(STUCK_AT), length)
    return current if current and all(each.get(AFTER) == length for each in current) else None


def check_place(interpreter: Interpreter, place: Report, execution_id: str, length: int) -> None:
    """Check that the code, replayed to the end of the log, waits for what the execution was parked at.

    Raises:
        NonDeterminism: It waits for something else, or has ended.
    """
    for reported in place:
        if reported.get(SETTLING):
            continue  # a member that lost: a replay does without its last step
        fiber = interpreter.fibers.get(reported["fiber"])
        blocked = fiber is not None and fiber.wait is not None and interpreter.outcome is None
        if fiber is None or not blocked or not _is_same(reported, describe(fiber)):
            outcome = interpreter.outcome
            ended = None if outcome is None else (outcome.status, outcome.error)
            raise parked_elsewhere(execution_id, length, reported, fiber if blocked else None, interpreter.root, ended)


def _is_same(reported: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    if any(reported.get(key) != found.get(key) for key in _COMPARED):
        return False
    if reported["kind"] != "execution" or "due" not in reported or "due" not in found:
        return True  # a child's start: its id comes from the log
    return reported.get("execution_id") == found.get("execution_id")
