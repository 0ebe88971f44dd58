"""How a worker works, as one value."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Options:
    """How a worker works. Durations are seconds, sizes bytes.

    Args:
        name: Unique among workers; shown to operators.
        queues: Whose executions it takes.
        queue_limits: At most so many executions of a queue under way here at once.
        concurrency: Executions under way (and pool threads) at once.
        cache_size: Parked executions whose live generators are kept.
        lease: How long an execution stays with a worker that has fallen silent.
        poll_interval: Longest time between looks into the store when no hint comes.
        housekeeping: Time between registrations of the worker (forgotten after three times as long) and purges.
        retention_count: Ended executions that are kept; the oldest go. None: as many as there are.
        cancel_grace: How long running steps may take to end when their execution is cancelled.
        max_executions: Take no more than this many, then be `exhausted`.
    """

    name: str = "worker"
    queues: tuple[str, ...] = ("default",)
    queue_limits: Mapping[str, int] = attrs.Factory(dict)
    concurrency: int = 16
    cache_size: int = 1000
    lease: float = 30.0
    poll_interval: float = 1.0
    housekeeping: float = 10.0
    payload_limit: int = 1_048_576
    log_limit: int = 100_000
    argument_policy: str = "warn"
    retention_count: int | None = None
    cancel_grace: float = 5.0
    max_executions: int | None = None
