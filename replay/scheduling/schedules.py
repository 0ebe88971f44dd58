"""Schedules: workflows started again and again. Here they are made, changed and shown; `replay.scheduling.ticks` fires them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from replay.client.handles import Handle
from replay.codec.log_rows import decoded
from replay.core import requests as r
from replay.core.errors import ScheduleError, UnknownSchedule
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
)
from replay.scheduling.ticks import KEPT_RUNS, LONGEST_ID, create_of, next_look

if TYPE_CHECKING:
    from replay.client.port import ClientPort
    from replay.definition import Workflow

__all__ = ["CatchUp", "Overlap", "ScheduleRecord", "Schedules"]


@attrs.frozen
class ScheduleRecord:
    """A schedule as callers see it. Instants are seconds since the epoch, UTC.

    Attributes:
        next_at: When the next tick is due; None while it is paused and after its end.
        last_at: When the newest of `runs` was planned.
        runs: The last executions it started, newest first, as `(planned instant, execution id)`; triggered ones with the
            instant at which they were.
        next_fires: The next five planned instants (none while it is paused).
        skipped: How many ticks were given up (missed, or skipped because of `overlap`).
        problem: Why this process could not fire it (an unknown zone, a newer version's rule); None if it could.
        catch_up_window: Seconds, like `jitter` and `timeout`.
        until: No tick after this instant.
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
    """The schedules of an engine's namespace; the engine's methods lead here."""

    def __init__(self, engine: ClientPort) -> None:
        self._engine = engine

    def ensure(self, workflow: Workflow[Any, Any] | str, input: Any, id: str, **options: Any) -> ScheduleRecord:
        """Make the schedule be as given; if it already is, nothing changes (its next tick does not move)."""
        check_id(id, "schedule id")
        if "~" in id:
            raise ScheduleError(f"schedule id {id!r} must not contain '~', which separates it from its ticks")
        if len(id) > LONGEST_ID:
            raise ScheduleError(
                f"schedule id {id!r} has {len(id)} characters; its executions' ids, which add an instant, leave room for "
                f"{LONGEST_ID}. Fix: choose a shorter one"
            )
        definition = self._engine.workflow(workflow)
        if not definition.takes_input and input is not None:
            raise TypeError(f"workflow {definition.key!r} takes no input, but got {str(input)[:80]!r}")
        base = Spec(
            self._engine.encode(input, "the schedule's input").decode(),
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
                first = spec.plan(id, now, now).next_at
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
        """Pause, or resume from now on (what fell into the pause is not made up for)."""

        def change(row: r.Schedule, now: float) -> r.Schedule:
            if row.paused == paused:
                return row
            if paused:
                return attrs.evolve(row, paused=True)
            return attrs.evolve(_from_now_on(row, spec_of(row), now), paused=False)

        return self._change(id, "pause" if paused else "resume", change)

    def update(self, id: str, **options: Any) -> ScheduleRecord:
        """Change some options; times that do not change keep their next tick. Needs no workflow code."""
        if "workflow" in options:
            raise ScheduleError(f"schedule {id!r} cannot be bound to another workflow. Fix: remove it first")
        text: str | None = None
        if "input" in options:
            text = self._engine.encode(options.pop("input"), "the schedule's input").decode()

        def change(row: r.Schedule, now: float) -> r.Schedule:
            old = spec_of(row)
            spec = attrs.evolve(specified(old, options, now), input=old.input if text is None else text)
            return row if spec == old else _respecified(row, old, spec, now)

        return self._change(id, "update", change)

    def remove(self, id: str) -> None:
        """Remove a schedule; executions that it started go on."""
        while True:
            row = self._row(id)
            if self._engine.ask(r.DropSchedule(id, row.version)).applied:
                audit("remove", "schedule", id)
                return

    def trigger(self, id: str) -> Handle[Any]:
        """Start an execution now, beside the regular ticks; it is one of the schedule's runs."""
        execution_id = f"{id}~now-{self._engine.new_id()[:12]}"
        while True:
            row = self._row(id)
            create = create_of(self._engine, row, spec_of(row), execution_id, None)
            state = state_of(row)
            runs = [[self._engine.ask(r.Ping()), execution_id], *state.get("runs", ())][:KEPT_RUNS]
            new = attrs.evolve(row, state=dump_state({**state, "runs": runs}))
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
        """Write a row and have a worker of *queue* look at it; None if somebody else was faster."""
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
        try:
            spec, state = spec_of(row), state_of(row)
            plan = spec.plan(row.id, state["decided"], state["decided"])
            if spec.overlap not in OVERLAPS:
                raise unknown_overlap(spec.overlap)
            if next_at is not None:
                fires = _fires(spec, state["decided"])
                if state.get("buffered") is not None:  # the row says when to look whether the buffered tick may start
                    next_at = plan.next_at
        except ScheduleError as error:
            problem = str(error)
        runs = tuple((at, id) for at, id in state.get("runs", ()))
        return ScheduleRecord(
            row.id,
            row.workflow,
            decoded(self._engine.codec, spec.input.encode()),
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
    """Return the row with another specification; its next tick moves only if its times did."""
    if spec.times() == old.times():
        return attrs.evolve(stored, spec=dump(spec))
    return attrs.evolve(_from_now_on(stored, spec, now), spec=dump(spec))


def _from_now_on(row: r.Schedule, spec: Spec, now: float) -> r.Schedule:
    """Return the row with its ticks counted from now on; one that waits in the buffer was due before, and waits on."""
    state = {**state_of(row), "decided": now}
    first = next_look(spec.plan(row.id, now, now).next_at, state.get("buffered"), now)
    return attrs.evolve(row, state=dump_state(state), next_at=first)


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
