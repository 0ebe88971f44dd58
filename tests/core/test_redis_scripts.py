"""The Redis scripts agree with their callers: arguments by name, constants from Python, small texts."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from replay.backends.redis import constants
from replay.backends.redis.handlers import Handlers
from replay.backends.redis.rows import (
    OutboxCreate,
    OutboxDeliver,
    OutboxItem,
    create_block,
    outbox_create,
    read_outbox_item,
)
from replay.backends.redis.scripts import Call, load_scripts
from replay.backends.redis.shards import Shards
from replay.core import requests as r

CREATE = r.Create("b", "wf", b"1")
COMMIT = r.Commit("a", "n", 0, "c", r.KeepLease(1.0))
REQUESTS: list[r.Request[Any]] = [
    CREATE,
    r.Claim("n", "w", ("default",), (("wf", ""),), 1, 1.0),
    r.Commit("a", "n", 0, "c", r.KeepLease(1.0), (b"e",)),
    COMMIT,
    r.Commit("a", "n", 0, "c", r.Suspend("sleeping", None, 1.0), creates=(CREATE,), cancels=("c",)),
    r.Commit("a", "n", 0, "c", r.ReleaseLease()),
    r.Commit("a", "n", 0, "c", r.End("completed")),
    r.Commit("a", "n", 0, "c", r.Restart(b"1")),
    r.RenewLeases((r.LeaseRef("a", "n", 0),), 1.0),
    r.Forget(OutboxDeliver("a", "m", "cancel", origin=OutboxItem(0, b"i"))),
    r.Deliver("a", "m", "signal"),
    r.Watch("a", "b"),
    r.Get("a"),
    r.Inbox("a"),
    r.Find(),
    r.Count(),
    r.Amend("a", "n", ("failed",), 0),
    r.Amend("a", "n", ("failed",), 0, then=r.End("failed")),
    r.Delete("a"),
    r.Purge(),
    r.PutSchedule(r.Schedule("s", "wf", b"{}"), 0, creates=(CREATE,), cancels=("c",)),
    r.DropSchedule("s", 1),
    r.GetSchedule("s"),
    r.ListSchedules(),
    r.Register(r.WorkerRow("w"), 1.0),
    r.Workers(),
    r.Ping(),
]


def first_calls(request: r.Request[Any], shards: int = 1) -> list[Call]:
    handlers = Handlers(Shards("test", shards, load_scripts()), None)
    return list(next(handlers.start(request, lambda shard, items: None)))


def test_every_script_gets_the_arguments_that_it_names() -> None:
    called = {
        call.script.name for request in REQUESTS for n in (1, 16) for call in first_calls(request, n) if call.script
    }
    assert called | {"oldest"} == set(load_scripts()), "`oldest` is the second call of a purge"
    with pytest.raises(TypeError, match=r"script 'get' takes id, it was given name. Fix:"):
        Shards("test", 1, load_scripts()).script(0, "get", b"", name="a")
    with pytest.raises(TypeError, match="and more"):
        Shards("test", 1, load_scripts()).script(0, "get", b"", b"x", id="a")


def test_arguments_arrive_in_the_order_of_the_scripts_names() -> None:
    (call,) = first_calls(r.Commit("a", "token", 7, "commit", r.KeepLease(1.5), (b"e",), seen=3))
    assert call.args[:-1] == (b"", "a", "token", 7, "commit", 3, "1.5")
    assert load_scripts()["keep"].text.startswith(
        b"local id,token,expected,commit_id,seen,lease=unpack(ARGV,2,7)\nlocal entries=8"
    )


def test_a_create_passes_through_an_outbox_unchanged() -> None:
    create = r.Create("b", "wf", b"1", "2", "mail", 3.5, 4.5, "a", b'{"k":1}', 5, 6.5, (b"e", b"f"), 7)
    block = create_block(create, foreign=True)
    assert dict(zip(constants.CREATE_FIELDS, block, strict=False))["foreign"] == b"1"
    assert dict(zip(constants.CREATE_FIELDS, block, strict=False))["terms"] == '{"k":1}'
    found = read_outbox_item(3, b"item", outbox_create(block))
    assert isinstance(found, OutboxCreate)
    assert {name: getattr(found, name) for name in create.__struct_fields__} == msgspec.structs.asdict(create)
    assert found.origin == OutboxItem(3, b"item")


def test_constants_of_the_scripts_are_pythons() -> None:
    claim = load_scripts({**constants.CONSTANTS, "MAX_LOST": 77})["claim"].text
    assert b"local MAX_LOST,CRASH_LOOP_DELAY,PRIORITY_STEP" in claim
    assert b"=77,600.0,1000000.0," in claim
    assert b"ENDED={cancelled=true,compensation_failed=true,completed=true,failed=true}" in re.sub(
        rb"local (\w+)", rb"\1", load_scripts()["oldest"].text
    )


def test_a_block_that_python_writes_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.backends.redis.scripts.CREATE_FIELDS", ("id", "workflow"))
    with pytest.raises(RuntimeError, match="Fix: make them agree"):
        load_scripts()


def test_the_servers_texts_hold_no_comments_and_stay_small() -> None:
    scripts = load_scripts()
    lines = [line for script in scripts.values() for line in script.text.decode().splitlines()]
    assert not [line for line in lines if line.startswith(" ") or "-- " in line]
    assert len(scripts["keep"].text) < 1_926, "as in 0.1.0"
    assert sum(len(script.text) for script in scripts.values()) < 70_000
