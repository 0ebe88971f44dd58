"""Helpers that stores share: terms of metadata, filters, cursors; and names of the core that the Redis store reads here."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from replay.core.refusals import fenced, has_ended, not_allowed, unknown
from replay.core.requests import Find, Header
from replay.core.transitions import accepted_id
from replay.core.transitions import create as new_header

__all__ = [
    "accepted_id", "fenced", "has_ended", "make_cursor", "matches", "new_header", "not_allowed", "read_cursor", "terms",
    "unknown", "wanted_terms",
]  # fmt: skip

TERM_LIMIT = 120
"""Characters of a term of metadata; of longer ones a digest is indexed, so that indexes stay small."""


def terms(metadata: bytes) -> tuple[str, ...]:
    """Return the terms that an execution with this metadata is found by: one for each of its top-level values."""
    if metadata == b"{}":
        return ()
    try:
        values = json.loads(metadata)
    except (ValueError, TypeError, RecursionError):
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
