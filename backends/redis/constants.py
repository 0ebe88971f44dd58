"""Constants that Python and the Lua scripts share: the loader writes them into the scripts."""

from __future__ import annotations

from collections.abc import Mapping

from replay.core import requests as r

CREATE_FIELDS = (
    "id", "workflow", "version", "queue", "input", "at", "timeout", "parent", "foreign", "metadata", "terms", "priority",
    "retention", "amendments", "n_entries",
)  # fmt: skip
"""The values in front of the entries in a block that `lib/create.lua` reads. Outbox items hold blocks: never reorder."""

Constant = float | frozenset[str]
"""A number, or a set of words."""

CONSTANTS: Mapping[str, Constant] = {
    # Rules of every store.
    "ENDED": r.ENDED,
    "PRIORITY_STEP": r.PRIORITY_STEP,
    "MAX_LOST": r.MAX_LOST,
    "CRASH_LOOP_DELAY": r.CRASH_LOOP_DELAY,
    "ACCEPTED_LIMIT": r.ACCEPTED_LIMIT,
    # Seconds after its end for which an execution remembers the ids of its messages.
    "ACCEPTED_FOR": 3600,
    # Number of values in front of a block's entries.
    "CREATE_SIZE": len(CREATE_FIELDS),
    # Ticks in a second. A commit moves an execution in the index `u` only in a new tick.
    "TICKS": 10,
    # Part of a lease that must be left. A commit renews the lease only when less is left.
    "LEASE_LEFT": 0.75,
    # Seconds until other processes see an outbox item, and until they see it again after a claim.
    "OUTBOX_DELAY": 5,
    "OUTBOX_RETRY": 10,
    # Outbox items, stuck executions of each workflow, and timers that one claim handles.
    "OUTBOX_LIMIT": 32,
    "REVIVE_LIMIT": 1000,
    "MOVE_LIMIT": 1000,
    # Schedules that one claim returns (see `requests.Claims`).
    "SCHEDULE_LIMIT": 16,
    # Seconds for which the record of a claim is kept at least.
    "RECORD_FOR": 60,
    # Expired workers that one registration removes.
    "EXPIRE_LIMIT": 100,
    # Executions that one call of `find` checks, and the most candidates that an index may lead to.
    "SCAN": 512,
    "FEW": 5000,
}
"""Constants by name. A set becomes a table whose keys are the members."""
