"""Specifications of schedules as stored: strict about options, tolerant about rows (a newer version may have written them)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from replay.core.errors import ScheduleError
from replay.core.times import duration, instant

if TYPE_CHECKING:
    from replay.core.requests import Schedule
    from replay.scheduling.catchup import TickDecision
    from replay.scheduling.cron import Recurrence

Overlap = Literal["allow", "skip", "buffer_one", "cancel_previous"]
CatchUp = Literal["skip", "one", "all"]
OVERLAPS = get_args(Overlap)

DAY = 86_400.0
MOST_CAUGHT_UP = 1000
"""Largest `catch_up_limit`: its executions are created in one transition."""


@attrs.frozen
class Spec:
    """The specification of a schedule as stored. Durations are seconds; `input` is JSON text of the codec."""

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
        """Return the rule of its ticks.

        Raises:
            ScheduleError: The expression or the zone is not known here.
        """
        from replay.scheduling.cron import Cron, Every

        if self.cron is not None:
            return Cron(self.cron, self.timezone)
        if self.interval is None:
            raise ScheduleError("the schedule has neither cron nor interval. Fix: ensure it again")
        return Every(self.interval, self.anchor)

    def decide(self, id: str, decided: float, now: float) -> TickDecision:
        """Decide about the ticks in `(decided, now]`. Raises like `replay.scheduling.catchup.decide_ticks`."""
        from replay.scheduling.catchup import decide_ticks

        return decide_ticks(
            self.recurrence(),
            decided,
            now,
            catch_up=self.catch_up,
            window=self.catch_up_window,
            limit=self.catch_up_limit,
            until=self.until,
            jitter=self.jitter,
            schedule_id=id,
        )

    def times(self) -> tuple[Any, ...]:
        """Return the options that determine its instants. Without a change of these, the next tick does not move."""
        return self.cron, self.interval, self.timezone, self.jitter, self.until


_FIELDS = attrs.fields_dict(Spec)
OPTIONS = (
    "cron", "interval", "timezone", "overlap", "catch_up", "catch_up_window", "catch_up_limit", "jitter", "until", "timeout",
)  # fmt: skip
"""Options of a schedule, besides its workflow and input."""


def specified(base: Spec, options: Mapping[str, Any], now: float) -> Spec:
    """Return *base* with checked *options* (None: the default).

    Raises:
        ScheduleError: An option is unknown or invalid.
    """
    for name in options:
        if name not in OPTIONS:
            raise ScheduleError(f"unknown schedule option {name!r}. Fix: the options are {', '.join(OPTIONS)}")
    changes: dict[str, Any] = {
        name: _checked(name, value) if value is not None else _FIELDS[name].default for name, value in options.items()
    }
    cron, interval = changes.pop("cron", None), changes.pop("interval", None)
    if cron is None and interval is None:
        cron, interval = base.cron, base.interval
    if (cron is None) == (interval is None):
        raise ScheduleError("pass exactly one of cron='0 9 * * 1-5' and interval=3600 (seconds or timedelta)")
    anchor = 0.0 if interval is None else base.anchor if interval == base.interval else now
    spec = attrs.evolve(base, cron=cron, interval=interval, anchor=anchor, **changes)
    spec.decide("", now, now)  # refuses a rule that no worker can fire
    return spec


def _checked(name: str, value: Any) -> Any:
    from replay.scheduling.cron import check_zone

    try:
        match name:
            case "interval" | "catch_up_window" | "jitter" | "timeout":
                value = duration(value, name)
                if name == "interval" and value <= 0:
                    raise ScheduleError("interval must be longer than 0 seconds")
            case "until":
                value = instant(value, name)
            case "timezone":
                check_zone(value)
            case "overlap" | "catch_up":
                known = OVERLAPS if name == "overlap" else get_args(CatchUp)
                if value not in known:
                    raise ScheduleError(f"{name} is one of {', '.join(known)}, not {value!r}")
            case "catch_up_limit":
                if type(value) is not int or not 1 <= value <= MOST_CAUGHT_UP:
                    raise ScheduleError(f"catch_up_limit is a whole number from 1 to {MOST_CAUGHT_UP:,}, not {value!r}")
            case _:
                pass  # cron: its own class checks it
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, ScheduleError) else ScheduleError(str(error)) from error
    return value


def unknown_overlap(name: str) -> ScheduleError:
    """Return the refusal of an `overlap` that a newer version has stored."""
    return ScheduleError(f"overlap {name!r} is not known here. Fix: upgrade this worker")


def spec_of(row: Schedule) -> Spec:
    """Return the specification of a stored schedule. Fields that this version does not know are ignored.

    Raises:
        ScheduleError: The row cannot be read here.
    """
    try:
        found = json.loads(row.spec)
        return Spec(**{name: value for name, value in found.items() if name in _FIELDS})
    except (ValueError, TypeError, AttributeError) as error:
        raise unreadable(row, "specification", error) from error


def state_of(row: Schedule) -> dict[str, Any]:
    """Return the state of a stored schedule: its last decided tick and its runs.

    Raises:
        ScheduleError: The row cannot be read here.
    """
    try:
        found = json.loads(row.state)
        return {**found, "decided": float(found["decided"])}
    except (ValueError, TypeError, LookupError) as error:
        raise unreadable(row, "state", error) from error


def unreadable(row: Schedule, what: str, error: Exception) -> ScheduleError:
    """Return the error of a schedule whose stored *what* cannot be read here."""
    return ScheduleError(
        f"schedule {row.id!r}: its stored {what} cannot be read here ({type(error).__name__}: {error}). "
        f"Fix: upgrade this process, or remove and ensure the schedule"
    )


def dump(spec: Spec) -> bytes:
    """Return *spec* as stored."""
    return json.dumps(attrs.asdict(spec), sort_keys=True).encode()


def dump_state(state: dict[str, Any]) -> bytes:
    """Return a state as stored."""
    return json.dumps(state, sort_keys=True).encode()
