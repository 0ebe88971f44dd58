"""Options of a worker, as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from replay.core.errors import ConfigError
from replay.core.settings import PAYLOAD_LIMIT


def _at_least(least: float, *, whole: bool = False) -> Callable[[Any, Any, Any], None]:
    kind = "a whole number of" if whole else "seconds,"

    def check(_: object, attribute: Any, value: Any) -> None:
        right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if value is not None and not (right and value >= least):
            raise ConfigError(f"{attribute.name} takes {kind} at least {least:g}, not {value!r}")

    return check


def _queues(_: object, attribute: Any, value: Any) -> None:
    if not value or not all(isinstance(queue, str) and queue for queue in value):
        raise ConfigError(f"queues takes the names of one or more queues, not {value!r}. Fix: queues=['default']")


def _policy(_: object, attribute: Any, value: Any) -> None:
    if value not in ("warn", "error", "off"):
        raise ConfigError(f"argument_policy is 'warn', 'error' or 'off', not {value!r}")


@attrs.frozen
class WorkerOptions:
    """Options of a worker. Durations are seconds, sizes bytes.

    Args:
        name: Unique among workers; shown to operators.
        queues: Execution queues that it claims from.
        queue_limits: Most executions of a queue in progress on this worker at once.
        concurrency: Most executions in progress (and pool threads) at once.
        cache_size: Most parked executions whose generators stay alive.
        lease: Duration of a lease, which a crashed worker leaves to expire.
        poll_interval: Longest time between claims without a hint.
        housekeeping: Time between registrations (which expire after three times as long), and between purges.
        payload_limit: Largest encoded value.
        log_limit: Most entries of a log.
        argument_policy: Treatment of a replayed step with other arguments: `warn`, `error` or `off`.
        retention_count: Most ended executions kept; the oldest are purged first. None: no limit.
        cancel_grace: Time that running steps have to end when their execution is cancelled.
        max_executions: Most executions claimed; the worker is `exhausted` then. None: no limit.
    """

    name: str = "worker"
    queues: tuple[str, ...] = attrs.field(default=("default",), validator=_queues)
    queue_limits: Mapping[str, int] = attrs.Factory(dict)
    concurrency: int = attrs.field(default=16, validator=_at_least(1, whole=True))
    cache_size: int = attrs.field(default=1000, validator=_at_least(0, whole=True))
    lease: float = attrs.field(default=30.0, validator=_at_least(0.01))
    poll_interval: float = attrs.field(default=1.0, validator=_at_least(0.001))
    housekeeping: float = 10.0
    payload_limit: int = attrs.field(default=PAYLOAD_LIMIT, validator=_at_least(1, whole=True))
    log_limit: int = attrs.field(default=100_000, validator=_at_least(1, whole=True))
    argument_policy: str = attrs.field(default="warn", validator=_policy)
    retention_count: int | None = attrs.field(default=None, validator=_at_least(0, whole=True))
    cancel_grace: float = attrs.field(default=5.0, validator=_at_least(0))
    max_executions: int | None = None
