"""The commands on the shell, each through a real process on a real store; wrong usage gives a message, not a traceback."""

from __future__ import annotations

import compileall
import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import replay as replay_package
from replay import Engine
from replay.cli.catalogue import all_commands, command_names, load_command, summary_of
from tests.e2e.app import GO, five_steps, waits
from tests.e2e.commands import on_a_terminal, replay
from tests.e2e.processes import Worker
from tests.servers.process import PATIENCE, until


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store with a completed, a waiting and a pending execution."""
    folder = tmp_path_factory.mktemp("cli")
    url = f"sqlite:///{folder}/x.db"
    os.environ["REPLAY_TEST_LEDGER"] = os.devnull
    with Engine(url, workflows=[five_steps, waits], worker=True) as engine:
        engine.start(five_steps, 1, id="done").result(PATIENCE)
        engine.start(waits, id="waiting")
        until(lambda: engine.get_execution("waiting").status == "sleeping")
    return url


@pytest.mark.parametrize("command", command_names())
def test_every_command_has_help_with_an_example(command: str) -> None:
    assert "Example:" in replay(command, "--help")


def test_every_command_below_a_group_has_an_example_and_json_where_it_prints_facts() -> None:
    groups = {names[0] for names in all_commands() if len(names) > 1}
    for names, command in {**all_commands(), **{(name,): load_command(name) for name in groups}}.items():
        assert command.epilog is not None, names
        assert "Example: " in command.epilog, names
        assert f"replay{'-worker' if names == ('worker',) else ''} " in command.epilog, names
        flags = {flag for option in command.params for flag in option.opts}
        assert "--json" in flags or names[0] in groups or names[0] in ("completion", "worker"), names


def test_help_lists_all_commands_and_exit_codes() -> None:
    text = replay("--help")
    assert all(command in text for command in command_names())
    assert "130" in text


def test_help_of_a_group_has_a_summary_for_each_command_from_the_first_line_of_its_module() -> None:
    text = " ".join(replay("--help").split())
    for name in command_names():
        assert f"{name} {summary_of(name)}" in text
        first_line = (sys.modules[load_command(name).callback.__module__].__doc__ or "").splitlines()[0]  # type: ignore[union-attr]
        assert first_line.lower() == f"`replay {name}`: {summary_of(name)}".lower()


def test_commands_are_found_in_a_zip_and_where_only_byte_code_is_installed(tmp_path: Path) -> None:
    root = Path(replay_package.__file__).parent
    code = "import sys, replay; from replay.cli.root import cli; print(replay.__file__); cli(['--help'])"
    with zipfile.PyZipFile(str(tmp_path / "source.zip"), "w") as archive:
        for path in sorted(root.rglob("*.py")):
            archive.write(path, Path("replay") / path.relative_to(root))
    folder = tmp_path / "bytecode"
    shutil.copytree(root, folder / "replay", ignore=shutil.ignore_patterns("__pycache__"))
    assert compileall.compile_dir(folder, quiet=1, legacy=True)
    for path in folder.rglob("*.py"):
        path.unlink()
    for place in (tmp_path / "source.zip", folder):
        found = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(place)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        where, listing = found.stdout.split("\n", 1)
        assert where.startswith(str(place))
        assert all(summary_of(name).split()[0] in listing for name in command_names())
        assert "Ask an execution to stop." in listing


def test_list_is_tab_separated_when_piped_and_json_on_request(store: str) -> None:
    lines = replay("list", "--store", store).splitlines()
    assert lines[0].split("\t")[:3] == ["id", "workflow", "status"]
    assert {line.split("\t")[0] for line in lines[1:]} == {"done", "waiting"}
    found = [
        json.loads(line) for line in replay("list", "--store", store, "--json", "--status", "completed").splitlines()
    ]
    assert [x["id"] for x in found] == ["done"]
    assert "completed\t1" in replay("list", "--store", store, "--count")


def test_show_draws_the_timeline_and_says_where_it_is_now(store: str) -> None:
    assert "step s4 -> 14" in replay("show", "done", "--store", store)
    assert "waits for signal go at" in replay("show", "waiting", "--store", store)
    detail = json.loads(replay("show", "waiting", "--store", store, "--json"))
    assert detail["execution"]["current"][0]["signal"] == "go"


def test_history_can_be_exported_and_checked(store: str, tmp_path: Path) -> None:
    replay("history", "done", "--store", store, "--export", str(tmp_path / "h" / "done.json"))
    assert "1 histories replayed, 0 do not fit" in replay(
        "check", "tests.e2e.app:all_workflows", "--histories", str(tmp_path / "h")
    )
    text = (tmp_path / "h" / "done.json").read_text().replace('"s3"', '"renamed"')
    (tmp_path / "h" / "done.json").write_text(text)
    message = replay("check", "tests.e2e.app:all_workflows", "--histories", str(tmp_path / "h"), code=4)
    assert "StepDone('renamed')" in message
    assert "Step('s3')" in message
    assert "2 histories replayed" in replay("check", "tests.e2e.app:all_workflows", "--store", store)
    assert '"format"' in replay("export", "--store", store)
    assert "StepDone" in replay("history", "done", "--store", store)


def test_start_signal_wait_and_cancel(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    worker = Worker(url, tmp_path)
    try:
        assert (
            replay(
                "start", "tests.e2e.app:five_steps", "2", "--store", url, "--wait", "--wait-timeout", f"{PATIENCE}s"
            ).strip()
            == "110"
        )
        assert replay("start", "tests.e2e.app:waits", "--store", url, "--id", "w").strip() == "w"
        assert "no result" not in replay("wait", "w", "--store", url, "--timeout", "0.1s", code=6)
        replay("signal", "w", GO.id, "7", "--store", url)
        assert json.loads(replay("wait", "w", "--store", url, "--timeout", "30", "--json")) == {"id": "w", "result": 7}
        assert "already ended" in replay("signal", "w", GO.id, "7", "--store", url, code=1)
        replay("start", "tests.e2e.app:waits", "--store", url, "--id", "v")
        replay("cancel", "v", "--store", url, "--reason", "enough")
        assert "enough" in replay("wait", "v", "--store", url, "--timeout", "30", code=1)
        assert worker.process.poll() is None
        assert "five_steps" in replay("workers", "--store", url)
        replay("doctor", "--store", url)
    finally:
        worker.kill()
    replay("delete", "v", "--store", url)
    assert "would be removed" in replay("purge", "--older-than", "0s", "--store", url)
    replay("purge", "--older-than", "0s", "--store", url, "--yes")
    assert replay("list", "--store", url).count("\n") == 1


def test_operator_commands(store: str) -> None:
    assert "retry takes failed" in replay("retry", "done", "--store", store, code=1)
    assert replay("fork", "done", "--store", store, "--before", "s2").strip().startswith("fork-")
    assert replay("stuck", "--store", store).startswith("id\t")
    assert "flowchart TD" in replay("describe", "tests.e2e.app:waits", "--mermaid")


def test_schedules(store: str) -> None:
    replay("schedule", "add", "nightly", "tests.e2e.app:five_steps", "1", "--cron", "0 2 * * *", "--store", store)
    assert "0 2 * * *" in replay("schedule", "list", "--store", store)
    assert "coming" in replay("schedule", "show", "nightly", "--store", store)
    assert json.loads(replay("schedule", "pause", "nightly", "--store", store, "--json"))["paused"] is True
    replay("schedule", "resume", "nightly", "--store", store)
    replay(
        "schedule", "update", "nightly", "--cron", "0 3 * * *", "--app", "tests.e2e.app:all_workflows", "--store", store
    )
    assert replay("schedule", "trigger", "nightly", "--store", store).startswith("nightly~now-")
    replay("schedule", "remove", "nightly", "--store", store)
    replay("schedule", "show", "nightly", "--store", store, code=5)


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["show", "nobody", "--store", "{store}"], 5, "no execution"),
        (["show", "x"], 2, "--store"),
        (["list", "--store", "nonsense"], 2, "not a URL"),
        (["list", "--store", "mysql://x"], 2, "no backend"),
        (["list", "--store", "{store}", "--status", "nonsense"], 2, "nonsense"),
        (["start", "no.such:thing", "--store", "{store}"], 2, "no module"),
        (["start", "tests.e2e.app:nothing", "--store", "{store}"], 2, "has no"),
        (["start", "tests.e2e.app:five_steps", "{bad", "--store", "{store}"], 2, "must be JSON"),
        (["nonsense"], 2, "No such command"),
        (["demo", "/no/such/file.csv"], 2, "does not exist"),
        (["start", "tests.e2e.app:waits", '"x"', "--store", "{store}"], 2, "takes no input. Fix: "),
        (["start", "tests.e2e.app:waits", "--at", "tomorrow", "--store", "{store}"], 2, "Fix: write 2026-01-31"),
        (["history", "done", "--export", "/proc/x/y", "--store", "{store}"], 1, "/proc/x: No such file"),
        (["purge", "--older-than", "0s", "--yes", "--export", "/no/x", "--store", "{store}"], 1, "/no/x: No such"),
        (["schedule", "add", "n", "tests.e2e.app:waits", "--cron", "x", "--store", "{store}"], 2, "cron expression"),
        (["schedule", "add", "n", "tests.e2e.app:waits", "--store", "{store}"], 2, "exactly one of cron"),
        (["list", "--store", "{store}", "--status", "nope"], 2, "'compensation_failed', 'stuck'"),
        (["list", "--store", "sqlite:///:memory:"], 2, "lives within one process"),
        (["cancel", "--store", "{store}"], 2, "pass an EXECUTION, or filters"),
        (["cancel", "done", "--workflow", "waits", "--store", "{store}"], 2, "pass an EXECUTION, or filters"),
        (["demo", "--keep", "/no/folder/x.db"], 2, "no folder /no/folder"),
    ],
)
def test_wrong_usage_says_what_is_wrong(store: str, args: list[str], code: int, text: str) -> None:
    assert text in replay(*[arg.replace("{store}", store) for arg in args], code=code)


def test_the_demo_survives_its_kill(tmp_path: Path) -> None:
    text = replay("demo")
    assert "worker-1 killed with SIGKILL" in text
    assert "no recorded step ran again" in text
    assert "all ended: 5 completed" in text
    mine, kept = tmp_path / "mine.csv", tmp_path / "kept.db"
    mine.write_text("id,item,quantity,price,approver\nx-1,tea,1,2.50,ann\n")
    (line,) = replay("demo", str(mine), "--keep", str(kept), "--json").splitlines()
    assert json.loads(line)["execution"]["result"]["by"] == "ann"
    app = ("--app", "replay.demo.orders:approve_order")
    assert "signal approved <- Approval(by='ann')" in replay("show", "x-1", "--store", f"sqlite:///{kept}", *app)


def test_the_demo_keeps_any_file_and_says_how_to_look_at_it(tmp_path: Path) -> None:
    mine, kept = tmp_path / "mine.csv", tmp_path / "is it 100%20 kept?.db"
    mine.write_text('id,item,quantity,price,approver\nx-1,"tea\x1b[31m",1,2.50,ann\n')
    text = replay("demo", str(mine), "--keep", str(kept))
    assert kept.exists()
    assert "\x1b" not in text
    (hint,) = [line for line in text.splitlines() if line.startswith("look at one: replay ")]
    assert "signal approved <- Approval(by='ann')" in replay(*shlex.split(hint)[4:])


def test_the_demo_approves_every_order_that_has_an_approver_however_many_there_are(tmp_path: Path) -> None:
    orders = tmp_path / "orders.csv"
    lines = ["id,item,quantity,price,approver", *(f"o-{n},tea,1,2.50,ann" for n in range(300))]
    orders.write_text("\n".join(lines))
    found = [json.loads(line)["execution"] for line in replay("demo", str(orders), "--json").splitlines()]
    assert [execution["result"]["status"] for execution in found] == ["approved"] * 300


def test_the_demo_tells_all_mistakes_of_a_file_before_it_makes_anything(tmp_path: Path) -> None:
    file, kept = tmp_path / "bad.csv", tmp_path / "kept.db"

    def demo(content: bytes) -> str:
        file.write_bytes(content)
        text = replay("demo", str(file), "--keep", str(kept), code=2)
        assert not kept.exists()
        assert str(file) in text
        return text

    header = b"id,item,quantity,price,approver\n"
    assert "line 1: column 'quantity' is missing" in demo(b"id,item\n1,x\n")
    assert "column 'colour' is not known" in demo(header.strip() + b",colour\nx,tea,1,2,ann,red\n")
    assert "is not UTF-8" in demo(header + b"x,t\xe9,1,2,ann\n")
    text = demo(
        header + b"x 1,t,1,2,\nx-2,t,0,2,\nx-3,t,1,NaN,\nx-4,t,1,-2,\nx-5,t,1,2,,more\nx-6,t,1,2,\nx-6,t,1,2,\n"
    )
    for line in (2, 3, 4, 5, 6, 8):
        assert f"bad.csv, line {line}: " in text
    assert "line 7" not in text


def test_watch_follows_an_execution_to_its_end(store: str) -> None:
    lines = replay("watch", "done", "--store", store).splitlines()
    assert "created" in lines[0]
    assert "ended completed" in lines[-1]
    assert [json.loads(line)["index"] for line in replay("watch", "done", "--store", store, "--json").splitlines()]
    replay("watch", "waiting", "--store", store, "--timeout", "0.2s", code=6)
    replay("watch", "nobody", "--store", store, code=5)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(name: str) -> None:
    assert "_REPLAY_COMPLETE" in replay("completion", name)


def test_purge_counts_first_and_exports_before_it_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLAY_TEST_LEDGER", os.devnull)
    url = f"sqlite:///{tmp_path}/p.db"
    with Engine(url, workflows=[five_steps], worker=True) as engine:
        for n in range(3):
            engine.start(five_steps, n, id=f"e-{n}").result(PATIENCE)
    purge = ("purge", "--older-than", "0s", "--store", url)
    assert "3 executions would be removed" in replay(*purge)
    kept = tmp_path / "kept.jsonl"
    assert json.loads(replay(*purge, "--export", str(kept), "--yes", "--json")) == {"count": 3, "removed": True}
    assert replay("list", "--store", url, "--json") == ""
    text = replay("check", "tests.e2e.app:all_workflows", "--histories", str(kept))
    assert "3 histories replayed, 0 do not fit" in text


def test_the_remaining_commands_do_what_they_say(store: str, tmp_path: Path) -> None:
    exported = replay("export", "--store", store).splitlines()
    assert {json.loads(line)["header"]["id"] for line in exported} >= {"done", "waiting"}
    empty = f"sqlite:///{tmp_path}/new.db"
    Engine(empty).close()
    health = replay("doctor", "--store", empty)
    assert "executions     none" in health
    noted = json.loads(replay("doctor", "--store", f"sqlite:///{tmp_path}/new.db", "--json"))
    assert (noted["warnings"], "no worker is alive" in noted["notes"][0]) == ([], True)
    assert replay("workers", "--store", store).startswith("name\t")
    replay("lint", "tests.e2e.app:five_steps")
    fork = replay("fork", "done", "--store", store, "--before", "s3").strip()
    replay("cancel", fork, "--store", store)
    replay("worker", "tests.e2e.app:all_workflows", "--store", store, "--burst")
    assert "deleted" in replay("delete", fork, "--store", store)
    replay("delete", "waiting", "--store", store, code=1)


def test_on_a_terminal_tables_are_drawn_and_no_color_is_respected(store: str) -> None:
    colourful = on_a_terminal("list", "--store", store)
    assert "\t" not in colourful
    assert "\x1b[" in colourful
    plain = on_a_terminal("list", "--store", store, NO_COLOR="1")
    assert "\x1b" not in plain, "neither colours nor weights"
    assert "done" in plain
    assert "ended completed" in on_a_terminal("watch", "done", "--store", store)


@pytest.mark.parametrize("command", command_names())
def test_every_command_tells_of_a_flag_that_it_does_not_know(command: str) -> None:
    assert "--nonsense" in replay(command, "--nonsense", code=2)


def test_long_work_shows_a_bar_on_a_terminal_and_none_when_piped() -> None:
    arguments = ("simulate", "tests.sim.corpus:approval", "--signal", "go=4", "--seeds", "300")
    assert replay(*arguments).splitlines() == ["300 seeds: each run ended as undisturbed"]
    shown = on_a_terminal(*arguments)
    assert "/300" in shown
    assert "\u2501" in shown, "a bar"
