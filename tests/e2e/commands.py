"""`replay` as a process: its output piped, or on a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.processes import ROOT
from tests.servers.process import PATIENCE


def replay(*args: str, code: int = 0, cwd: Path = ROOT, **environment: str) -> str:
    """Run `replay`, check the exit code, return its output."""
    found = subprocess.run(
        [sys.executable, "-c", "from replay.cli import main; main()", *args],
        capture_output=True, text=True, cwd=cwd, timeout=PATIENCE, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "REPLAY_TEST_LEDGER": os.devnull, **environment},
    )  # fmt: skip
    assert found.returncode == code, (found.stdout, found.stderr)
    assert "Traceback" not in found.stderr, found.stderr
    return found.stdout if code == 0 else found.stdout + found.stderr


def on_a_terminal(*args: str, **environment: str) -> str:
    """Run `replay` with a pseudo-terminal for its output."""
    import pty

    main, terminal = pty.openpty()
    command = [sys.executable, "-c", "from replay.cli import main; main()", *args]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "120", **environment}
    with subprocess.Popen(
        command, stdout=terminal, stderr=terminal, stdin=terminal, cwd=ROOT, env=variables
    ) as process:
        os.close(terminal)
        found = b""
        try:
            while chunk := os.read(main, 65536):
                found += chunk
        except OSError:  # how Linux says that the other side has closed
            pass
        finally:
            os.close(main)
        assert process.wait(PATIENCE) == 0, found
    return found.decode()
