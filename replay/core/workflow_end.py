"""The end of a workflow's code: its value or error, and the status that follows from it."""

from __future__ import annotations

from typing import Any

import attrs

from replay.core.commands import ContinueAsNew
from replay.core.entries import CancelReceived
from replay.core.errors import Cancelled, WorkflowExit


@attrs.frozen
class Outcome:
    """The result of a workflow's code: a `value`, an `error`, or `again` (continue as new with its input).

    Attributes:
        status: The execution's status, or `again`.
        raised: Error of the code's clean-up after a cancel, which the status does not show.
    """

    status: str
    value: Any = None
    error: BaseException | None = None
    again: ContinueAsNew[Any] | None = None
    raised: BaseException | None = None


def outcome_of(value: Any, error: BaseException | None, cancelled: CancelReceived | None) -> Outcome:
    """Return the outcome of code that returned *value* or raised *error*, in an execution that was perhaps *cancelled*."""
    if cancelled is not None:
        return _outcome_of_cancelled(value, error, cancelled)
    if isinstance(value, ContinueAsNew):
        return Outcome("again", again=value)
    if error is not None and not isinstance(error, Exception):
        error = WorkflowExit.of(error)
    if error is not None:
        return Outcome("failed", error=error)
    return Outcome("completed", value)


def _outcome_of_cancelled(value: Any, error: BaseException | None, cancelled: CancelReceived) -> Outcome:
    raised = None if isinstance(error, Cancelled) else error
    if cancelled.cause == "timeout":
        return Outcome("failed", error=TimeoutError(cancelled.reason), raised=raised)
    return Outcome("cancelled", value, Cancelled(cancelled.reason), raised=raised)
