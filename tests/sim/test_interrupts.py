"""Ctrl-C and a test framework's own exceptions leave a simulation, whatever user code they meet (the main thread's)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis.errors import UnsatisfiedAssumption

from replay import Branch, Context, Flow, workflow
from replay.core.generators import close_generator
from replay.testing import Simulation
from tests.sim.programs import double

at_entry = {"replays": 0}
raised: list[BaseException] = []


def interrupt(value: Any = None) -> Any:
    raise raised[0]


@workflow
def interrupted_in_the_body(ctx: Context) -> Flow[None]:
    yield from ctx.step("double", double, 1)
    interrupt()


@workflow
def interrupted_in_a_step(ctx: Context) -> Flow[None]:
    yield from ctx.step("interrupt", interrupt)


@workflow
def interrupted_in_a_matcher(ctx: Context) -> Flow[None]:
    yield from ctx.switch("s", 1, [Branch("a", interrupt, "a")])


@workflow
def interrupted_in_a_branch(ctx: Context) -> Flow[None]:
    yield from ctx.switch("s", 1, [Branch("a", 1, interrupt)])


@workflow
def interrupted_in_a_replay(ctx: Context) -> Flow[None]:
    """Its two steps are replayed by the fast path when the timer fires."""
    at_entry["replays"] += 1
    again = at_entry["replays"] > 1
    yield from ctx.step("a", double, 1)
    if again:
        interrupt()
    yield from ctx.step("b", double, 1)
    yield from ctx.sleep(10)


@workflow
def fine(ctx: Context) -> Flow[int]:
    return (yield from ctx.step("double", double, 1))


@pytest.fixture(
    params=[KeyboardInterrupt(), pytest.skip.Exception("skipped"), UnsatisfiedAssumption()],
    ids=lambda error: type(error).__name__,
)
def error(request: pytest.FixtureRequest) -> BaseException:
    raised[:] = [request.param]
    at_entry["replays"] = 0
    return raised[0]


@pytest.mark.parametrize(
    "definition",
    [
        interrupted_in_the_body,
        interrupted_in_a_step,
        interrupted_in_a_matcher,
        interrupted_in_a_branch,
        interrupted_in_a_replay,
    ],
    ids=lambda definition: definition.key,
)
def test_they_are_no_failure_of_a_workflow(definition: Any, error: BaseException) -> None:
    sim = Simulation([definition, fine], cache_size=0)
    handle = sim.start(definition)
    with pytest.raises(type(error)) as left:
        sim.advance(seconds=20)
    assert left.value is error
    assert handle.status() in ("running", "sleeping")
    sim.close()


def test_they_leave_the_clean_up_of_a_generator_that_is_closed(error: BaseException) -> None:
    def tidying(clean_up: Callable[[], None]) -> Any:
        try:
            yield
        finally:
            clean_up()

    tidied = tidying(interrupt)
    next(tidied)
    with pytest.raises(type(error)):
        close_generator(tidied)
    failing = tidying(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    next(failing)
    close_generator(failing)
    assert failing.gi_frame is None


def test_a_generator_that_yields_for_ever_while_it_is_closed_is_left_alone() -> None:
    def stubborn() -> Any:
        while True:
            try:
                yield
            except GeneratorExit:
                stays.append(1)
                if len(stays) > 5000:
                    raise

    stays: list[int] = []
    generator = stubborn()
    next(generator)
    close_generator(generator)
    assert 0 < len(stays) < 5000
    stays += [1] * 5000
    generator.close()
