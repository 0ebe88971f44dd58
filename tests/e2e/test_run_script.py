"""What `tests/run` says before it sets anything up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.processes import ROOT
from tests.servers.process import PATIENCE


def refused(python: str, venv: Path) -> str:
    environment = {**os.environ, "PYTHON": python, "REPLAY_VENV": str(venv)}
    done = subprocess.run(
        [ROOT / "tests/run", "--co"], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 1, done.stdout
    return done.stderr


def fake(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n[ "$1" != -m ] || exit 9\n[ "$1" != -V ] || echo "Python {version}"\n')
    path.chmod(0o755)
    return path


def test_an_interpreter_that_cannot_be_used_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    assert "PYTHON=no-such-python is not Python 3.11 or newer" in refused("no-such-python", tmp_path / "venv")
    other = fake(tmp_path / "venv/bin/python", "3.99.0")
    text = refused(sys.executable, tmp_path / "venv")
    assert "has Python 3.99.0" in text
    assert f"Fix: REPLAY_VENV=DIR for one more, or remove {other.parents[1]}" in text
