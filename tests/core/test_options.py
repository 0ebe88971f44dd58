"""Options of an engine: durations may be `timedelta`s; what makes no sense is refused with its name when it is given."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from replay import ConfigError, Engine, Retry


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


def test_durations_of_a_retry_may_be_timedeltas_and_end_within_what_a_date_can_show() -> None:
    policy = Retry(initial=timedelta(minutes=2), cap=timedelta(hours=1), deadline=timedelta(days=1))
    assert policy == Retry(initial=120, cap=3600, deadline=86_400)
    for wrong in ({"initial": -1}, {"cap": "3"}, {"cap": float("inf")}, {"deadline": 0}, {"initial": float("nan")}):
        with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
            Retry(**wrong)  # type: ignore[arg-type]


class Busy(Exception):
    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after


@pytest.mark.parametrize(("retry_after", "wait"), [(7, 7.0), (0, 0.0), (1e300, 60.0), (float("inf"), 60.0), (-1, 60.0)])
def test_a_wait_that_an_error_asks_for_holds_if_it_ends_at_a_date(retry_after: float, wait: float) -> None:
    assert Retry(initial=60, jitter=0).delay(1, Busy(retry_after), elapsed=0, random=0) == wait
