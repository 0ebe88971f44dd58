"""Ticks of due schedules. The id of a tick's execution holds the planned instant, so no tick runs twice.

A tick is one `PutSchedule`: its executions and the next instant are one transition, guarded by the row's version.
Any number of workers may find the same schedule due; one of them advances it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from replay.core import requests as r
from replay.scheduling.spec import Spec, dump_state, spec_of, state_of, unknown_overlap

if TYPE_CHECKING:
    from replay.client.port import ClientPort

BUFFER_POLL = (1.0, 60.0)
"""Shortest and longest seconds between checks whether a buffered tick may start.

In between it is a tenth of the time waited, so that a long wait costs few writes and is prolonged by little."""
KEPT_RUNS = 10
"""Number of past runs that a schedule remembers. Those that still run count for its `overlap`."""
LONGEST_ID = 200 - len("~2026-01-31T08:00:00.000001Z")
"""Characters of a schedule's id: with a tick's instant appended, it must still be a valid execution id."""


def tick(engine: ClientPort, row: r.Schedule, now: float) -> Sequence[r.Request[Any]]:
    """Return the request that advances a due schedule.

    Raises:
        ScheduleError: This process cannot read its specification or state.
        StoreUnavailable: The store cannot be reached.
    """
    spec, state = spec_of(row), state_of(row)
    decision = spec.decide(row.id, state["decided"], now)
    buffered = state.get("buffered")
    due = [*([buffered] if buffered is not None else []), *decision.fire]
    fire, keep, cancels, skipped = _overlapping(engine, spec, state, due)
    started = [[at, tick_id(row.id, at)] for at in reversed(fire)]
    state |= {
        "decided": decision.decided,
        "runs": [*started, *state.get("runs", [])][:KEPT_RUNS],
        "skipped": state.get("skipped", 0) + decision.skipped + skipped,
        "buffered": keep,
    }
    new = msgspec.structs.replace(row, state=dump_state(state), next_at=next_check(decision.next_at, keep, now))
    creates = tuple(create_of(engine, row, spec, tick_id(row.id, at), at) for at in fire)
    return [r.PutSchedule(new, row.version, creates, cancels)]


def next_check(next_tick: float | None, buffered: float | None, now: float) -> float | None:
    """Return the instant of the next check of a schedule: its next tick, or earlier for a *buffered* tick."""
    if buffered is None:
        return next_tick
    least, most = BUFFER_POLL
    again = now + min(most, max(least, (now - buffered) / 10))
    return again if next_tick is None else min(next_tick, again)


def _overlapping(
    engine: ClientPort, spec: Spec, state: dict[str, Any], due: list[float]
) -> tuple[list[float], float | None, tuple[str, ...], int]:
    """Return the *due* ticks to fire, the tick to buffer, the executions to cancel, and the number of skipped ticks."""
    if not due or spec.overlap == "allow":
        return due, None, (), 0
    running = _running(engine, state)
    match spec.overlap:
        case "skip":
            return ([], None, (), len(due)) if running else (due[:1], None, (), len(due) - 1)
        case "buffer_one":
            if running:
                return [], due[0], (), len(due) - 1
            return due[:1], due[1] if len(due) > 1 else None, (), max(0, len(due) - 2)
        case "cancel_previous":
            return due[-1:], None, running, len(due) - 1
        case unknown:
            raise unknown_overlap(unknown)


def _running(engine: ClientPort, state: dict[str, Any]) -> tuple[str, ...]:
    """Return the ids of the last executions that still run, triggered ones included."""
    ids = [id for _, id in state.get("runs", ())]
    headers = engine.store.apply([r.Get(id) for id in ids]) if ids else []
    return tuple(header.id for header in headers if isinstance(header, r.Header) and header.ended_at is None)


def tick_id(schedule_id: str, planned: float) -> str:
    """Return the id of a tick's execution."""
    return f"{schedule_id}~{dt.datetime.fromtimestamp(planned, dt.UTC).strftime('%Y-%m-%dT%H:%M:%S.%fZ').replace('.000000', '')}"


def create_of(engine: ClientPort, row: r.Schedule, spec: Spec, id: str, planned: float | None) -> r.Create:
    """Return the request that creates an execution of a schedule (*planned* None: triggered by hand)."""
    definition = engine.definition(row.workflow, spec.version)
    own = {} if definition is None else definition.metadata
    return r.Create(
        id,
        row.workflow,
        spec.input.encode(),
        spec.version,
        spec.queue,
        timeout=spec.timeout,
        metadata=json.dumps({**own, "schedule": row.id, "planned": planned}).encode(),
        priority=spec.priority,
        retention=spec.retention if spec.retention is not None else engine.retention,
    )
