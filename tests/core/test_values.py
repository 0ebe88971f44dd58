"""Small values of the public surface: results of waits, policies, commands as values, texts of anything."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Completed, Received, Retry, TimedOut
from replay.core.commands import Step
from replay.core.errors import describe_error


def act(value: Any = 1) -> Any:
    return value


def test_results_of_waits_tell_their_kind() -> None:
    assert [value.kind for value in (Received(1), Completed(1), TimedOut())] == ["signal", "completed", "timeout"]


@pytest.mark.parametrize("attempt", [7, 400, 100_000])
def test_a_wait_between_attempts_never_exceeds_its_cap(attempt: int) -> None:
    policy = Retry(attempts=10**9, initial=1.0, factor=10.0, cap=60.0, jitter=0)
    assert policy.delay(attempt, ValueError(), elapsed=0.0, random=0.5) == 60.0


def test_a_step_equals_another_that_was_built_otherwise_to_the_same_end() -> None:
    plain: Step[Any] = Step("s", act, (1,))
    assert plain.retry(3).timeout(5) == plain.timeout(5).retry(Retry(3))
    assert plain.retry(3) != plain
    assert plain != Step("s", act, (2,))
    assert plain.__eq__("s") is NotImplemented


class Mute:
    def __str__(self) -> str:
        raise LookupError("no text")


def test_anything_can_be_described() -> None:
    assert describe_error(Mute()) == "<Mute whose text cannot be read: LookupError>"
    assert describe_error(None) == "None"
    assert describe_error("text") == "text"
    assert describe_error(ValueError("no")) == "ValueError: no"
    assert describe_error(ValueError()) == "ValueError"
