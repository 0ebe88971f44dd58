"""Code that changed while an execution was parked: `patched` answers for what had passed, and other waits are noticed (I10)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from replay import Context, NonDeterminism, workflow
from replay.client.histories import Recorded
from replay.core import requests as r
from replay.testing.checks.replaying import replay
from tests.asking import ask
from tests.sim.one_worker import OneWorker

Flow = Any
LEASE = 30.0


def act() -> str:
    return "acted"


@workflow
def kid(ctx: Context) -> Flow:
    yield ctx.sleep(1000)
    return "kid"


def signal(name: str, **options: Any) -> Callable[[Context], Flow]:
    return lambda ctx: ctx.wait_for_signal(name, **options)


WAITS: dict[str, Callable[[Context], Flow]] = {
    "a signal": signal("go"),
    "another signal": signal("on"),
    "a signal for a while": signal("go", timeout=1000),
    "a sleep": lambda ctx: ctx.sleep(1000, id="nap"),
    "a child": lambda ctx: ctx.child("kid", kid),
    "an execution": lambda ctx: ctx.wait_for_execution(kid, "k-1"),
    "another execution": lambda ctx: ctx.wait_for_execution(kid, "k-2"),
    "all of signals": lambda ctx: ctx.all(ctx.wait_for_signal("go"), ctx.wait_for_signal("on")),
    "all of other signals": lambda ctx: ctx.all(ctx.wait_for_signal("go"), ctx.wait_for_signal("off")),
    "a race of signals": lambda ctx: ctx.race(a=ctx.wait_for_signal("go"), b=ctx.wait_for_signal("on")),
    "a race by other names": lambda ctx: ctx.race(c=ctx.wait_for_signal("go"), b=ctx.wait_for_signal("on")),
    "a running step": lambda ctx: ctx.step("work", act),
    "another running step": lambda ctx: ctx.step("toil", act),
}


def made(*bodies: Callable[[Context], Flow]) -> Any:
    """Return a workflow that yields the waits in turn."""

    @workflow("w")
    def flow(ctx: Context) -> Flow:
        yield ctx.step("first", act)
        for body in bodies:
            yield body(ctx)
        return "end"

    return flow


def guarded(new: Callable[[Context], Flow], old: Callable[[Context], Flow]) -> Any:
    """Return a workflow that waits for *new* if it is patched, else for *old*."""

    @workflow("w")
    def flow(ctx: Context) -> Flow:
        yield ctx.step("first", act)
        if ctx.patched("v2"):
            yield new(ctx)
            return "new"
        yield old(ctx)
        return "old"

    return flow


def parked(flow: Any) -> OneWorker:
    """Return a worker whose execution `x` waits. Its step, if it waits for one, has run for two seconds."""
    world = OneWorker(flow, kid)
    for id in ("k-1", "k-2"):
        world.create(id, "kid")
    world.create("x", "w")
    (call,) = world.turn()
    world.returns(call)
    world.turn()
    world.wait(2)
    world.turn()
    return world


def deployed(flow: Any, old: OneWorker) -> OneWorker:
    """Return a worker with other code; the old one is gone, and its leases expire."""
    new = OneWorker(flow, kid, beside=old)
    new.wait(LEASE + 10)
    return new


def finish(world: OneWorker) -> str:
    """Answer all that can be waited for; return the result of `x`."""
    for name in ("go", "on"):
        world.wait(1)  # message ids are made of instants
        if world.header("x").ended_at is None:
            world.deliver("x", name=name)
            world.settle()
    world.wait(2000)
    world.settle()
    result: str = world.result("x")
    return result


def recorded(world: OneWorker) -> Recorded:
    return Recorded(world.header("x"), tuple(ask(world.store, r.Load("x"))))


def is_stuck(world: OneWorker) -> dict[str, Any]:
    assert world.status("x") == "stuck"
    found: dict[str, Any] = json.loads(world.header("x").current)[0]
    return found


OLD = [name for name in WAITS if not any(word in name for word in ("other",))]


@pytest.mark.parametrize("name", OLD)
def test_a_patch_before_the_wait_at_which_an_execution_is_parked_comes_too_late_for_it(name: str) -> None:
    old = parked(made(WAITS[name]))
    new = deployed(guarded(signal("other"), WAITS[name]), old)
    new.deliver("x", name="unrelated")
    new.settle()
    assert finish(new) == "old"


@pytest.mark.parametrize("name", OLD)
def test_unchanged_code_is_never_suspected(name: str) -> None:
    old = parked(made(WAITS[name]))
    replay(made(WAITS[name]), recorded(old), codec=old.codec).close()
    new = deployed(made(WAITS[name]), old)
    new.deliver("x", name="unrelated")
    new.settle()
    assert finish(new) == "end"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a signal", "another signal"),
        ("a signal", "a sleep"),
        ("a signal", "an execution"),
        ("a signal", "all of signals"),
        ("a signal", "a running step"),
        ("an execution", "another execution"),
        ("an execution", "a signal"),
        ("all of signals", "all of other signals"),
        ("all of signals", "a race of signals"),
        ("a race of signals", "all of signals"),
        ("a race of signals", "a race by other names"),
        ("a race of signals", "a signal"),
        ("a running step", "another running step"),
        ("a running step", "a signal"),
    ],
)
def test_another_wait_is_noticed_and_the_right_code_heals_it(before: str, after: str) -> None:
    old = parked(made(WAITS[before]))
    with pytest.raises(NonDeterminism, match="no longer waits for what the execution waits for"):
        replay(made(WAITS[after]), recorded(old), codec=old.codec)

    wrong = deployed(made(WAITS[after]), old)
    wrong.deliver("x", name="unrelated")
    wrong.settle()
    found = is_stuck(wrong)
    assert found["error"] == "NonDeterminism"
    assert "it waits at" in found["message"]
    assert "test_changed_waits.py:" in found["message"]
    assert "Fix:" in found["message"]

    again = deployed(made(WAITS[after]), wrong)  # a second visit of the wrong code forgets nothing
    again.settle()
    is_stuck(again)

    right = deployed(guarded(signal("other"), WAITS[before]), again)
    right.settle()
    assert finish(right) == "old"


@pytest.mark.parametrize("name", ["a signal", "an execution", "all of signals", "a race of signals", "a running step"])
def test_code_that_ends_where_the_execution_waits_is_noticed(name: str) -> None:
    old = parked(made(WAITS[name]))
    with pytest.raises(NonDeterminism, match="it has ended"):
        replay(made(), recorded(old), codec=old.codec)
    new = deployed(made(), old)
    new.deliver("x", name="unrelated")
    new.settle()
    assert "it has ended (completed)" in is_stuck(new)["message"]


def test_a_new_execution_and_a_later_patch_are_answered_as_before() -> None:
    fresh = OneWorker(guarded(signal("go"), signal("on")), kid)
    fresh.create("x", "w")
    fresh.settle()
    fresh.deliver("x", name="go")
    fresh.settle()
    assert fresh.result("x") == "new"

    @workflow("w")
    def later(ctx: Context) -> Flow:
        yield ctx.step("first", act)
        yield ctx.wait_for_signal("go")
        if ctx.patched("after"):
            return "new"
        return "old"

    old = parked(made(signal("go")))
    assert finish(deployed(later, old)) == "new"


def test_a_report_that_is_older_than_the_log_says_nothing() -> None:
    old = OneWorker(made(signal("go"), lambda ctx: ctx.step("work", act), signal("on")))
    old.create("x", "w")
    old.settle()
    old.deliver("x", name="go")
    (call,) = old.turn()  # it has begun to run, and nothing was reported since
    assert call.id == "work"
    new = deployed(made(signal("go"), lambda ctx: ctx.step("toil", act), signal("on")), old)
    new.settle()
    assert new.status("x") == "sleeping"


def test_the_place_is_not_shown_to_users() -> None:
    from replay.client.records import execution_of

    old = parked(made(WAITS["a race of signals"]))
    shown = execution_of(old.header("x"), old.codec).current
    assert [set(each) for each in shown] == [{"kind", "id", "fiber", "at", "signal", "due"}] * 2
