"""Nothing that is stored reaches a terminal, a pipe or a text log raw; any encoding and closed streams will do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replay import Context, Engine, Flow, Signal, workflow
from replay.cli.text import safe, safe_json, safe_lines
from tests.e2e.processes import ROOT
from tests.servers.process import PATIENCE, until

EVIL = "\x1b]0;owned\x07\x1b[2J\r\nforged: line\x9b31m\u202egnp.exe\u2066\x00\x85\u2028end"
RAW = ["\x1b", "\x07", "\r", "\x9b", "\u202e", "\u2066", "\x00", "\x85", "\u2028"]
Go = Signal("go")


def raises() -> None:
    raise ValueError(EVIL)


@workflow("evil.fails", metadata={"colour": EVIL})
def fails(ctx: Context, value: str) -> Flow[None]:
    yield ctx.note(EVIL, text=EVIL)
    yield ctx.step("raises", raises)


@workflow("evil.waits")
def waits(ctx: Context, value: str) -> Flow[Any]:
    return (yield from ctx.wait_for_signal(Go))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('evil')}/x.db"
    with Engine(url, workflows=[fails, waits], worker=True) as engine:
        engine.start(fails, EVIL, id="failed")
        engine.start(waits, EVIL, id="cancelled", metadata={"colour": EVIL})
        engine.start(waits, EVIL, id="done")
        engine.start(waits, EVIL, id="waiting")
        engine.cancel("cancelled", EVIL)
        engine.signal("done", Go, EVIL)
        until(lambda: engine.count_executions() == {"failed": 1, "cancelled": 1, "completed": 1, "sleeping": 1})
        engine.ensure_schedule(waits, EVIL, id="nightly", cron="0 0 * * *")
    return url


def run(*args: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    command = [sys.executable, "-c", "from replay.cli import main; main()", *args]
    return subprocess.run(command, capture_output=True, env=environment, timeout=PATIENCE, check=False, **options)


COMMANDS = [
    ("list",), ("list", "--metadata", f'colour="{EVIL}"'), ("show", "failed"), ("show", "cancelled"), ("show", "done"), ("show", "waiting"),
    ("history", "failed"), ("history", "cancelled"), ("wait", "failed"), ("wait", "cancelled"), ("wait", "done"), ("stuck",), ("workers",),
    ("doctor",), ("schedule", "list"), ("schedule", "show", "nightly"), ("cancel", "cancelled"), ("signal", "failed", EVIL), ("export",),
    ("retry", "failed", "--reason", EVIL), ("force-fail", "waiting", "--why", EVIL), ("show", EVIL), ("list", "--workflow", EVIL),
]  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: safe(" ".join(command))[:40])
def test_nothing_stored_is_printed_raw(command: tuple[str, ...], as_json: bool, store: str) -> None:
    if "\x00" in "".join(command):
        command = tuple(part.replace("\x00", "") for part in command)  # no argument of a process holds it
    found = run(*command, "--store", store, *(["--json"] if as_json else []))
    text = (found.stdout + found.stderr).decode()
    assert "Traceback" not in text, text
    assert [raw for raw in RAW if raw in text] == [], text
    assert not any(line.startswith("forged") for line in text.splitlines()), text
    if as_json and found.returncode == 0:
        for line in found.stdout.decode().splitlines():
            json.loads(line)


def test_a_text_log_is_neither_steered_nor_forged(store: str, tmp_path: Path) -> None:
    with Engine(f"sqlite:///{tmp_path}/log.db", workflows=[fails]) as engine:
        engine.start(fails, EVIL)
    command = [
        sys.executable,
        "-c",
        "from replay.cli.worker import main; main()",
        "tests.e2e.test_hostile_output:fails",
    ]
    found = subprocess.run(
        [*command, "--store", f"sqlite:///{tmp_path}/log.db", "--burst"], capture_output=True, timeout=PATIENCE, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    text = (found.stdout + found.stderr).decode()
    assert "ValueError" in text
    assert [raw for raw in RAW if raw in text] == [], text
    assert not any(line.startswith("forged") for line in text.splitlines()), text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_encoding_of_the_output_will_do(encoding: str, store: str) -> None:
    for command in (("show", "failed"), ("list", "--json"), ("export",), ("show", "日本")):
        found = run(*command, "--store", store, env={"PYTHONIOENCODING": encoding})
        assert b"Traceback" not in found.stderr, found.stderr
        assert found.returncode == (2 if command[-1] == "日本" else 0), found.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_will_do(closed: str, store: str) -> None:
    script = f'"{sys.executable}" -c "from replay.cli import main; main()" list --store {store} {closed}'
    found = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr == b""
    with Engine(store) as engine:  # nothing was written into the store's file instead
        assert sum(engine.count_executions().values()) == 4


def test_text_is_made_harmless() -> None:
    assert safe(EVIL).isprintable()
    assert safe("naïve 日本") == "naïve 日本"
    assert safe_lines("a\nb\n c\x1b") == "a\n    b\n c\\x1b"
    assert json.loads(safe_json({"a": EVIL + "\ud800"})) == {"a": EVIL + "\ud800"}
    assert safe_json("日本 \U0001f600") == '"日本 \U0001f600"'
    assert safe_json("\U000e0001") == '"\\udb40\\udc01"'
