"""Schedules: ticks are timers in the store, and a tick's execution has an id of its own, so no tick runs twice.

A tick is one `PutSchedule`: the executions it starts and the next instant are one transition, guarded by the row's version.
So any number of workers may find the same schedule due; one of them advances it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from replay.core import requests as r
from replay.core.commands import duration, instant
from replay.core.errors import ScheduleError, UnknownSchedule
from replay.core.ids import check_id

if TYPE_CHECKING:
    from replay.cron import Recurrence
    from replay.definition import Workflow
    from replay.engine import Engine
    from replay.handles import Handle

Overlap = Literal["allow", "skip", "buffer_one", "cancel_previous"]
CatchUp = Literal["skip", "one", "all"]

DAY = 86_400.0
BUFFER_POLL = 1.0
"""Seconds between looks at whether the execution that a buffered tick waits for has ended."""
KEPT_RUNS = 10
"""How many past runs a schedule remembers."""


@attrs.frozen
class Spec:
    """What a schedule does, as stored. Durations are seconds; `input` is JSON text as the codec wrote it."""

    input: str
    cron: str | None = None
    interval: float | None = None
    anchor: float = 0.0
    timezone: str = "UTC"
    overlap: Overlap = "allow"
    catch_up: CatchUp = "one"
    catch_up_window: float = DAY
    catch_up_limit: int = 100
    jitter: float = 0.0
    until: float | None = None
    version: str = ""
    queue: str = "default"
    timeout: float | None = None
    retention: float | None = None
    priority: int = 0

    def recurrence(self) -> Recurrence:
        """Return when it is due."""
        from replay.cron import Cron, Every

        if self.cron is not None:
            return Cron(self.cron, self.timezone)
        assert self.interval is not None
        return Every(self.interval, self.anchor)


@attrs.frozen
class ScheduleRecord:
    """A schedule as callers see it. Instants are seconds since the epoch, UTC.

    Attributes:
        last_at: Planned instant of the last tick that started an execution.
        runs: The last executions it started, newest first, as `(planned instant, execution id)`.
        next_fires: The next five planned instants.
        skipped: How many ticks were given up (missed, or skipped because of `overlap`).
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


