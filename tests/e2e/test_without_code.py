"""Looking at executions and acting on them in a process that has neither the workflows nor their classes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from replay import (
    Engine,
    ExecutionFailed,
    NotSerializable,
    Operator,
    RemoteError,
    Undecodable,
    UnknownValue,
    Unreadable,
)
from replay.core import requests as r
from tests.e2e.processes import ROOT
from tests.e2e.test_cli import replay
from tests.servers.process import PATIENCE, until

SHOP = """
import sys, attrs
from replay import Engine, StepFailed, workflow

@attrs.frozen
class Order:
    id: str

@attrs.frozen
class Receipt:
    order: Order
    paid: int

class Declined(Exception):
    pass

def charge(order):
    return Receipt(order, 5)

def check(receipt):
    if sys.argv[2] == "broken":
        raise Declined(receipt)
    return receipt

@workflow
def shop(ctx, order):
    receipt = yield ctx.step("charge", charge, order)
    return (yield ctx.step("check", check, receipt))

with Engine(sys.argv[1], workflows=[shop], worker=True) as engine:
    for id in sys.argv[3:]:
        try:
            print(engine.start(shop, Order(id), id=id).result(300))
        except Exception as error:
            print(repr(error))
    engine.ensure_schedule(shop, Order("s"), id="nightly", cron="@daily")
"""


def run(folder: Path, url: str, mode: str, *ids: str) -> str:
    (folder / "shop2.py").write_text(SHOP)
    command = [sys.executable, "-c", "import shop2", url, mode, *ids]
    environment = {"PYTHONPATH": f"{ROOT}:{folder}", "PATH": ""}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=PATIENCE).stdout


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/x.db"
    run(tmp_path, url, "broken", "bad", "worse")
    run(tmp_path, url, "well", "good")
    return url


def test_everything_can_be_looked_at(url: str) -> None:
    with Engine(url) as engine:
        good, bad = engine.detail("good"), engine.detail("bad")
        assert isinstance(good.execution.input, UnknownValue)
        assert (good.execution.input.type_name, good.execution.input.fields) == ("shop2:Order", {"id": "good"})
        assert repr(good.steps[0].result) == "shop2:Receipt(order=shop2:Order(id='good'), paid=5)"
        assert [step.status for step in bad.steps] == ["completed", "failed"]
        assert isinstance(bad.steps[1].error, RemoteError)
        assert bad.steps[1].error.type_name == "shop2:Declined"
        with pytest.raises(ExecutionFailed) as failed:
            engine.wait("bad")
        assert isinstance(failed.value.cause.cause, RemoteError)  # type: ignore[union-attr]
        with pytest.raises(Undecodable, match=r"'good' completed, but its result cannot be rebuilt in this process"):
            engine.wait("good")
        with pytest.raises(NotSerializable, match="shop2:Order"):
            engine.codec.encode([good.execution.input])
    assert '"type_name": "shop2:Receipt", "fields": {"order": {"type_name": "shop2:Order"' in replay(
        "show", "good", "--store", url, "--json"
    )
    assert "step charge -> shop2:Receipt(" in replay("show", "bad", "--store", url)
    assert "ended completed" in replay("watch", "good", "--store", url)
    assert len(replay("export", "--store", url).splitlines()) == 3


def test_every_action_works_and_the_code_takes_it_up(url: str, tmp_path: Path) -> None:
    with Engine(url) as engine:
        operator = Operator(engine)
        before = engine.ask(r.Load("bad"))
        operator.retry("bad")
        operator.skip_step("worse", "check", "by hand")
        forked = operator.fork("good", before="check")
        edited = operator.fork("good", before="check")
        operator.edit_step_result(edited, "charge", "free")
        assert engine.ask(r.Load("bad"))[: len(before)] == before
        assert engine.ask(r.Load(forked.id))[:2] == engine.ask(r.Load("good"))[:2]
        engine.pause_schedule("nightly")
        engine.resume_schedule("nightly")
        (record,) = engine.list_schedules()
        engine.update_schedule("nightly", cron="@hourly")
        assert (repr(record.input), record.problem) == ("shop2:Order(id='s')", None)
        operator.cancel(engine.trigger_schedule("nightly"), "not now")
        run(tmp_path, url, "well")
        for id in ("bad", "worse", forked.id, edited.id):
            until(lambda id=id: engine.get_execution(id).ended_at is not None, timeout=PATIENCE)
        results = {id: repr(engine.get_execution(id).result) for id in ("bad", "worse", forked.id, edited.id)}
    receipt = "shop2:Receipt(order=shop2:Order(id={!r}), paid=5)"
    assert results == {
        "bad": receipt.format("bad"), "worse": "'by hand'", forked.id: receipt.format("good"), edited.id: "'free'",
    }  # fmt: skip


def test_what_is_damaged_hides_nothing_else(url: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("UPDATE log SET entry = x'00' WHERE seq = 1 AND x = (SELECT x FROM execution WHERE id = 'bad')")
    db.close()
    with Engine(url) as engine:
        before, entry, *after = engine.detail("bad").audit
        assert isinstance(entry, Unreadable)
        assert "log entry #1 is not what was written" in entry.why
        assert after
        assert not any(isinstance(each, Unreadable) for each in (before, *after)), "the rest is shown"
        assert engine.detail("good").steps
    assert "entry cannot be read: its checksum is wrong: log entry #1" in replay("show", "bad", "--store", url)
    lines = [json.loads(line) for line in replay("export", "--store", url).splitlines()]
    assert {line["header"]["id"]: "damage" in line for line in lines} == {"bad": True, "good": False, "worse": False}
