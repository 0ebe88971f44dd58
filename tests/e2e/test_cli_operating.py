"""The commands of whoever runs this at 3 a.m.: filters, one or many, what was wrong, and nothing that happens by mistake."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replay import Context, Engine, Flow, workflow
from replay.cli.commands.purge import remove
from replay.cli.timeline import failure_lines
from replay.codec import TaggedJson
from replay.core import requests as r
from replay.core.errors import StepFailed
from tests.e2e.app import GO, fails_at, waits
from tests.e2e.commands import on_a_terminal, replay
from tests.e2e.processes import ROOT
from tests.servers.process import PATIENCE, until


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Three waiting executions with metadata, two failed ones."""
    url = f"sqlite:///{tmp_path}/x.db"
    with Engine(url, workflows=[waits, fails_at], worker=True) as engine:
        for n in range(3):
            engine.start(waits, id=f"w-{n}", metadata={"region": "eu" if n else "us", "n": n})
        for n in range(2):
            engine.start(fails_at, "charge", id=f"f-{n}")
        until(lambda: engine.count_executions() == {"failed": 2, "sleeping": 3})
    return url


def test_a_list_is_filtered_by_all_that_is_known_of_executions(store: str) -> None:
    def found(*filters: str) -> list[str]:
        lines = replay("list", "--json", "--store", store, *filters).splitlines()
        return sorted(json.loads(line)["id"] for line in lines)

    assert found("--metadata", "region=eu") == ["w-1", "w-2"]
    assert found("--metadata", "region=eu", "--metadata", "n=2") == ["w-2"]
    assert found("--id-prefix", "f-", "--status", "failed", "--created-after", "1h") == ["f-0", "f-1"]
    assert found("--created-before", "1h") == []
    assert found("--updated-after", "2020-01-31T08:00+01:00", "--workflow", "waits") == ["w-0", "w-1", "w-2"]
    assert replay("list", "--count", "--metadata", "region=eu", "--store", store).splitlines()[1:] == ["sleeping\t2"]


def test_many_are_counted_before_anything_happens_to_them(store: str) -> None:
    where = ("--store", store)
    assert "2 executions match; add --yes" in replay("cancel", "--metadata", "region=eu", *where)
    cancel = ("cancel", "--metadata", "region=eu", "--yes", "--json", *where)
    assert json.loads(replay(*cancel)) == {"count": 2, "done": 2, "yes": True}
    retry = ("retry", "--all", "fails_at", "--json", *where)
    assert json.loads(replay(*retry)) == {"count": 2, "done": 0, "yes": False}
    assert replay("list", "--count", "--status", "failed", *where).splitlines()[1:] == ["failed\t2"]
    assert json.loads(replay("delete", "--id-prefix", "f-", "--json", *where)) == {"count": 2, "done": 0, "yes": False}
    assert "2 of 2 executions: deleted" in replay("delete", "--id-prefix", "f-", "--yes", *where)
    replay("show", "f-0", *where, code=5)


def test_interventions_wait_for_yes_and_stand_in_the_audit_trail_with_who_and_why(store: str) -> None:
    given = ("--store", store, "--by", "ann", "--why", "paid by hand")
    assert "add --yes, and it will be: failed by force" in replay("force-fail", "w-0", *given)
    replay("force-fail", "w-0", *given, "--yes")
    audit = json.loads(replay("show", "w-0", "--json", "--store", store))["audit"]
    assert [entry["type"] for entry in audit][-2:] == ["Intervened", "Ended"]
    assert (audit[-2]["by"], audit[-2]["why"]) == ("ann", "paid by hand")
    replay("skip-step", "f-0", "charge", '{"paid": true}', *given, "--yes")
    assert "step charge -> {'paid': True}" in replay("show", "f-0", "--store", store)
    assert "takes executions that have not ended" in replay(
        "edit-step-result", "f-1", "charge", "1", *given, "--yes", code=1
    )
    assert "takes failed rollbacks" in replay("retry-rollback", "f-1", *given, code=1)
    assert "--why" in replay("force-fail", "w-1", "--store", store, code=2)


