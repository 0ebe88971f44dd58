"""Refusals of a store's requests, the same in all stores."""

from __future__ import annotations

from replay.core.errors import ExecutionEnded, Fenced, OperatorRefused, UnknownExecution


def unknown(id: str) -> UnknownExecution:
    """Return the refusal for an id that no execution has."""
    return UnknownExecution(
        f"no execution {id!r} in this namespace. Fix: check the id, the store's URL and the namespace; "
        f"ended executions are removed after their retention"
    )


def has_ended(id: str, status: str) -> ExecutionEnded:
    """Return the refusal for an execution that takes no more messages."""
    return ExecutionEnded(f"execution {id!r} has already ended ({status}); it takes no signals or changes any more")


def fenced(id: str, why: str) -> Fenced:
    """Return the refusal for a session that lost its lease."""
    return Fenced(f"execution {id!r}: {why}; another session goes on from the log")


def not_ended(id: str, status: str) -> OperatorRefused:
    """Return the refusal to delete an execution that has not ended."""
    return OperatorRefused(f"execution {id!r} is {status}; only ended executions are deleted. Fix: cancel it first")


def not_allowed(id: str, status: str, length: int, statuses: tuple[str, ...], expected: int) -> OperatorRefused:
    """Return the refusal for an amendment that does not fit."""
    if status not in statuses:
        return OperatorRefused(f"execution {id!r} is {status}; this action needs {' or '.join(statuses)}")
    return OperatorRefused(
        f"execution {id!r} moved on meanwhile (log of {length} entries, {expected} expected). Fix: look again, then repeat"
    )
