"""`describe` and real runs agree: what a run did is in the picture, unless the picture says what was left out."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import HealthCheck, example, given, settings

from replay.core import entries as e
from replay.describe import describe
from tests.budgets import examples
from tests.sim.programs import inboxes, program, programs
from tests.sim.test_programs import simulate

CUT_OFF = re.compile(r"further paths|rounds|unknown here")


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(programs, inboxes)
@example(
    [("try", [("start", [], [])], [], [("step", "a", 0, 1, False, False)], [])], {"s": 0, "t": 0}
)  # waits by the id
def test_every_command_of_a_run_is_a_node_of_the_description(nodes: Any, inbox: dict[str, int]) -> None:
    with simulate(nodes, inbox) as sim:
        entries = sim.engine.detail("x-1").audit
    found = describe(program, nodes)
    shown = {re.sub(r"#\d+", "", node.id) for node in found.nodes}
    done = {
        re.sub(r"#\d+", "", entry.id)
        for entry in entries
        if isinstance(
            entry, e.StepDone | e.StepFailed | e.TimerFired | e.BranchChosen | e.Emitted | e.NoteAdded | e.RaceWon
        )
    }
    missing = {id for id in done - shown if not re.search(r"(^|/)rollback:", id)}
    assert not missing or any(CUT_OFF.search(line) for line in found.unexplored), (missing, found)
    names = {node.name for node in found.nodes}
    assert len(names) == len(found.nodes)
    ends = {"(start)", "(end)", "(failed)", "(cancelled)"}
    assert {edge.source for edge in found.edges} | {edge.target for edge in found.edges} <= names | ends
    assert not [line for line in found.unexplored if "Error" in line], found.unexplored
