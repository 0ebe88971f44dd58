"""`import replay` is light: it loads no client library, no test library, and nothing for the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

import replay
from replay import version as version_module

HEAVY = (
    "redis",
    "pika",
    "psycopg",
    "hypothesis",
    "pytest",
    "rich",
    "click",
    "croniter",
    "pydantic",
    "opentelemetry",
    "sqlite3",
    "asyncio",
)

# Coverage measures these processes, too, if its variables are there, and loads SQLite.
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=PLAIN
        ).stdout.split()
    )


def test_importing_replay_loads_nothing_heavy() -> None:
    assert loaded_by("import replay") & set(HEAVY) == set()


def test_importing_replay_loads_commands_and_engine_only_when_they_are_asked_for() -> None:
    code = "import sys, replay; print(*sys.modules); replay.Context, replay.Engine; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=PLAIN).stdout
    before, after = (set(line.split()) for line in found.splitlines())
    assert {"replay.core.commands", "replay.core.context", "replay.engine"} <= after - before


def test_help_on_the_command_line_loads_no_client_library() -> None:
    command = (
        "from click.testing import CliRunner; from replay.cli.root import cli; CliRunner().invoke(cli, ['--help'])"
    )
    assert loaded_by(command) & {"redis", "pika", "hypothesis", "rich", "croniter"} == set()


def test_help_through_the_real_entry_loads_neither_the_engine_nor_a_command() -> None:
    code = (
        "import sys; sys.argv = ['replay', '--help']; from replay.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=PLAIN).stdout
    modules = set(found.splitlines()[-1].split())
    assert "replay.cli.exit_codes" in modules
    assert {name for name in modules if name.startswith("replay.cli.commands.")} == set()
    assert modules & {"replay.engine", "replay.cli.store", "redis", "pika", "rich", "croniter", "sqlite3"} == set()


def test_the_version_is_that_of_the_distribution() -> None:
    code = "import replay; print(replay.__version__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=PLAIN).stdout
    assert found.strip() == version("replay-engine")


@pytest.mark.parametrize("package", ["replay", "replay.testing"])
def test_no_public_name_is_hidden_by_a_module_of_the_same_name(package: str) -> None:
    code = (
        f"import importlib, types; p = importlib.import_module({package!r}); twice = [*p.__all__, *p.__all__]; "
        "print(*(n for n in twice if isinstance(getattr(p, n), types.ModuleType)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=PLAIN).stdout
        == "\n"
    )


def test_the_old_name_of_start_result_works_and_warns() -> None:
    with pytest.warns(DeprecationWarning, match=r"replay\.Waited is deprecated.*use replay\.StartResult") as warned:
        old = replay.Waited
    assert old is replay.StartResult
    assert [warning.filename for warning in warned] == [__file__], "the warning names the caller's line"
    assert "Waited" not in replay.__all__


def test_the_version_of_a_source_tree_that_is_not_installed_is_unknown() -> None:
    code = f"import runpy; print(runpy.run_path({version_module.__file__!r})['installed_version']())"
    bare = [sys.executable, "-I", "-S", "-c", code]  # neither this folder nor site-packages
    assert subprocess.run(bare, capture_output=True, text=True, check=True, env=PLAIN).stdout == "unknown\n"
