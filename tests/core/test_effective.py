"""What the amendments of a log make of it, on plain rows."""

from __future__ import annotations

from replay.core.entries import effective

BEGAN = ["Began", 0.0, 0, "", "w", 1]
START = ["ChildStarted", 1.0, 0, "kid", "x~1", "w", "cancel"]


def test_a_start_whose_child_is_replaced_names_the_other_one() -> None:
    found = effective(
        [BEGAN, START, ["AttemptFailed", 2.0, 0, "", None, 1, 3.0, []], ["Began", 3.0, 0, "", "w", 2, [[1, "x~2"]]]]
    )
    assert found.changes == {1: ["ChildStarted", 1.0, 0, "kid", "x~2", "w", "cancel"]}
    assert found.replaced == {"x~1": "x~2"}
    assert found.starts == {"x~2": (1,)}


def test_a_start_that_is_void_stays_void_when_its_child_is_replaced() -> None:
    """A start with its key may come again, and must find the child in the other's place."""
    failed = ["AttemptFailed", 2.0, 0, "", None, 1, 3.0, [1]]
    found = effective([BEGAN, START, failed, ["Began", 3.0, 0, "", "w", 2, [[1, "x~2"]]]])
    assert found.changes == {1: None}
    assert found.replaced == {"x~1": "x~2"}


def test_an_edited_result_may_be_edited_again() -> None:
    done = ["StepDone", 1.0, 0, "s", 1, 99, 1, 0.5]
    found = effective([BEGAN, done, ["Edited", 2.0, 0, "", "me", "", 1, 2], ["Edited", 3.0, 0, "", "me", "", 1, 3]])
    assert found.changes == {1: ["StepDone", 1.0, 0, "s", 3, 99, 1, 0.5]}
