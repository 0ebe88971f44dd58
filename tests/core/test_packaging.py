"""What a user installs: the wheel, built from the sdist, holds all that runs and nothing generic at its top."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # Without isolation: the build backend is the one that is installed, so that this needs no network.
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--skip-dependency-check",
        "--outdir",
        str(folder),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


def test_the_wheel_holds_backends_scripts_types_and_the_demo(built: Path) -> None:
    (wheel,) = built.glob("replay_engine-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "replay", "backends"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [name for name in tracked.stdout.split() if name.endswith((".py", ".lua", ".sql", ".csv", "py.typed"))]
    expected = {name if name.startswith("replay/") else f"replay/{name}" for name in files}
    assert expected - names == set()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"replay"}


def test_the_sdist_holds_what_the_wheel_is_built_from(built: Path) -> None:
    (sdist,) = built.glob("replay_engine-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "replay/py.typed"} <= names
    assert "replay/backends/redis/lua/scripts/commit.lua" in names
    assert "replay/backends/redis/lua/lib/base.lua" in names
    assert "replay/backends/postgres/migrations/0001_tables.sql" in names


def test_the_wheel_runs_where_it_is_unpacked(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("replay_engine-*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import replay, replay.backends.redis, replay.backends.rabbitmq, replay.demo.orders as demo, pathlib; "
        "from replay.backends.redis.scripts import *; print(replay.__file__); "
        "assert (pathlib.Path(demo.__file__).parent / 'orders.csv').exists()"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
