"""What is wrong with a target module is told in one message with file, line and error, and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from replay.cli.targets import load, load_workflows
from tests.e2e.processes import ROOT

BROKEN = {
    "syntax": ("x = 1\ndef oops(:\n", "", ["line 2", "SyntaxError"]),
    "dependency": (
        "import os\nimport no_such_package\n",
        "",
        ["line 2", "no module", "no_such_package", "Fix: install"],
    ),
    "name": ("\n\nfrom replay import nope\n", "", ["line 3", "ImportError", "nope"]),
    "raises": ("def f():\n    return {}['key']\nf()\n", "", ["line 2", "KeyError", "key"]),
    "library": ("import json\njson.loads('{')\n", "", ["line 2", "JSONDecodeError"]),
    "exits": ("import sys\nsys.exit(0)\n", "", ["line 2", "__main__"]),
    "misuse": ("from replay import workflow\n@workflow\ndef f(ctx):\n    return 1\n", "", ["line 2", "Fix:"]),
    "parameters": ("def make(store, *, name):\n    return []\n", "make", ["without arguments", "'store'", "@workflow"]),
    "factory": ("def make():\n    raise RuntimeError('no luck')\n", "make", ["line 2", "RuntimeError: no luck"]),
    "missing": ("x = 1\n", "flow", ["has no 'flow'", "missingapp.py"]),
    "mixed": ("from replay import Engine\nall = [None]\n", "all", ["a list that holds None"]),
    "empty": ("all = []\n", "all", ["an empty list"]),
    "none": ("x = 1\n", "", ["not a workflow"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_with_a_module_is_told_with_its_place(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, path, expected = BROKEN[case]
    (tmp_path / f"{case}app.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(click.UsageError) as refused:
        load_workflows(f"{case}app:{path}")
    for text in (f"{case}app", *expected):
        assert text.lower() in str(refused.value).lower()


@pytest.mark.parametrize(
    ("target", "fix"),
    [
        ("./shop/x.py:y", "write shop.x:y"),
        ("..x:y", "write x:y"),
        ("shop/x.py", "write shop.x:OBJECT"),
        ("a b:y", "write package.module:OBJECT"),
        (":y", "write package.module:OBJECT"),
    ],
)
def test_a_path_is_not_taken_for_a_module(target: str, fix: str) -> None:
    with pytest.raises(click.UsageError, match="is not a module") as refused:
        load(target)
    assert fix in str(refused.value)


@pytest.mark.parametrize(
    "arguments", [["replay.cli.worker"], ["replay.cli", "start"], ["replay.cli", "check"], ["replay.cli", "lint"]]
)
def test_commands_tell_it_without_a_traceback(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "brokenapp.py").write_text("import os\nimport no_such_package\n")
    module, *command = arguments
    code = f"import sys; sys.argv[0] = 'x'; from {module} import main; main()"
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            *command,
            "brokenapp:all",
            *([] if "lint" in command else ["--store", "sqlite:///s.db"]),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert "no_such_package" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("store", ["memory://", "sqlite:///:memory:"])
def test_a_worker_on_a_store_that_only_it_can_see_is_refused(store: str) -> None:
    command = [sys.executable, "-m", "replay.cli.worker", "tests.e2e.app:all_workflows", "--store", store, "--burst"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 2
    assert "Fix: " in found.stderr
