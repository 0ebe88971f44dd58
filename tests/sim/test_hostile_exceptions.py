"""Exceptions whose text, repr, attributes or comparison raise: a step or workflow fails with them, and nothing else does."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from replay import Context, Engine, ExecutionFailed, Flow, Retry, StepFailed, workflow
from replay.core.errors import describe_error
from replay.testing import Simulation
from tests.servers.process import PATIENCE


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoRepr(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class LeavesByItsText(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class NoAttributes(Exception):
    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":  # of `isinstance`
            return NoAttributes
        raise RuntimeError(name)


class NoPause(Exception):
    @property
    def retry_after(self) -> float:
        raise LookupError("no pause")


class NoComparison(Exception):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


class NoFields(OSError):
    @property
    def filename(self) -> str:  # type: ignore[override]
        raise RuntimeError("no name")

    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        raise RuntimeError("no cause")


class StrangeText(Exception):
    def __str__(self) -> str:
        class Text(str):
            __slots__ = ()

            def __getitem__(self, key: Any) -> Any:
                raise RuntimeError("no part")

            def __format__(self, spec: str) -> Any:
                raise RuntimeError("no format")

        return Text("strange")


HOSTILE = (NoText, NoRepr, LeavesByItsText, NoAttributes, NoPause, NoComparison, NoFields, StrangeText)
runs: list[str] = []


def charge(kind: str) -> None:
    runs.append(kind)
    raise next(cls for cls in HOSTILE if cls.__name__ == kind)("x")


@workflow
def catches(ctx: Context, kind: str) -> Flow[str]:
    try:
        yield from ctx.step("charge", charge, kind).retry(Retry(2, initial=0.01))
    except StepFailed as failed:
        return type(failed.cause).__name__
    return "completed"


@workflow
def fails(ctx: Context, kind: str) -> Flow[None]:
    yield from ctx.step("charge", charge, kind)


@workflow
def raises(ctx: Context, kind: str) -> Flow[None]:
    yield from ctx.sleep(0)
    raise next(cls for cls in HOSTILE if cls.__name__ == kind)("x")


@workflow
def parent(ctx: Context, kind: str) -> Flow[str]:
    try:
        yield from ctx.child("kid", raises, kind)
    except ExecutionFailed as failed:
        return type(failed.cause).__name__
    return "completed"


@workflow
def joined(ctx: Context, kind: str) -> Flow[None]:
    yield from ctx.all(ctx.step("charge", charge, kind), ctx.sleep(100))


@workflow
def fine(ctx: Context) -> Flow[int]:
    yield from ctx.sleep(0)
    return 1


WORKFLOWS = [catches, fails, raises, parent, joined, fine]


@pytest.mark.parametrize("kind", [cls.__name__ for cls in HOSTILE])
@pytest.mark.parametrize("cache_size", [0, 100])
def test_an_execution_ends_with_a_hostile_exception_in_a_simulation(kind: str, cache_size: int) -> None:
    runs.clear()
    sim = Simulation(workflows=WORKFLOWS, cache_size=cache_size)
    caught, around = sim.start(catches, kind), sim.start(parent, kind)
    failing = [sim.start(workflow, kind) for workflow in (fails, raises, joined)]
    sim.run()
    sim.advance(seconds=1)
    assert caught.result() == kind
    assert around.result() == kind
    for handle in failing:
        with pytest.raises(ExecutionFailed):
            handle.result()
    assert len(runs) == 4  # two of `catches`, one of each of the others
    assert kind in sim.timeline(1000)


@pytest.mark.parametrize("store", ["memory://", "sqlite:///{folder}/a.db"])
def test_a_worker_goes_on_after_hostile_exceptions(store: str, tmp_path: Any) -> None:
    with Engine(store.format(folder=tmp_path), workflows=WORKFLOWS, worker=True) as engine:
        handles = [(kind, engine.start(catches, kind.__name__)) for kind in HOSTILE]
        failing = [engine.start(workflow, kind.__name__) for kind in HOSTILE for workflow in (fails, raises, joined)]
        assert [handle.result(PATIENCE) for _, handle in handles] == [kind.__name__ for kind in HOSTILE]
        for handle in failing:
            with pytest.raises(ExecutionFailed):
                handle.result(PATIENCE)
        assert engine.start(fine).result(PATIENCE) == 1


class Busy(Exception):
    """Its text depends on an attribute that no process can rebuild."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock

    def __str__(self) -> str:
        return f"busy: {self.lock.locked()}"


def be_busy() -> None:
    import threading

    raise Busy(threading.Lock())


@workflow
def busy(ctx: Context) -> Flow[None]:
    yield from ctx.step("lock", be_busy)


def test_the_text_at_the_raise_is_kept() -> None:
    sim = Simulation(workflows=[busy])
    handle = sim.start(busy)
    sim.run()
    with pytest.raises(ExecutionFailed) as failed:
        handle.result()
    assert "Busy: busy: False" in str(failed.value)
    cause = failed.value.cause
    assert isinstance(cause, StepFailed)
    assert describe_error(cause.cause) == "Busy: busy: False"


class Halt(BaseException):
    """A library's own."""


@pytest.mark.parametrize("error", [RuntimeError, Halt, asyncio.CancelledError, SystemExit, KeyboardInterrupt])
def test_an_observer_that_raises_anything_stops_no_worker(error: type[BaseException]) -> None:
    def observe(id: str, entry: object) -> None:
        raise error("observer")

    with Engine("memory://", workflows=[fine], worker=True) as engine:
        engine.on_entry(observe)
        assert [engine.start(fine).result(PATIENCE) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("error", [RuntimeError, Halt])
def test_a_log_handler_that_raises_stops_no_worker(error: type[BaseException]) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise error("handler")

    logger = logging.getLogger("replay")
    handler = Broken()
    logger.addHandler(handler)
    try:
        with Engine("memory://", workflows=WORKFLOWS, worker=True) as engine:
            assert engine.start(catches, "NoText").result(PATIENCE) == "NoText"
            assert engine.start(fine).result(PATIENCE) == 1
    finally:
        logger.removeHandler(handler)
