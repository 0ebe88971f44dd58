"""Definitions of workflows, signals and events that cannot work are refused at import, with a remedy."""

from __future__ import annotations

import functools
from typing import Any, Optional, Protocol, TypedDict

import pytest

from replay import Branch, ConfigError, Context, Engine, Event, Signal, workflow
from replay.core.entries import NoteAdded
from replay.testing import Simulation
from tests.core.misuses import helper, taker


def test_decorating_what_cannot_be_a_workflow_is_a_type_error_with_the_remedy() -> None:
    def plain(ctx: Context) -> int:
        return 1

    async def coroutine(ctx: Context) -> int:
        return 1

    async def generator(ctx: Context) -> Any:
        yield 1

    def many(ctx: Context, a: int, b: int) -> Any:
        yield

    for wrong, hint in (
        (plain, "never yields"),
        (coroutine, "async def"),
        (generator, "async def"),
        (many, "Fix: bundle"),
    ):
        with pytest.raises(TypeError, match=hint):
            workflow(wrong)  # type: ignore[call-overload]


def test_wrong_options_of_a_workflow_are_refused_at_import_with_the_remedy() -> None:
    def fine(ctx: Context) -> Any:
        yield ctx.note("x")

    for options, hint in (
        ({"signals": ["approved"]}, r"Fix: signals=\[Signal\('approved'\)\]"),
        ({"signals": "approved"}, r"Fix: signals=\[Signal\('approved'\)\]"),
        ({"signals": Signal("go")}, r"Fix: signals=\[Signal\(id='go'"),
        ({"signals": 3}, r"Fix: signals=\[Signal\(\.\.\.\)\]"),
    ):
        with pytest.raises(TypeError, match=hint):
            workflow(**options)(fine)  # type: ignore[arg-type]
    for key in ("", "with space"):
        with pytest.raises(ValueError, match="workflow key"):
            workflow(key)(fine)
    with pytest.raises(TypeError, match=r"not the partial .*Fix: write `def"):
        workflow(functools.partial(fine))
    with pytest.raises(TypeError, match=r"Fix: workflows=\[fine\]"):
        Engine("memory://", workflows=workflow(fine))  # type: ignore[arg-type]


def test_the_default_of_an_input_holds_when_there_is_none() -> None:
    @workflow(key="counting", retry=3)
    def counting(ctx: Context, n: int = 5) -> Any:
        yield ctx.note("n", text="texts and selves are data, too", n=n)
        return n

    with Simulation([counting]) as sim:
        handles = [sim.start(counting), sim.start(counting, 0)]
        sim.run()
        assert [handle.result() for handle in handles] == [5, 0]
        assert [entry.data["n"] for entry in sim.engine.detail(handles[0]).audit if isinstance(entry, NoteAdded)] == [5]


class Answer:
    def __init__(self, value: int) -> None:
        self.value = value

    def __call__(self, value: int) -> int:
        return self.value + value


def wrapped(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


@pytest.mark.parametrize(
    ("run", "result"),
    [
        (Answer(1), 4),
        (functools.partial(lambda a, b: a * b, 2), 6),
        (functools.partial(lambda a, b=1: a * b, 2), 2),
        (functools.partial(lambda a, *, b: a * b, b=2), 6),
        (wrapped(lambda value: value + 2), 5),
        (wrapped(lambda: 2), 2),
        (Answer(1).__call__, 4),
        (lambda: 7, 7),
        (dict, {}),
        ("plain", "plain"),
    ],
)
def test_a_branch_that_takes_the_value_gets_it_whatever_kind_of_callable_it_is(run: Any, result: Any) -> None:
    @workflow
    def switching(ctx: Context) -> Any:
        won = yield ctx.race(self=ctx.switch("s", 3, [Branch("three", 3, run)]))
        return won.value

    with Simulation([switching]) as sim:
        handle = sim.start(switching)
        sim.run()
        assert handle.result() == result


class Form(TypedDict):
    name: str


class Named(Protocol):
    name: str


@pytest.mark.parametrize(
    ("expected", "fits", "wrong"),
    [
        (int | str, "x", 1.5),
        (Optional[int], None, "x"),  # noqa: UP045
        (list[int] | None, [1], (1,)),
        (float | None, 3, True),
        (Form, {"name": "x"}, "x"),
        (Named, object(), None),
        (Any, object(), None),
        (dict[str, Any] | list[Any], {}, ()),
    ],
)
def test_payloads_are_checked_against_unions_and_what_has_no_instances(expected: Any, fits: Any, wrong: Any) -> None:
    for kind in (Signal, Event):
        definition = kind("form", expected)
        definition.check(fits)
        if wrong is not None:
            with pytest.raises((TypeError, ValueError), match=r"'form' carries .* Fix:"):
                definition.check(wrong)


def test_the_name_of_a_type_and_a_version_that_is_none_are_refused() -> None:
    for kind in (Signal, Event):
        with pytest.raises(TypeError, match=r"not its name 'Form'. Fix:"):
            kind("form", "Form")  # type: ignore[arg-type]
    for version in (None, True, 2.5, b"2"):
        with pytest.raises(TypeError, match=r"version=. takes .* Fix:"):
            workflow(version=version)(helper)  # type: ignore[arg-type]
    assert [workflow(version=version)(helper).version for version in ("", 2, "1.2+b")] == ["", "2", "1.2+b"]


def test_a_signal_is_declared_with_one_type() -> None:
    with pytest.raises(TypeError, match=r"'go' with two types, int and str\. Fix"):

        @workflow(signals=[Signal("go", int), Signal("go", str)])
        def undecided(ctx: Context) -> Any:
            yield ctx.wait_for_signal("go")


@pytest.mark.parametrize("limit", ["2", 0, 1.5, True])
def test_the_limit_of_a_queue_is_a_whole_number(limit: Any) -> None:
    with pytest.raises(ConfigError, match=r"queues: the limit of 'mail' is a whole number of at least 1"):
        Engine("memory://", queues={"mail": limit}).close()


def test_a_zero_timeout_is_refused_at_definition_and_start() -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        workflow(timeout=0)(taker.fn)
    with Engine("memory://", workflows=[taker]) as engine, pytest.raises(ValueError, match="more than 0 seconds"):
        engine.start(taker, timeout=0)
