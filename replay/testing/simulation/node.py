"""A simulated worker process, and the step bodies that run on it."""

from __future__ import annotations

from replay.core.effects import Call, Returned
from replay.worker import Worker


class Node:
    """One simulated worker process.

    Attributes:
        name: Its name in the timeline.
        worker: The real worker on it.
        skew: Error of its clock, seconds.
        wake_at: Instant of the worker's next turn.
        renew_at: Instant of the next lease renewal.
        paused_until: End of a pause, None while it runs.
        last_claim: Instant of the last claim, and the number of changes to the store until then.
    """

    def __init__(self, name: str, worker: Worker, skew: float, now: float) -> None:
        self.name = name
        self.worker = worker
        self.skew = skew
        self.wake_at = now
        self.renew_at = 0.0
        self.paused_until: float | None = None
        self.last_claim = (0.0, -1)

    def missed_hint(self, changes: int) -> bool:
        """Return whether a lost hint may have left due work unclaimed, after so many *changes* to the store."""
        return self.last_claim[1] != changes and self.worker.active < self.worker.options.concurrency


class RunningStep:
    """One step body under way.

    Attributes:
        node: The process that runs it.
        call: The step.
        returned: Its result, None until the body has run.
        ready_at: Virtual instant at which the result arrives, None for a body that hangs.
    """

    def __init__(self, node: Node, call: Call) -> None:
        self.node = node
        self.call = call
        self.returned: Returned | None = None
        self.ready_at: float | None = 0.0