def test_show_tells_the_whole_chain_of_causes_with_the_traceback_of_the_step(store: str) -> None:
    text = replay("show", "f-0", "--store", store)
    assert "error     StepFailed: step 'charge' failed" in text
    assert "caused by Declined: no money" in text
    assert "caused by KeyError: 'card'" in text
    assert "in look_up" in text, "the frame of the step's own helper"
    assert "driver.py" not in text, "no frames of the engine"
    error = json.loads(replay("show", "f-0", "--store", store, "--json"))["execution"]["error"]
    assert [cause["type"] for cause in error["causes"]] == ["Declined", "KeyError"]
    assert "in look_up" in error["causes"][1]["traceback"]


@pytest.mark.parametrize("file", ["core/interpreter", "worker/steps", "worker/pool", "steps", "pool"])
def test_frames_of_the_engine_are_left_out_of_its_own_errors_also_of_logs_from_version_0_1(file: str) -> None:
    codec = TaggedJson()
    failure = StepFailed("charge", attempts=1, cause=ValueError("no"))
    failure.__traceback__ = None
    restored = codec.decode(codec.encode(failure))
    own = '  File "/shop/orders.py", line 3, in charge\n    raise ValueError\n'
    engine = f'  File "/lib/replay/{file}.py", line 9, in perform\n    body()\n'
    restored._replay_traceback = f"Traceback (most recent call last):\n{engine}{own}"
    shown = "\n".join(failure_lines(restored))
    assert "orders.py" in shown
    assert "perform" not in shown


def test_a_start_takes_all_that_an_engine_takes(store: str) -> None:
    start = ("start", "tests.e2e.app:waits", "--store", store, "--json", "--metadata", "region=asia", "--priority", "7")
    later = json.loads(replay(*start, "--delay", "1h", "--timeout", "2h", "--idempotency-key", "k"))["id"]
    assert json.loads(replay(*start, "--delay", "1h", "--timeout", "2h", "--key", "k"))["id"] == later
    dated = json.loads(replay(*start, "--at", "2100-01-31T08:00+01:00"))["id"]
    with Engine(store) as engine:
        found = [engine.get_execution(id) for id in (later, dated)]
        assert [(x.priority, x.metadata) for x in found] == [(7, {"region": "asia"})] * 2
        assert found[0].due_at == pytest.approx(found[0].created_at + 3600)
        assert found[1].due_at == 4105062000.0


def test_a_schedule_takes_all_options_and_its_execution_is_told(store: str) -> None:
    options = (
        "--interval",
        "1h",
        "--jitter",
        "10s",
        "--until",
        "2100-01-01",
        "--catch-up-window",
        "2h",
        "--timeout",
        "1d",
    )
    add = (
        "schedule",
        "add",
        "often",
        "tests.e2e.app:waits",
        "--catch-up-limit",
        "5",
        *options,
        "--store",
        store,
        "--json",
    )
    assert json.loads(replay(*add))["interval"] == 3600
    triggered = json.loads(replay("schedule", "trigger", "often", "--store", store, "--json"))
    assert json.loads(replay("show", triggered["id"], "--store", store, "--json"))["execution"]["workflow"] == "waits"