class Schedules:
    """The schedules of an engine's namespace; the engine's methods lead here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ensure(self, workflow: Workflow[Any, Any] | str, input: Any, id: str, **options: Any) -> ScheduleRecord:
        """Make the schedule be as given; if it already is, nothing changes (its next tick does not move)."""
        check_id(id, "schedule id")
        if "~" in id:
            raise ScheduleError(f"schedule id {id!r} must not contain '~', which separates it from its ticks")
        definition = self._engine.workflow(workflow)
        while True:
            stored = self._engine.ask(r.GetSchedule(id))
            if stored is not None and stored.workflow != definition.key:
                raise ScheduleError(
                    f"schedule {id!r} belongs to workflow {stored.workflow!r} and cannot be bound to {definition.key!r}. "
                    f"Fix: remove it first, or choose another id"
                )
            now = self._engine.ask(r.Ping())
            spec = self._spec(definition, input, options, now)
            if stored is None:
                row = r.Schedule(id, definition.key, _dump(spec), _dump_state({"decided": now}), _first(id, spec, now))
            else:
                old = _spec(stored)
                if spec.interval == old.interval and spec.interval is not None:
                    spec = attrs.evolve(spec, anchor=old.anchor)  # intervals stay on their grid
                if spec == old:
                    return self._record(stored)
                row = self._respecified(stored, old, spec, now)
            put = self._engine.ask(r.PutSchedule(row, stored.version if stored is not None else 0))
            if put.applied and put.row is not None:
                self._engine._announce(definition.queue)
                return self._record(put.row)

    def _respecified(self, stored: r.Schedule, old: Spec, spec: Spec, now: float) -> r.Schedule:
        same_times = (spec.cron, spec.interval, spec.timezone, spec.jitter, spec.until) == (
            old.cron, old.interval, old.timezone, old.jitter, old.until,
        )  # fmt: skip
        if same_times:
            return attrs.evolve(stored, spec=_dump(spec))
        state = {**json.loads(stored.state), "decided": now}
        return attrs.evolve(stored, spec=_dump(spec), state=_dump_state(state), next_at=_first(stored.id, spec, now))

    def _spec(self, definition: Workflow[Any, Any], input: Any, options: dict[str, Any], now: float) -> Spec:
        cron, interval = options.pop("cron", None), options.pop("interval", None)
        if (cron is None) == (interval is None):
            raise ScheduleError("pass exactly one of cron='0 9 * * 1-5' and interval=3600 (seconds or timedelta)")
        for name, known in (("overlap", Overlap), ("catch_up", CatchUp)):
            value = options.get(name)
            if value is not None and value not in known.__args__:  # type: ignore[attr-defined]
                raise ScheduleError(f"{name} is one of {', '.join(known.__args__)}, not {value!r}")  # type: ignore[attr-defined]
        seconds = None if interval is None else duration(interval, "interval")
        if seconds is not None and seconds <= 0:
            raise ScheduleError(f"interval must be longer than 0 seconds, not {interval!r}")
        until = options.pop("until", None)
        found: dict[str, Any] = {
            key: duration(value, key)
            if key in ("catch_up_window", "jitter", "timeout") and value is not None
            else value
            for key, value in options.items()
            if value is not None
        }
        found.setdefault("timeout", definition.timeout)
        try:
            spec = Spec(
                self._engine._encode(input, "the schedule's input").decode(),
                cron,
                seconds,
                now if seconds is not None else 0.0,
                until=None if until is None else instant(until, "until"),
                version=definition.version,
                queue=definition.queue,
                retention=definition.retention,
                priority=definition.priority,
                **found,
            )
        except TypeError as error:
            raise ScheduleError(f"unknown schedule option: {error}") from error
        spec.recurrence()
        return spec

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
            state = {**json.loads(row.state), "decided": now}
            return attrs.evolve(row, paused=False, state=_dump_state(state), next_at=_first(row.id, _spec(row), now))

        return self._change(id, change)

    def update(self, id: str, **options: Any) -> ScheduleRecord:
        """Change some options; times that do not change keep their next tick."""
        row = self._row(id)
        old = _spec(row)
        known = {f.name for f in attrs.fields(Spec)}
        input = options.pop("input", None) if "input" in options else self._engine.codec.decode(old.input.encode())
        keep = {
            name: getattr(old, name)
            for name in known
            if name not in ("input", "anchor", "version", "queue", "retention", "priority")
        }
        if options.get("cron") is not None:
            keep["interval"] = None
        if options.get("interval") is not None:
            keep["cron"] = None
        return self.ensure(row.workflow, input, id, **{**keep, **options})

    def remove(self, id: str) -> None:
        """Remove a schedule; executions that it started go on."""
        while True:
            row = self._row(id)
            if self._engine.ask(r.DropSchedule(id, row.version)).applied:
                return

    def trigger(self, id: str) -> Handle[Any]:
        """Start an execution now, beside the regular ticks."""
        row = self._row(id)
        create = _create(self._engine, row, _spec(row), f"{id}~now-{self._engine._new_id()[:12]}", None)
        return self._engine._start(create)

    def _row(self, id: str) -> r.Schedule:
        row = self._engine.ask(r.GetSchedule(id))
        if row is None:
            raise UnknownSchedule(f"no schedule {id!r} in namespace {self._engine.namespace!r}")
        return row

    def _change(self, id: str, change: Any) -> ScheduleRecord:
        while True:
            row = self._row(id)
            new = change(row, self._engine.ask(r.Ping()))
            if new is row:
                return self._record(row)
            put = self._engine.ask(r.PutSchedule(new, row.version))
            if put.applied and put.row is not None:
                self._engine._announce(_spec(row).queue)
                return self._record(put.row)

    def _record(self, row: r.Schedule) -> ScheduleRecord:
        spec, state = _spec(row), json.loads(row.state)
        runs = tuple((at, id) for at, id in state.get("runs", ()))
        fires: list[float] = []
        if row.next_at is not None:
            fires = [t for t in spec.recurrence().fires(state["decided"], 5) if spec.until is None or t <= spec.until]  # type: ignore[attr-defined]
        return ScheduleRecord(
            row.id,
            row.workflow,
            self._engine.codec.decode(spec.input.encode()),
            spec.cron,
            spec.interval,
            spec.timezone,
            row.paused,
            row.next_at,
            runs[0][0] if runs else None,
            spec.overlap,
            spec.catch_up,
            runs,
            tuple(fires),
            state.get("skipped", 0),
        )


# --- ticks (workers) ------------------------------------------------------------------------------------


def tick(engine: Engine, row: r.Schedule, now: float) -> Sequence[r.Request[Any]]:
    """Return the request that advances a due schedule."""
    from replay.catchup import plan

    spec, state = _spec(row), json.loads(row.state)
    decided = plan(
        spec.recurrence(),
        state["decided"],
        now,
        catch_up=spec.catch_up,
        window=spec.catch_up_window,
        limit=spec.catch_up_limit,
        until=spec.until,
        jitter=spec.jitter,
        schedule_id=row.id,
    )
    buffered = state.get("buffered")
    due = [*([buffered] if buffered is not None else []), *decided.fire]
    fire, keep, cancels, skipped = _overlapping(engine, spec, state, due)
    runs = [[at, _tick_id(row.id, at)] for at in reversed(fire)] + state.get("runs", [])
    state |= {
        "decided": decided.decided,
        "runs": runs[:KEPT_RUNS],
        "skipped": state.get("skipped", 0) + decided.skipped + skipped,
        "buffered": keep,
    }
    next_at = decided.next_at
    if keep is not None:
        next_at = now + BUFFER_POLL if next_at is None else min(next_at, now + BUFFER_POLL)
    new = attrs.evolve(row, state=_dump_state(state), next_at=next_at)
    creates = tuple(_create(engine, row, spec, _tick_id(row.id, at), at) for at in fire)
    return [r.PutSchedule(new, row.version, creates, cancels)]


def _overlapping(
    engine: Engine, spec: Spec, state: dict[str, Any], due: list[float]
) -> tuple[list[float], float | None, tuple[str, ...], int]:
    """Return which of the *due* ticks fire, which one is kept for later, whom to cancel, and how many are given up."""
    if not due or spec.overlap == "allow":
        return due, None, (), 0
    last = state["runs"][0][1] if state.get("runs") else None
    header = engine.ask(r.Get(last)) if last is not None else None
    running = header is not None and header.ended_at is None
    match spec.overlap:
        case "skip":
            return ([], None, (), len(due)) if running else (due[:1], None, (), len(due) - 1)
        case "buffer_one":
            if running:
                return [], due[0], (), len(due) - 1
            return due[:1], due[1] if len(due) > 1 else None, (), max(0, len(due) - 2)
        case _:
            return due[-1:], None, (last,) if running and last is not None else (), len(due) - 1


def _tick_id(schedule_id: str, planned: float) -> str:
    return f"{schedule_id}~{dt.datetime.fromtimestamp(planned, dt.UTC).strftime('%Y-%m-%dT%H:%M:%S.%fZ').replace('.000000', '')}"


def _create(engine: Engine, row: r.Schedule, spec: Spec, id: str, planned: float | None) -> r.Create:
    return r.Create(
        id,
        row.workflow,
        spec.input.encode(),
        spec.version,
        spec.queue,
        timeout=spec.timeout,
        metadata=json.dumps({"schedule": row.id, "planned": planned}).encode(),
        priority=spec.priority,
        retention=spec.retention if spec.retention is not None else engine._retention,
    )


def _first(id: str, spec: Spec, now: float) -> float | None:
    from replay.catchup import plan

    return plan(
        spec.recurrence(), now, now, catch_up="skip", window=0.0, until=spec.until, jitter=spec.jitter, schedule_id=id
    ).next_at


def _spec(row: r.Schedule) -> Spec:
    return Spec(**json.loads(row.spec))


def _dump(spec: Spec) -> bytes:
    return json.dumps(attrs.asdict(spec), sort_keys=True).encode()


def _dump_state(state: dict[str, Any]) -> bytes:
    return json.dumps(state, sort_keys=True).encode()
