"""Options of an engine: durations may be `timedelta`s; what makes no sense is refused with its name when it is given."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from replay import ConfigError, Engine


@pytest.mark.parametrize(
    "options",
    [
        {"lease": 0}, {"lease": "3"}, {"concurrency": 0}, {"concurrency": True}, {"cache_size": -1}, {"payload_limit": 0},
        {"log_limit": -1}, {"poll_interval": 0}, {"poll_interval": -1}, {"shutdown_timeout": -1}, {"cancel_grace": -1},
        {"retention_count": -1}, {"retention": -1}, {"argument_policy": "never"}, {"queues": []}, {"queues": {"emails": 0}},
    ],
)  # fmt: skip
def test_an_option_that_makes_no_sense_is_refused_with_its_name(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises((ConfigError, ValueError, TypeError), match=name):
        Engine("memory://", **options)


@pytest.mark.parametrize("store", [None, 5, object()])
def test_what_is_no_store_is_refused(store: Any) -> None:
    with pytest.raises(ConfigError, match="a store is a URL or a Store"):
        Engine(store)


def test_durations_may_be_timedeltas_and_one_queue_a_text() -> None:
    minute = timedelta(minutes=1)
    with Engine("memory://", lease=minute, poll_interval=minute, shutdown_timeout=minute, queues="emails") as engine:
        worker = engine.make_worker()
    assert (worker.options.lease, worker.options.poll_interval, engine.shutdown_timeout) == (60.0, 60.0, 60.0)
    assert worker.options.queues == ("emails",)