def test_a_signal_that_nobody_waits_for_is_noted_and_with_the_workflows_checked(store: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", "from replay.cli import main; main()", "signal", "w-0", "og", "1", "--store", store],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert f"w-0 waits for {GO.id}, not for 'og'" in found.stderr


@pytest.mark.parametrize("command", [["list"], ["show", "x"], ["stuck"], ["doctor"], ["purge", "--older-than", "1d"]])
def test_looking_at_a_store_that_is_not_there_does_not_make_it(command: list[str], tmp_path: Path) -> None:
    message = replay(*command, "--store", "sqlite:///typo.db", cwd=tmp_path, code=3)
    assert "there is no file typo.db" in message
    assert "Fix: check the path" in message
    assert not list(tmp_path.iterdir())


ODD = """
import click
from replay.cli.invocation import run

@click.command("odd")
def odd():
    raise ZeroDivisionError("of ours")

run(odd, "odd")
"""


def test_an_unexpected_error_is_a_line_and_a_traceback_on_request() -> None:
    for more, variables in (([], {}), (["--traceback"], {}), ([], {"REPLAY_TRACEBACK": "1"})):
        found = subprocess.run(
            [sys.executable, "-c", ODD, *more],
            capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        )  # fmt: skip
        assert found.returncode == 1
        assert ("Traceback" in found.stderr) is bool(more or variables)
        *_, line = found.stderr.splitlines()
        assert line.startswith(
            "error: ZeroDivisionError: of ours. Fix: see where with --traceback (or REPLAY_TRACEBACK=1)"
        )


def test_an_interrupt_exits_with_130(store: str) -> None:
    command = [sys.executable, "-c", "from replay.cli import main; main()", "watch", "w-1", "--store", store]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()  # it watches
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 130
    assert b"Traceback" not in errors


def test_a_simulation_of_an_unreachable_store_does_not_warn_of_it(tmp_path: Path) -> None:
    arguments = ["simulate", "tests.sim.corpus:approval", "--signal", "go=4", "--seeds", "20"]
    found = subprocess.run(
        [sys.executable, "-c", "from replay.cli import main; main()", *arguments],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert found.stderr == ""


def test_purge_takes_ended_statuses_only_and_says_so_before_it_writes_anything(store: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    purge = ("purge", "--older-than", "0s", "--store", store, "--export", str(kept))
    refused = replay(*purge, "--status", "failed", "--status", "sleeping", "--yes", code=2)
    assert "--status sleeping is none that this takes" in refused
    assert "Fix: choose from completed, failed, cancelled, compensation_failed" in refused
    assert not kept.exists()


def test_what_would_be_refused_is_refused_before_it_is_counted_or_promised(store: str) -> None:
    for command, status in (("retry", "completed"), ("delete", "sleeping"), ("cancel", "failed")):
        assert f"--status {status} is none" in replay(command, "--status", status, "--store", store, code=2)
    replay("retry", "--status", "stuck", "--store", store)
    with Engine(store) as engine:
        before = engine.ask(r.Find()).headers
        failed, waiting = (engine.find_executions(status=each).items[0].id for each in ("failed", "sleeping"))
        for command, refusal in (
            (("force-fail", failed), "force_fail ends what has not ended"),
            (("skip-step", waiting, "nothing"), "nothing"),
            (("edit-step-result", waiting, "nothing", "1"), "nothing"),
        ):
            assert refusal in replay(*command, "--why", "a test", "--store", store, code=1)
        told = replay("force-fail", waiting, "--why", "a test", "--store", store)
        assert told == f"{waiting} (waits, sleeping); add --yes, and it will be: failed by force\n"
        assert engine.ask(r.Find()).headers == before


def test_purge_goes_on_past_what_is_gone_or_retried_meanwhile_and_keeps_what_it_cannot_export(
    store: str, tmp_path: Path
) -> None:
    with Engine(store, workflows=[fails_at], worker=True) as engine:
        for n in range(2, 6):
            engine.start(fails_at, "charge", id=f"f-{n}")
        until(lambda: engine.count_executions() == {"failed": 6, "sleeping": 3})
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("UPDATE log SET entry = x'00' WHERE seq = 1 AND x = (SELECT x FROM execution WHERE id = 'f-3')")
    db.close()
    kept = tmp_path / "kept.jsonl"
    with Engine(store) as engine:
        listed = [execution.id for execution in engine.find_executions(status="failed")]
        engine.operator.delete("f-1")  # as retention does
        engine.operator.retry("f-5")
        removed, refusals = remove(engine, listed, kept)
        assert removed == 3
        assert [id for id, _ in refusals] == ["f-3", "f-5"]
        assert [x.id for x in engine.find_executions(id_prefix="f-")] == ["f-5", "f-3"]
    ids = [json.loads(line)["header"]["id"] for line in kept.read_text().splitlines()]
    assert ids == ["f-5", "f-4", "f-2", "f-0"]
    where = ("--older-than", "0s", "--status", "failed", "--store", store, "--export", str(kept), "--yes")
    told = replay("purge", *where, code=1)
    assert told.startswith("0 executions removed\nf-3: execution 'f-3', log entry #1")


def test_a_schedule_shows_how_it_is_spread_and_bounded_when_it_ends_and_why_it_does_not_fire(store: str) -> None:
    add = (
        "schedule",
        "add",
        "s",
        "tests.e2e.app:waits",
        "--store",
        store,
        "--cron",
        "@daily",
        "--timezone",
        "Europe/Paris",
    )
    replay(*add, "--jitter", "30s", "--until", "2099-12-31", "--timeout", "5m", "--catch-up", "all")
    told = replay("schedule", "show", "s", "--store", store)
    for line in (
        "jitter    30 s\n", "until     2099-12-31 00:00:00\n", "timeout   300 s\n",
        "catch up  all, at most 86400 s old, 100 at once\n",
    ):  # fmt: skip
        assert line in told
    assert "problem" not in told
    with Engine(store) as engine:
        for change in (b'"timezone": "Mars/Base"', b'"timezone": "UTC", "cron": null, "calendar": "easter"'):
            row = engine.ask(r.GetSchedule("s"))
            assert row is not None
            spec = row.spec.replace(b"}", b", " + change + b"}")
            assert engine.ask(r.PutSchedule(msgspec.structs.replace(row, spec=spec), row.version)).applied
            (problem,) = [record.problem for record in engine.list_schedules()]
            assert problem is not None
            assert f"problem   {problem}\n" in replay("schedule", "show", "s", "--store", store)
            assert replay("schedule", "list", "--store", store).endswith(f"\t{problem}\n")


@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["export"], ["show", "w-0"], ["schedule", "list"]])
def test_a_reader_that_has_read_enough_is_no_failure(store: str, command: list[str]) -> None:
    reader, pipe = os.pipe()
    os.close(reader)
    try:
        found = subprocess.run(
            [sys.executable, "-c", "from replay.cli import main; main()", *command, "--store", store],
            stdout=pipe, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=PATIENCE, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    finally:
        os.close(pipe)
    assert found.returncode == 0, found.stderr
    assert "rror" not in found.stderr


def test_a_description_of_several_workflows_says_which_is_which() -> None:
    header, *rows = replay("describe", "tests.e2e.app:all_workflows").splitlines()
    assert header.split("\t")[:3] == ["workflow", "kind", "id"]
    assert {row.split("\t")[0] for row in rows} == {"five_steps", "sleepy", "held", "waits", "collects"}
    charts = replay("describe", "tests.e2e.app:all_workflows", "--mermaid").split("%% ")[1:]
    assert [chart.splitlines()[:2] for chart in charts] == [
        [key, "flowchart TD"] for key in ("five_steps", "sleepy", "held", "waits", "collects")
    ]


@workflow
def takes_anything(ctx: Context, input: Any) -> Flow[None]:
    yield ctx.note("a workflow that is never run")


def test_json_is_json_whatever_an_input_holds(store: str) -> None:
    with Engine(store, workflows=[takes_anything]) as engine:
        engine.start(takes_anything, "half a pair: \ud800, é", id="odd-1")
        engine.start(takes_anything, [float("nan"), float("-inf"), 1.5], id="odd-2")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = replay("list", "--json", "--id-prefix", "odd", "--store", store).splitlines()
    found = [json.loads(line, parse_constant=refuse)["input"] for line in lines]
    assert found == [["nan", "-inf", 1.5], "half a pair: \ud800, é"]


def test_what_waits_in_the_inbox_is_shown(store: str) -> None:
    replay("signal", "w-0", "early", '"bird"', "--store", store)
    assert "signal early <- 'bird', kept until the workflow waits for it" in replay("show", "w-0", "--store", store)
    (message,) = json.loads(replay("show", "w-0", "--json", "--store", store))["inbox"]
    assert (message["kind"], message["name"], message["payload"]) == ("signal", "early", "bird")
    with Engine(store) as engine:
        (kept,) = engine.detail("w-0").inbox
        assert (kept.name, kept.payload) == ("early", "bird")


def test_a_list_has_one_line_for_each_execution_on_a_narrow_terminal(store: str) -> None:
    with Engine(store, workflows=[waits]) as engine:
        engine.start(waits, id="0123456789abcdef01234567", metadata={"text": "x" * 200})
    lines = on_a_terminal("list", "--store", store, COLUMNS="80").splitlines()
    assert len(lines) == 3 + 6 + 1
    assert sum("0123456789abcdef01234567" in line for line in lines) == 1
    assert all("waits" in line or "fails_at" in line for line in lines[3:-1]), lines
