"""No verdict depends on the machine's speed: whatever the tests wait for, they wait for as long as `PATIENCE`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.servers.process import PATIENCE

TESTS = Path(__file__).parents[1]
LIMITED = re.compile(
    r"""\.result\((timeout=)?[1-9] | wait_timeout=[1-9]            # an execution's end
    | settings\(.*deadline=[1-9]                                  # Hypothesis' time for an example
    | (\.join|\.communicate|process\.wait)\((timeout=)?[1-9]      # a thread's or process's end
    | until\(.*timeout=[0-9]""",
    re.VERBOSE,
)
NOT_RUN = "typing"
"""Folder of what is only looked at by type checkers."""


def impatient(line: str) -> bool:
    """Tell whether a line of a test gives up after a time of its own. Texts for other processes write the number out."""
    return LIMITED.search(line) is not None and f"{PATIENCE:g}" not in line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("handle.result(60)", True),
        ("handle.result(timeout=60)", True),
        ("process.wait(5)", True),
        ("@settings(deadline=200)", True),
        ("until(ready, timeout=5)", True),
        ("handle.result(PATIENCE)", False),
        ("handle.result()", False),
        ("world.wait(60)", False),  # virtual time
        ("@settings(deadline=None)", False),
        ("gate.wait(0.01)", False),  # returns, and is asked again
    ],
)
def test_a_line_with_a_limit_of_its_own_is_seen(line: str, expected: bool) -> None:
    assert impatient(line) is expected


def test_no_test_gives_up_after_a_time_of_its_own() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{number}: {line.strip()}"
        for path in sorted(TESTS.rglob("*.py"))
        if path != Path(__file__) and NOT_RUN not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if impatient(line)
    ]
    assert not found, "\n".join(["these depend on the machine's speed. Fix: PATIENCE of tests.servers.process", *found])
