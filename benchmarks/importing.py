"""Cost of `import replay`: CPU time of fresh processes, beside `import attrs`, on which it depends.

python -m benchmarks.importing [--runs 15]

Measured twice: as installed by pip, with bytecode, and from a checkout without, where each process compiles the modules.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import replay
from replay.bench.harness import measure

ATTRS, REPLAY = "import attrs", "import replay"
MODULE = "from replay import Context, Flow, workflow"
"""Imports of a typical module of workflows."""


def processor_time(statement: str, cache: str, *, keep: bool = True) -> float:
    """Return the CPU time of *statement* in a fresh process, milliseconds, with bytecode from *cache*."""
    code = f"import time; began = time.process_time()\n{statement}\nprint((time.process_time() - began) * 1000)"
    environment = {
        **os.environ,
        "PYTHONPYCACHEPREFIX": cache,
        "PYTHONDONTWRITEBYTECODE": "" if keep else "1",  # empty: bytecode is written
    }
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as others:
        processor_time(MODULE, others)
        shutil.rmtree(others + str(Path(replay.__file__).parent))
        cases = {
            ATTRS: lambda: processor_time(ATTRS, whole),
            REPLAY: lambda: processor_time(REPLAY, whole),
            MODULE: lambda: processor_time(MODULE, whole),
            f"{REPLAY}, not compiled": lambda: processor_time(REPLAY, others, keep=False),
            f"{MODULE}, not compiled": lambda: processor_time(MODULE, others, keep=False),
        }
        for figure in measure("import", "ms", cases, n=1, runs=options.runs, baseline=ATTRS):
            print(json.dumps(figure.line()), flush=True)


if __name__ == "__main__":
    main()
