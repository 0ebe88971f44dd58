"""The client's methods about schedules."""

from __future__ import annotations

from typing import Any, TypeVar

from replay.client.client import Client
from replay.client.handles import Handle
from replay.definition import Workflow
from replay.scheduling.schedules import CatchUp, Overlap, ScheduleRecord, Schedules

In = TypeVar("In")


class SchedulingClient(Client):
    """A client that makes, changes and inspects schedules, too."""

    def ensure_schedule(
        self,
        workflow: Workflow[In, Any] | str,
        input: In | None = None,
        *,
        id: str,
        cron: str | None = None,
        interval: Any = None,
        timezone: str = "UTC",
        overlap: Overlap = "allow",
        catch_up: CatchUp = "one",
        catch_up_window: Any = None,
        catch_up_limit: int | None = None,
        jitter: Any = None,
        until: Any = None,
        timeout: Any = None,
    ) -> ScheduleRecord:
        """Create or update a schedule, which starts a workflow again and again.

        Safe on every boot: with unchanged arguments nothing changes.

        Args:
            workflow: The workflow or its key.
            input: The input of each execution.
            id: The schedule's id. The id of a tick's execution is this id, `~` and the planned instant.
            cron: Five or six fields (seconds last), names, or a macro such as `@daily`.
            interval: Seconds (or `timedelta`); ticks stay on the grid that the first call began.
            timezone: IANA name of the cron expression's time zone.
            overlap: Treatment of a tick while the last execution still runs.
            catch_up: Missed ticks that are fired after a time without workers: none (`skip`), the newest (`one`), or `all`.
            catch_up_window: Seconds (or `timedelta`); older ticks are skipped. Default: a day.
            catch_up_limit: Most missed ticks fired at once. Default: 100.
            jitter: Longest delay of a tick, seconds (or `timedelta`). A tick has the same delay on every worker.
            until: Last instant of the schedule.
            timeout: Seconds (or `timedelta`) within which each execution must end.

        Raises:
            ScheduleError: An argument is invalid, or the id belongs to another workflow.
        """
        options = {
            "cron": cron, "interval": interval, "timezone": timezone, "overlap": overlap, "catch_up": catch_up,
            "catch_up_window": catch_up_window, "catch_up_limit": catch_up_limit, "jitter": jitter, "until": until,
            "timeout": timeout,
        }  # fmt: skip
        return Schedules(self).ensure(workflow, input, id, **options)

    def get_schedule(self, id: str) -> ScheduleRecord:
        """Return a schedule. Raises `UnknownSchedule`, like the methods below."""
        return Schedules(self).get(id)

    def list_schedules(self) -> tuple[ScheduleRecord, ...]:
        """Return all schedules, in order of id."""
        return Schedules(self).list()

    def pause_schedule(self, id: str) -> ScheduleRecord:
        """Pause a schedule: it starts nothing until `resume_schedule`."""
        return Schedules(self).pause(id, paused=True)

    def resume_schedule(self, id: str) -> ScheduleRecord:
        """Resume a schedule from now on. Ticks during the pause are not fired."""
        return Schedules(self).pause(id, paused=False)

    def update_schedule(self, id: str, **options: Any) -> ScheduleRecord:
        """Change some options of `ensure_schedule` (or the `input`). The next `ensure_schedule` may change them back."""
        return Schedules(self).update(id, **options)

    def remove_schedule(self, id: str) -> None:
        """Remove a schedule. Its executions run on."""
        Schedules(self).remove(id)

    def trigger_schedule(self, id: str) -> Handle[Any]:
        """Start an execution now, in addition to the regular ticks."""
        return Schedules(self).trigger(id)
