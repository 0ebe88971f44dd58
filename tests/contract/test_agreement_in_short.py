"""The agreement machine in short, for the inner loop: SQLite and the memory store. `test_agreement.py` has all stores."""

from __future__ import annotations

import uuid
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from replay.backends.sqlite import SqliteStore
from replay.testing.contracts.agreement import store_agreement

SHORT = settings(
    max_examples=25, stateful_step_count=50, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def test_the_stores_of_one_process_agree(tmp_path: Path) -> None:
    machine = store_agreement(
        lambda clock: SqliteStore(tmp_path / f"{uuid.uuid4().hex}.db", clock=clock, synchronous="NORMAL")
    )
    run_state_machine_as_test(machine, settings=SHORT)
