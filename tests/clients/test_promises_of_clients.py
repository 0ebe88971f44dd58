"""The client's verbs, through `Engine` and through `AsyncEngine`, on the memory and the SQLite store."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from replay import (
    Context,
    Engine,
    ExecutionCancelled,
    ExecutionEnded,
    ExecutionFailed,
    Flow,
    NotSerializable,
    PayloadTooLarge,
    Signal,
    SignalRefused,
    Status,
    UnknownExecution,
    UnknownWorkflow,
    workflow,
)  # fmt: skip
from tests.clients.both import BlockingClient
from tests.servers.process import PATIENCE, until

Go = Signal("go", int)


@workflow
def doubles(ctx: Context, number: int) -> Flow[int]:
    return (yield from ctx.step("double", lambda n: n * 2, number))


@workflow(signals=[Go])
def waits(ctx: Context) -> Flow[int]:
    return (yield from ctx.wait_for_signal(Go))


@workflow
def fails(ctx: Context) -> Flow[None]:
    yield ctx.note("soon")
    raise ValueError("no stock")


@workflow
def takes_any(ctx: Context, value: Any) -> Flow[Any]:
    yield ctx.note("taken")
    return value


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/x.db"
    with Engine(url, workflows=[doubles, waits, fails, takes_any], worker=True, payload_limit=10_000) as engine:
        yield engine


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Any]:
    if request.param == "sync":
        yield engine
        return
    client = BlockingClient(engine)
    yield client
    client.close()


def sleeping(client: Any, id: str) -> None:
    until(lambda: client.get_execution(id).status == Status.SLEEPING)


def test_a_start_gives_a_handle_with_the_result(client: Any) -> None:
    handle = client.start(doubles, 21)
    assert handle.result(PATIENCE) == 42
    assert handle.status() == "completed"
    assert client.wait(handle.id, PATIENCE) == 42
    assert client.wait(handle, timedelta(seconds=PATIENCE)) == 42
    assert client.start_and_wait("doubles", 4, wait_timeout=PATIENCE).data == 8


def test_a_start_with_a_key_is_repeated_safely(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    first = client.start(doubles, 1, idempotency_key="k")
    with caplog.at_level(logging.WARNING, "replay"):
        assert client.start(doubles, 2, idempotency_key="k").id == first.id
    assert "keeps that one" in caplog.text
    assert first.result(PATIENCE) == 2
    client.start(doubles, 1, id="mine").result(PATIENCE)
    with pytest.raises(ValueError, match="belongs to workflow 'doubles'"):
        client.start(takes_any, 1, id="mine")


def test_wrong_starts_are_refused(client: Any) -> None:
    with pytest.raises(UnknownWorkflow):
        client.start("triples", 1)
    with pytest.raises(TypeError):
        client.start(doubles, "one")
    with pytest.raises(NotSerializable):
        client.start(takes_any, object())
    with pytest.raises(PayloadTooLarge):
        client.start(takes_any, "x" * 20_000)
    with pytest.raises(ValueError, match="exactly one"):
        client.schedule(doubles, 1)
    assert client.count_executions() == {}


def test_a_signal_is_received_and_a_wrong_one_refused(client: Any) -> None:
    handle = client.start(waits)
    with pytest.raises(SignalRefused):
        client.signal(handle, "stop", 1)
    with pytest.raises(SignalRefused):
        handle.signal(Go, "one")
    with pytest.raises(UnknownExecution):
        client.signal("nobody", Go, 1)
    handle.signal(Go, 5, dedupe_id="webhook")
    assert handle.result(PATIENCE) == 5
    with pytest.raises(ExecutionEnded):
        client.signal(handle, Go, 6)


def test_a_cancel_ends_the_wait_for_a_result(client: Any) -> None:
    handle = client.start(waits)
    sleeping(client, handle.id)
    handle.cancel("closed")
    with pytest.raises(ExecutionCancelled, match="closed"):
        handle.result(PATIENCE)
    with pytest.raises(UnknownExecution):
        client.cancel("nobody")


def test_a_failure_is_raised_with_its_cause(client: Any) -> None:
    with pytest.raises(ExecutionFailed, match="no stock") as caught:
        client.start(fails).result(PATIENCE)
    assert isinstance(caught.value.__cause__, ValueError)


def test_waiting_is_limited_and_costs_the_execution_nothing(client: Any) -> None:
    handle = client.start(waits)
    with pytest.raises(TimeoutError, match="runs on"):
        handle.result(0.01)
    with pytest.raises(TimeoutError):
        handle.result(0)
    with pytest.raises(UnknownExecution):
        client.wait("nobody", 1)
    handle.signal(Go, 1)
    assert handle.result(PATIENCE) == 1


def test_executions_are_found_counted_and_detailed(client: Any) -> None:
    handle = client.start(doubles, 1, metadata={"region": "eu"})
    handle.result(PATIENCE)
    waiting = client.start(waits)
    sleeping(client, waiting.id)
    assert [each.id for each in client.find_executions(metadata={"region": "eu"})] == [handle.id]
    assert client.count_executions() == {"completed": 1, "sleeping": 1}
    assert [step.id for step in client.detail(handle).steps] == ["double"]
    with pytest.raises(UnknownExecution):
        client.get_execution("nobody")
    assert client.ping() > 0


def test_a_delayed_start_begins_later(client: Any, engine: Engine) -> None:
    handle = client.schedule(doubles, 3, delay=0.05)
    assert handle.result(PATIENCE) == 6
    found = engine.get_execution(handle.id)
    assert found.ended_at is not None
    assert found.ended_at - found.created_at >= 0.05


def test_a_wrong_id_is_refused_in_a_short_message(client: Any) -> None:
    handle = client.start(waits)
    with pytest.raises(ValueError, match="200 characters at most") as caught:
        client.signal(handle, Go, 1, dedupe_id="x" * 1_000_000)
    assert "(1,000,000 characters)" in str(caught.value)
    assert len(str(caught.value)) < 600
    for refused in (lambda: client.start(doubles, 1, id="x" * 1_000_000), lambda: client.cancel("x" * 1_000_000)):
        with pytest.raises(ValueError, match="not allowed") as caught:
            refused()
        assert len(str(caught.value)) < 600
    handle.signal(Go, 1, dedupe_id="é" * 200)
    assert handle.result(PATIENCE) == 1
