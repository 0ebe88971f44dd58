"""Environment for unit tests of step bodies: `current_step()` works in it, without an engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from replay.core.effects import Call
from replay.worker.steps import CancelFlag, CurrentStep, as_current_step


class StepEnvironment:
    """Environment of a step body: it records what the body does, and asks it to stop.

    Attributes:
        step: The step, as the body sees it.
        heartbeats: Details of all heartbeats, in order.
    """

    def __init__(self, call: Call) -> None:
        self.heartbeats: list[Any] = []
        self.step: CurrentStep = _Recorded(call, self.heartbeats)
        self._call = call

    @property
    def token_read(self) -> bool:
        """True once the body has read `current_step().token`."""
        return self._call.token_read

    def cancel(self) -> None:
        """Ask the body to stop: `current_step().cancelled` is set."""
        self._call.cancelled.set()


class _Recorded(CurrentStep):
    """A step that keeps all heartbeats."""

    def __init__(self, call: Call, heartbeats: list[Any]) -> None:
        super().__init__(call)
        self._heartbeats = heartbeats

    def heartbeat(self, details: Any = None) -> None:
        """See `CurrentStep.heartbeat`."""
        super().heartbeat(details)
        self._heartbeats.append(details)


@contextlib.contextmanager
def step_environment(
    *,
    id: str = "step",
    attempt: int = 1,
    token: str = "token-1",  # noqa: S107 - an idempotency key
    details: Any = None,
    cancelled: bool = False,
    execution_id: str = "x-1",
    workflow: str = "workflow",
) -> Iterator[StepEnvironment]:
    """Run step bodies in a test as if a worker ran them: `with step_environment(attempt=2) as environment: charge(order)`.

    It holds for the block's thread, for `asyncio.run` in it, and for `asyncio.to_thread`.

    Args:
        id: Id of the step.
        attempt: Number of the attempt, from 1.
        token: Idempotency key of the step.
        details: Details of the last heartbeat of the previous attempt.
        cancelled: The body is asked to stop from the beginning. `environment.cancel()` asks it later.
        execution_id: Id of the step's execution.
        workflow: Key of its workflow.
    """
    if attempt < 1:
        raise ValueError(f"attempts are counted from 1, not {attempt!r}. Fix: step_environment(attempt=1)")
    flag = CancelFlag()
    call = Call(execution_id, workflow, 0, id, _no_body, (), {}, attempt, token, details=details, cancelled=flag)
    environment = StepEnvironment(call)
    if cancelled:
        environment.cancel()
    with as_current_step(environment.step, call):
        yield environment


def _no_body() -> None:
    """Stand for the body, which the test calls itself."""
