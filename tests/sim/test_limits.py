"""Limits on logs and payloads, and values that no codec takes: the workflow is refused at its yield, and nothing is lost."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from replay import Context, Flow, LogTooLong, NotSerializable, PayloadTooLarge, Retry, StepFailed, workflow
from replay.codec import TaggedJson
from tests.sim.one_worker import OneWorker

BIG = "x" * 1000


def act(value: Any = 1) -> Any:
    return value


def fail_at_length() -> None:
    raise ValueError(BIG)


def fail() -> None:
    raise ValueError("no")


@workflow
def looping(ctx: Context, times: int) -> Flow[int]:
    for number in range(times):
        yield from ctx.step("act", act, number)
    return times


def test_a_log_over_its_limit_fails_and_warns_once_when_it_comes_near(caplog: Any) -> None:
    world = OneWorker(looping, log_limit=20)
    world.create("short", "looping", 12)
    world.create("near", "looping", 17)
    world.create("long", "looping", 50)
    world.settle()
    assert world.result("short") == 12
    assert world.result("near") == 17
    assert isinstance(world.error("long"), LogTooLong)
    assert "over the limit of 20 entries. Fix: `return ctx.continue_as_new" in str(world.error("long"))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text.split("'")[1] for text in warnings] == ["near", "long"]
    assert all("fails over 20. Fix:" in text for text in warnings)


@workflow
def noting(ctx: Context) -> Flow[None]:
    while True:
        yield from ctx.note("on and on")


def test_nothing_is_decided_any_more_once_the_log_is_over_its_limit() -> None:
    world = OneWorker(noting, log_limit=20)
    world.create("x", "noting")
    world.settle()
    assert isinstance(world.error("x"), LogTooLong)
    assert len(world.log("x")) == 22, "one over the limit, and the end"


@workflow
def refused(ctx: Context, what: str) -> Flow[str]:
    try:
        match what:
            case "error":
                yield from ctx.step("s", fail_at_length)
            case "note":
                yield from ctx.note(BIG)
            case "event":
                yield from ctx.emit("e", BIG)
            case _:
                yield from ctx.start("child", looping, BIG)  # type: ignore[arg-type]
    except (PayloadTooLarge, NotSerializable) as error:
        return str(error)[:110]
    return "stored"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("error", "the error of 's' cannot be recorded: StepFailed 's' takes "),
        ("note", "Noted 'note' takes 1,0"),
        ("event", "Emitted 'e' takes 1,0"),
        ("child", "the input of child 'child' takes 1,002 bytes, over the limit of 400."),
    ],
)
def test_what_is_over_the_limit_is_refused_at_its_yield(what: str, text: str) -> None:
    world = OneWorker(refused, looping, payload_limit=400)
    world.create("x", "refused", what)
    world.settle()
    found = world.result("x")
    assert found.startswith(text), found


class Unstorable(Exception):
    pass


class Picky(TaggedJson):
    """A codec of a user's, which refuses exceptions of one class instead of storing their text."""

    def encode(self, value: Any) -> bytes:
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Unstorable):
                raise NotSerializable("an Unstorable")
        return super().encode(value)


@workflow(retry=Retry(2, initial=0))
def unstorable(ctx: Context) -> Flow[None]:
    try:
        yield from ctx.step("fail", fail)
    except StepFailed as failed:
        raise Unstorable("ours") from failed


def test_an_error_that_the_codec_refuses_ends_attempts_and_executions_with_its_text() -> None:
    world = OneWorker(unstorable, codec=Picky())
    world.create("x", "unstorable")
    world.settle()
    world.wait(1)
    world.settle()
    assert (world.status("x"), world.header("x").attempt) == ("failed", 2)
    assert repr(world.error("x")) == "RuntimeError('Unstorable (an Unstorable)')"
    (attempt,) = (row for row in world.log("x") if row[0] == "AttemptFailed")
    assert "ours (an Unstorable)" in repr(attempt)


@workflow
def beating(ctx: Context) -> Flow[Any]:
    return (yield from ctx.step("beat", act, 7).retry(Retry(2, initial=0)))


@pytest.mark.parametrize(("details", "stored"), [({"page": 3}, True), (BIG, False), (object(), False)])
def test_heartbeats_that_cannot_be_stored_stay_in_their_process(details: Any, stored: bool) -> None:
    world = OneWorker(beating, payload_limit=400)
    world.create("x", "beating")
    (call,) = world.turn()
    call.beat, call.beats = details, 1
    world.worker.renew_leases()
    world.turn()
    (current,) = world.codec.decode(world.header("x").current)
    assert (current["id"], current.get("details")) == ("beat", details if stored else None)
    world.returns(call)
    world.settle()
    assert world.result("x") == 7


@pytest.mark.parametrize("report", [b'[{"details":1}]', b'[{"details":{"$obj":"nowhere:Class"}}]', b'{"details":1}'])
def test_heartbeats_of_a_newer_version_are_passed_by(report: bytes) -> None:
    from replay.core import requests as r

    world = OneWorker(beating)
    world.create("x", "beating")
    world.store.apply([r.Claim("n", "w", ("default",), (("beating", ""),), 1, 1.0)])
    world.store.apply([r.Commit("x", "n", 0, "c", r.ReleaseLease(), current=report)])
    (call,) = world.turn()
    assert call.details is None
    world.returns(call)
    world.settle()
    assert world.result("x") == 7
