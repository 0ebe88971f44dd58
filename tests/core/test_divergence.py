"""What `NonDeterminism` says: what the log has, what the code did instead, and where it stands."""

from __future__ import annotations

from typing import Any

import pytest

from replay import Context, workflow
from replay.codec import TaggedJson
from replay.core import requests as r
from replay.core.errors import NonDeterminism
from replay.core.interpreter import Interpreter
from replay.worker.sources import make_context

CODEC = TaggedJson()
BEGAN = ["Began", 1.0, 0, "", "w", 1]
TIMER = ["TimerSet", 2.0, 0, "nap", 100.0]


def done(id: str, fiber: int = 0) -> list[Any]:
    return ["StepDone", 2.0, fiber, id, 2, None, 1, 0.0]


def act() -> int:
    return 2


@workflow
def napping(ctx: Context) -> Any:
    yield ctx.step("a", act)
    yield ctx.sleep(1, id="nap")


@workflow
def failing(ctx: Context) -> Any:
    yield ctx.step("a", act)
    raise LookupError("no such price")


@workflow
def short(ctx: Context) -> Any:
    return (yield ctx.step("a", act))


@workflow
def joining(ctx: Context) -> Any:
    yield ctx.all(ctx.step("a", act), ctx.step("b", act))


@workflow
def choosing(ctx: Context) -> Any:
    yield ctx.race(slow=ctx.sleep(1, id="nap"), fast=ctx.step("a", act))


def diverge(definition: Any, rows: list[list[Any]]) -> NonDeterminism:
    header = r.Header("x-1", definition.key, "", "default", "running", b"null", 0.0, 0.0)
    interpreter = Interpreter(
        lambda ctx: definition.generator(ctx, None), make_context(header, lambda change: False), digest=CODEC.digest
    )
    for row in rows[:-1]:
        interpreter.feed(row)
    with pytest.raises(NonDeterminism) as found:
        interpreter.feed(rows[-1])
    interpreter.close()
    assert "Fix:" in str(found.value)
    assert found.value.index == len(rows) - 1
    return found.value


def line(definition: Any, offset: int) -> str:
    return f"test_divergence.py:{definition.fn.__code__.co_firstlineno + offset}"


@pytest.mark.parametrize(
    ("definition", "rows", "recorded", "attempted", "where"),
    [
        (napping, [BEGAN, done("b")], "StepDone('b')", "Step('a')", 2),
        (napping, [BEGAN, done("a"), done("b")], "StepDone('b')", "Sleep('nap')", 3),
        (napping, [BEGAN, done("a", 3)], "StepDone('a') in member 3", "nothing in that member", 2),
        (napping, [done("a")], "StepDone('a')", "nothing yet", None),
        (short, [BEGAN, done("a"), TIMER], "TimerSet('nap')", "nothing: it has ended (completed)", None),
        (
            failing,
            [BEGAN, done("a"), TIMER],
            "TimerSet('nap')",
            "nothing: it has ended (failed, LookupError: no such price)",
            3,
        ),
        (joining, [BEGAN, done("0/a", 1), done("1/c", 2)], "StepDone('1/c') in member 2", "Step('1/b')", 2),
        (choosing, [BEGAN, ["Raced", 2.0, 0, "race", "fast"]], "Raced('race')", "Race('race')", 2),
    ],
)
def test_it_shows_both_sides_and_the_line(
    definition: Any, rows: list[list[Any]], recorded: str, attempted: str, where: int | None
) -> None:
    error = diverge(definition, rows)
    assert (error.recorded, error.attempted) == (recorded, attempted)
    if where is None:
        assert error.location == ""
    else:
        assert error.location.endswith(line(definition, where))


@workflow
def switching(ctx: Context) -> Any:
    from replay import Branch

    yield ctx.switch("s", 1, [Branch("one", 1, "x")])


@pytest.mark.parametrize("chosen", ["two", "default"])
def test_a_branch_that_the_code_no_longer_has_is_a_divergence(chosen: str) -> None:
    error = diverge(switching, [BEGAN, ["Chosen", 2.0, 0, "s", chosen]])
    assert error.attempted == "Switch('s')"
