"""Small scripts beside the repository, each a fault that was found once: exit code 1 while it is there.

They stand in the folder `REPLAY_CASES`, or `../shared/cases`; where there is none, there is nothing to run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.processes import ROOT
from tests.servers.process import PATIENCE

FOLDER = Path(os.environ.get("REPLAY_CASES", ROOT.parent / "shared" / "cases"))
CASES = [path for kind in ("semantics", "stores", "testing_kit") for path in sorted((FOLDER / kind).glob("[0-9]*.py"))]


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_fault_that_was_found_is_gone(case: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "REPLAY_MAIN": str(ROOT), "REPLAY_PY": sys.executable}
    found = subprocess.run(
        [sys.executable, str(case)], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=PATIENCE,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
