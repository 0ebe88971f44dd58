"""What stores share: pure helpers over requests and headers."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from replay.core.errors import ExecutionEnded, Fenced, OperatorRefused, UnknownExecution
from replay.core.requests import PRIORITY_STEP, Create, Deliver, End, Find, Header

TERM_LIMIT = 120
"""Characters of a term of metadata; of longer ones a digest is indexed, so that indexes stay small."""


def new_header(request: Create, now: float) -> Header:
    """Return the header of the execution that *request* makes at the instant *now*."""
    later = request.at is not None and request.at > now
    begin = request.at if later and request.at is not None else now
    return Header(
        request.id, request.workflow, request.version, request.queue, "pending", request.input, now, now,
        parent_id=request.parent_id, metadata=request.metadata, priority=request.priority, retention=request.retention,
        deadline=None if request.timeout is None else begin + request.timeout, length=len(request.entries),
        amendments=request.amendments, due_at=begin if later else now - request.priority * PRIORITY_STEP,
    )  # fmt: skip


def accepted_id(request: Deliver) -> str:
    """Return what a message is remembered by; empty for the cancels that transitions imply, which have no id."""
    if request.kind == "cancel":
        return f"c:{request.message_id}" if request.message_id else ""
    return f"m:{request.message_id}"


def ended_payload(end: End) -> bytes:
    """Return the payload of the `ended` message that tells of *end*."""
    return b'{"status":"%b","result":%b,"error":%b}' % (
        end.status.encode(),
        end.result or b"null",
        end.error or b"null",
    )


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


def not_allowed(id: str, status: str, length: int, statuses: tuple[str, ...], expected: int) -> OperatorRefused:
    """Return the refusal for an amendment that does not fit."""
    if status not in statuses:
        return OperatorRefused(f"execution {id!r} is {status}; this action needs {' or '.join(statuses)}")
    return OperatorRefused(
        f"execution {id!r} moved on meanwhile (log of {length} entries, {expected} expected). Fix: look again, then repeat"
    )


def terms(metadata: bytes) -> tuple[str, ...]:
    """Return what an execution with this metadata is found by: one term for each of its top-level values."""
    if metadata == b"{}":
        return ()
    try:
        values = json.loads(metadata)
    except ValueError:
        return ()
    return tuple(_term(key, value) for key, value in values.items()) if isinstance(values, dict) else ()


def wanted_terms(query: Find) -> tuple[str, ...]:
    """Return the terms that all of what *query* looks for must have."""
    return tuple(_term(key, json.loads(value)) for key, value in query.metadata)


def _term(key: str, value: Any) -> str:
    text = json.dumps({key: value}, sort_keys=True, separators=(",", ":"))
    return text if len(text) <= TERM_LIMIT else hashlib.sha256(text.encode()).hexdigest()


def matches(header: Header, query: Find) -> bool:
    """Tell whether *header* fulfils all filters of *query* (its cursor aside)."""
    return (
        (not query.statuses or header.status in query.statuses)
        and (query.workflow is None or header.workflow == query.workflow)
        and (query.parent_id is None or header.parent_id == query.parent_id)
        and (query.id_prefix is None or header.id.startswith(query.id_prefix))
        and (query.created_after is None or header.created_at > query.created_after)
        and (query.created_before is None or header.created_at < query.created_before)
        and (query.updated_after is None or header.updated_at > query.updated_after)
        and (query.updated_before is None or header.updated_at < query.updated_before)
        and (
            query.due_before is None
            or (header.due_at is not None and header.ended_at is None and header.due_at < query.due_before)
        )
        and (not query.metadata or set(wanted_terms(query)) <= set(terms(header.metadata)))
    )


def make_cursor(created_at: float, id: str) -> str:
    """Return the cursor that continues after this execution."""
    return base64.urlsafe_b64encode(json.dumps([created_at, id]).encode()).decode()


def read_cursor(cursor: str) -> tuple[float, str]:
    """Return what `make_cursor` was given.

    Raises:
        ValueError: It is not a cursor.
    """
    try:
        created_at, id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return float(created_at), str(id)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{cursor[:60]!r} is not a cursor of an earlier page") from error
