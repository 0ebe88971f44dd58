"""Schedules: make, change, show and remove them. `replay.scheduling.ticks` fires them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from replay.client.handles import Handle
from replay.codec.log_rows import decoded
from replay.core import requests as r
from replay.core.errors import ScheduleError, UnknownSchedule, text_of
from replay.core.ids import check_id
from replay.observability.audit import audit
from replay.scheduling.spec import (
    DAY,
    OVERLAPS,
    CatchUp,
    Overlap,
    Spec,
    dump,
    dump_state,
    spec_of,
    specified,
    state_of,
    unknown_overlap,
    unreadable,
)
from replay.scheduling.ticks import KEPT_RUNS, LONGEST_ID, create_of, next_check

if TYPE_CHECKING:
    from replay.client.port import ClientPort
    from replay.definition import Workflow

__all__ = ["CatchUp", "Overlap", "ScheduleRecord", "Schedules"]


@attrs.frozen
class ScheduleRecord:
    """A decoded schedule for callers. Instants are seconds since the epoch, UTC.

    Attributes:
        next_at: Due time of the next tick; None while it is paused and after its end.
        last_at: Planned instant of the newest of `runs`.
        runs: The last executions that it started, newest first, as `(planned instant, execution id)`. The instant of a
            triggered execution is that of the trigger.
        next_fires: The next five planned instants (none while it is paused).
        skipped: Number of skipped ticks (missed, or because of `overlap`).
        problem: Reason why this process cannot fire it (an unknown zone, a newer version's rule); None if it can.
        catch_up_window: Seconds, like `jitter` and `timeout`.
        until: Last instant of the schedule.
    """

    id: str
    workflow: str
    input: Any
    cron: str | None
    interval: float | None
    timezone: str
    paused: bool
    next_at: float | None
    last_at: float | None
    overlap: str
    catch_up: str
    runs: tuple[tuple[float, str], ...] = ()
    next_fires: tuple[float, ...] = ()
    skipped: int = 0
    catch_up_limit: int = 100
    problem: str | None = None
    catch_up_window: float = DAY
    jitter: float = 0.0
    until: float | None = None
    timeout: float | None = None


class Schedules:
    """The schedules of a client's namespace."""

    def __init__(self, engine: ClientPort) -> None:
        self._engine = engine

    def ensure(self, workflow: Workflow[Any, Any] | str, input: Any, id: str, **options: Any) -> ScheduleRecord:
        """Create or update a schedule. Without a difference nothing changes, and its next tick does not move."""
        check_id(id, "schedule id")
        if "~" in id:
            raise ScheduleError(f"schedule id {id!r} must not contain '~', which separates it from its ticks")
        if len(id) > LONGEST_ID:
            raise ScheduleError(
                f"schedule id {id!r} has {len(id)} characters; its executions' ids, which add an instant, leave room for "
                f"{LONGEST_ID}. Fix: choose a shorter one"
            )
        definition = self._engine.workflow(workflow)
        base = Spec(
            self._engine.encode(definition.input_value(input), "the schedule's input").decode(),
            version=definition.version,
            queue=definition.queue,
            timeout=definition.timeout,
            retention=definition.retention,
            priority=definition.priority,
        )
        given = {name: value for name, value in options.items() if value is not None}
        while True:
            stored = self._engine.ask(r.GetSchedule(id))
            if stored is not None and stored.workflow != definition.key:
                raise ScheduleError(
                    f"schedule {id!r} belongs to workflow {stored.workflow!r} and cannot be bound to {definition.key!r}. "
                    f"Fix: remove it first, or choose another id"
                )
            now = self._engine.ask(r.Ping())
            spec = specified(base, given, now)
            if stored is None:
                first = spec.decide(id, now, now).next_at
                row = r.Schedule(id, definition.key, dump(spec), dump_state({"decided": now}), first)
            else:
                old = spec_of(stored)
                if spec.interval == old.interval and spec.interval is not None:
                    spec = attrs.evolve(spec, anchor=old.anchor)  # intervals stay on their grid
                if spec == old:
                    return self._record(stored)
                row = _respecified(stored, old, spec, now)
            put = self._put("ensure", row, 0 if stored is None else stored.version, spec.queue)
            if put is not None:
                return put

    def get(self, id: str) -> ScheduleRecord:
        """Return one schedule."""
        return self._record(self._row(id))

    def list(self) -> tuple[ScheduleRecord, ...]:
        """Return all schedules, in order of id."""
        found: list[r.Schedule] = []
        while True:
            page = self._engine.ask(r.ListSchedules(found[-1].id if found else "", 500))
            found.extend(page)
            if len(page) < 500:
                return tuple(self._record(row) for row in found)

    def pause(self, id: str, *, paused: bool) -> ScheduleRecord:
        """Pause a schedule, or resume it from now on. Ticks during the pause are not fired."""

        def change(row: r.Schedule, now: float) -> r.Schedule:
            if row.paused == paused:
                return row
            if paused:
                return msgspec.structs.replace(row, paused=True)
            return msgspec.structs.replace(_from_now_on(row, spec_of(row), now), paused=False)

        return self._change(id, "pause" if paused else "resume", change)

    def update(self, id: str, **options: Any) -> ScheduleRecord:
        """Change some options. The next tick moves only if the times change. Needs no workflow code."""
        if "workflow" in options:
            raise ScheduleError(f"schedule {id!r} cannot be bound to another workflow. Fix: remove it first")
        text: str | None = None
        if "input" in options:
            value = options.pop("input")
            row = self._row(id)
            known = self._engine.definition(row.workflow, spec_of(row).version)
            value = value if known is None else known.input_value(value)
            text = self._engine.encode(value, "the schedule's input").decode()

        def change(row: r.Schedule, now: float) -> r.Schedule:
            old = spec_of(row)
            spec = attrs.evolve(specified(old, options, now), input=old.input if text is None else text)
            return row if spec == old else _respecified(row, old, spec, now)

        return self._change(id, "update", change)

    def remove(self, id: str) -> None:
        """Remove a schedule. Its executions run on."""
        while True:
            row = self._row(id)
            if self._engine.ask(r.DropSchedule(id, row.version)).applied:
                audit("remove", "schedule", id)
                return

    def trigger(self, id: str) -> Handle[Any]:
        """Start an execution now, in addition to the regular ticks. It is one of the schedule's runs."""
        execution_id = f"{id}~now-{self._engine.new_id()[:12]}"
        while True:
            row = self._row(id)
            create = create_of(self._engine, row, spec_of(row), execution_id, None)
            state = state_of(row)
            runs = [[self._engine.ask(r.Ping()), execution_id], *state.get("runs", ())][:KEPT_RUNS]
            new = msgspec.structs.replace(row, state=dump_state({**state, "runs": runs}))
            if self._engine.ask(r.PutSchedule(new, row.version, (create,))).applied:
                audit("trigger", "schedule", id)
                return Handle(self._engine, execution_id)

    # --- parts -----------------------------------------------------------------------------------------------

    def _row(self, id: str) -> r.Schedule:
        row = self._engine.ask(r.GetSchedule(id))
        if row is None:
            raise UnknownSchedule(f"no schedule {id!r} in namespace {self._engine.namespace!r}")
        return row

    def _change(self, id: str, action: str, change: Callable[[r.Schedule, float], r.Schedule]) -> ScheduleRecord:
        while True:
            row = self._row(id)
            new = change(row, self._engine.ask(r.Ping()))
            if new is row:
                return self._record(row)
            put = self._put(action, new, row.version, None if new.paused else spec_of(new).queue)
            if put is not None:
                return put

    def _put(self, action: str, row: r.Schedule, expected: int, queue: str | None) -> ScheduleRecord | None:
        """Write a row and wake a worker of *queue*. Return None if the row was changed meanwhile."""
        put = self._engine.ask(r.PutSchedule(row, expected))
        if not put.applied or put.row is None:
            return None
        if queue is not None:
            self._engine.announce(queue)
        audit(action, "schedule", row.id)
        return self._record(put.row)

    def _record(self, row: r.Schedule) -> ScheduleRecord:
        spec, problem = Spec("null", cron="?"), None
        state: dict[str, Any] = {}
        next_at = None if row.paused else row.next_at
        fires: tuple[float, ...] = ()
        runs: tuple[tuple[float, str], ...] = ()
        input: Any = None
        try:
            spec = spec_of(row)
            input = decoded(self._engine.codec, spec.input.encode())
            state = state_of(row)
            runs = tuple((float(at), str(id)) for at, id in state.get("runs", ()))
            decision = spec.decide(row.id, state["decided"], state["decided"])
            if spec.overlap not in OVERLAPS:
                raise unknown_overlap(spec.overlap)
            if next_at is not None:
                fires = _fires(spec, state["decided"])
                if (
                    state.get("buffered") is not None
                ):  # the row's instant is that of the next check of the buffered tick
                    next_at = decision.next_at
        except Exception as error:  # a stored field may be of any type
            problem = text_of(error) if isinstance(error, ScheduleError) else str(unreadable(row, "row", error))
        return ScheduleRecord(
            row.id,
            row.workflow,
            input,
            spec.cron,
            spec.interval,
            spec.timezone,
            row.paused,
            next_at,
            runs[0][0] if runs else None,
            spec.overlap,
            spec.catch_up,
            runs,
            fires,
            state.get("skipped", 0),
            spec.catch_up_limit,
            problem,
            spec.catch_up_window,
            spec.jitter,
            spec.until,
            spec.timeout,
        )


def _respecified(stored: r.Schedule, old: Spec, spec: Spec, now: float) -> r.Schedule:
    """Return the row with another specification. Its next tick moves only if the times differ."""
    if spec.times() == old.times():
        return msgspec.structs.replace(stored, spec=dump(spec))
    return msgspec.structs.replace(_from_now_on(stored, spec, now), spec=dump(spec))


def _from_now_on(row: r.Schedule, spec: Spec, now: float) -> r.Schedule:
    """Return the row with its ticks counted from now on. A buffered tick stays buffered."""
    state = {**state_of(row), "decided": now}
    first = next_check(spec.decide(row.id, now, now).next_at, state.get("buffered"), now)
    return msgspec.structs.replace(row, state=dump_state(state), next_at=first)


def _fires(spec: Spec, after: float) -> tuple[float, ...]:
    """Return the next five planned instants."""
    found: list[float] = []
    recurrence, at = spec.recurrence(), after
    while len(found) < 5:
        tick = recurrence.next_after(at)
        if tick is None or (spec.until is not None and tick > spec.until):
            break
        found.append(tick)
        at = tick
    return tuple(found)
