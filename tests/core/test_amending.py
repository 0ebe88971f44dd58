"""Which entries an operator's retry voids, and which starts of children it may keep: on plain rows, without any code."""

from __future__ import annotations

from typing import Any

from replay.client.amendments import awaited, restarted, retry_voids

BEGAN = ["Began", 0.0, 0, "", "w", 1]


def started(child: str) -> list[Any]:
    return ["ChildStarted", 1.0, 0, child, child, "w", "cancel"]


def ended(child: str, status: str = "failed") -> list[Any]:
    return ["ExecutionEnded", 2.0, 0, child, child, status, None, None]


def test_a_failed_child_whose_start_is_void_may_be_kept_if_it_was_repaired_meanwhile() -> None:
    rows = [
        BEGAN,
        started("a"),
        ended("a", "completed"),
        started("b"),
        ended("b"),
        ["Ended", 3.0, 0, "", "failed", [3, 4]],
    ]
    voids = retry_voids(rows)
    assert voids == (3, 4, 5)
    assert restarted(rows, voids) == {"b": 3}
    assert awaited(rows, voids) == ()
    assert awaited(rows, voids[1:]) == ("b",), "kept: somebody must tell of its end again"


def test_a_child_after_a_step_that_was_rolled_back_is_started_anew() -> None:
    done = ["StepDone", 1.0, 0, "charge", "x", None, 1, 0.0]
    rows = [BEGAN, done, started("b"), ended("b"), ["Ended", 3.0, 0, "", "failed", [1, 2, 3]]]
    assert restarted(rows, retry_voids(rows)) == {}


def test_a_timeout_is_void_with_all_that_came_of_it() -> None:
    done = ["StepDone", 1.0, 0, "charge", "x", None, 1, 0.0]
    undone = ["StepDone", 3.0, 0, "rollback:charge", None, None, 1, 0.0]
    timeout = ["CancelReceived", 2.0, 0, "", "too late", "timeout"]
    rows = [BEGAN, ["StepDone", 1.0, 0, "price", 1, None, 1, 0.0], done, timeout, ["Ended", 3.0, 0, "", "failed", []]]
    assert retry_voids(rows) == (3, 4)
    rows[4:] = [undone, ["Ended", 4.0, 0, "", "failed", []]]
    assert retry_voids(rows) == (2, 3, 4, 5), "what was rolled back, too"
