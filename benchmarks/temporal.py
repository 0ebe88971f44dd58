"""Benchmark of Temporal's `Replayer` on a synthesised history, in a module of its own: the sandbox imports it again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, WorkflowRunner

from replay.bench.harness import Figure


@activity.defn
async def body(i: int) -> int:
    """Serve as an activity (never called)."""
    return i


@workflow.defn
class Chain:
    """Workflow of sequential activities."""

    @workflow.run
    async def run(self, n: int) -> int:
        """Run *n* of them."""
        for i in range(n):
            await workflow.execute_activity(body, i, start_to_close_timeout=timedelta(seconds=10))
        return n


class Script:
    """Writer of a history like that of Temporal's server: six events for each activity."""

    def __init__(self) -> None:
        self.events: list[HistoryEvent] = []

    def of(self, steps: int) -> WorkflowHistory:
        """Return the history of an execution of *steps* activities."""
        started = self._add("WORKFLOW_EXECUTION_STARTED").workflow_execution_started_event_attributes
        started.workflow_type.name, started.task_queue.name, started.attempt = "Chain", "bench", 1
        started.original_execution_run_id = started.first_execution_run_id = "run"
        _hold(started.input, steps)
        task = self._task()
        for i in range(steps):
            task = self._activity(i, task)
        ended = self._add("WORKFLOW_EXECUTION_COMPLETED").workflow_execution_completed_event_attributes
        ended.workflow_task_completed_event_id = task
        _hold(ended.result, steps)
        return WorkflowHistory("bench", self.events)

    def _add(self, kind: str) -> HistoryEvent:
        event = HistoryEvent(event_id=len(self.events) + 1, event_type=EventType.Value(f"EVENT_TYPE_{kind}"))
        event.event_time.FromMilliseconds(1793000000000 + len(self.events))
        getattr(event, f"{kind.lower()}_event_attributes").SetInParent()  # present even if all values are defaults
        self.events.append(event)
        return event

    def _task(self) -> int:
        scheduled = self._add("WORKFLOW_TASK_SCHEDULED").event_id
        started = self._add("WORKFLOW_TASK_STARTED")
        started.workflow_task_started_event_attributes.scheduled_event_id = scheduled
        completed = self._add("WORKFLOW_TASK_COMPLETED")
        completed.workflow_task_completed_event_attributes.scheduled_event_id = scheduled
        completed.workflow_task_completed_event_attributes.started_event_id = started.event_id
        return completed.event_id

    def _activity(self, i: int, task: int) -> int:
        event = self._add("ACTIVITY_TASK_SCHEDULED")
        scheduled = event.activity_task_scheduled_event_attributes
        scheduled.activity_id, scheduled.activity_type.name = str(i + 1), "body"
        scheduled.workflow_task_completed_event_id = task
        scheduled.start_to_close_timeout.FromSeconds(10)
        _hold(scheduled.input, i)
        started = self._add("ACTIVITY_TASK_STARTED")
        started.activity_task_started_event_attributes.scheduled_event_id = event.event_id
        completed = self._add("ACTIVITY_TASK_COMPLETED").activity_task_completed_event_attributes
        completed.scheduled_event_id, completed.started_event_id = event.event_id, started.event_id
        _hold(completed.result, 42)
        return self._task()


def _hold(payloads: Any, value: int) -> None:
    payload = payloads.payloads.add(data=str(value).encode())
    payload.metadata["encoding"] = b"json/plain"


def figures(steps: int) -> Iterator[Figure]:
    """Measure a tenth of *steps* with and without the sandbox, and all *steps* once, which takes a minute."""
    import asyncio
    import time

    from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

    def seconds(count: int, runner: WorkflowRunner) -> float:
        history = Script().of(count)

        async def replay() -> float:
            began = time.perf_counter()
            result = await Replayer(workflows=[Chain], workflow_runner=runner).replay_workflow(history)
            if result.replay_failure is not None:
                raise result.replay_failure
            return time.perf_counter() - began

        return asyncio.run(replay())

    few = steps // 10
    for name, make in (("recorded steps", SandboxedWorkflowRunner), ("without its sandbox", UnsandboxedWorkflowRunner)):
        values = tuple(few / seconds(few, make()) for _ in range(3))
        yield Figure("replay", "temporal", name, "steps/s", few, values)
    values = (steps / seconds(steps, SandboxedWorkflowRunner()),)
    yield Figure("replay", "temporal", "recorded steps", "steps/s", steps, values)
