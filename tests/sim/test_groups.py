"""Many starts, signals and cancels at once: as one by one, in as many calls of the store as there are groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from replay import Context, Engine, Flow, Signal, SignalRefused, workflow
from replay.backends.memory.store import MemoryStore
from replay.client.groups import EACH_HINT, GROUP
from replay.core import requests as r
from replay.core.errors import ExecutionEnded, UnknownExecution
from tests.servers.process import PATIENCE

Go = Signal("go", int)


@workflow(signals=[Go])
def waits(ctx: Context, n: int) -> Flow[int]:
    return n + (yield from ctx.wait_for_signal(Go))


@workflow
def returns(ctx: Context, n: int) -> Flow[int]:
    yield ctx.note("one")
    return n


class CountingStore(MemoryStore):
    """A memory store that notes the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        self.batches.append(len(requests))
        return super().apply(requests)


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/x.db"
    with Engine(url, workflows=[waits, returns], worker=True) as engine:
        yield engine


def test_many_starts_give_handles_in_the_order_of_the_inputs(engine: Engine) -> None:
    handles = engine.start_many(returns, range(GROUP + 50))
    assert [handle.result(PATIENCE) for handle in handles] == list(range(GROUP + 50))


def test_many_starts_with_keys_start_nothing_twice(engine: Engine) -> None:
    keys = [f"order-{n}" for n in range(30)]
    first = engine.start_many(returns, range(30), idempotency_keys=keys)
    second = engine.start_many(returns, range(30), idempotency_keys=keys)
    assert [handle.id for handle in first] == [handle.id for handle in second]
    assert first[7].id == engine.start(returns, 7, idempotency_key="order-7").id
    assert sum(engine.count_executions().values()) == 30


def test_one_wrong_input_starts_nothing(engine: Engine) -> None:
    with pytest.raises(TypeError, match="three"):
        engine.start_many("returns", [1, 2, "three"])
    with pytest.raises(ValueError, match="2 inputs and 1 idempotency_keys"):
        engine.start_many(returns, [1, 2], idempotency_keys=["a"])
    assert engine.count_executions() == {}


def test_many_signals_reach_all_that_can_take_them(engine: Engine) -> None:
    handles = engine.start_many(waits, range(5))
    done = engine.start(returns, 1)
    done.result(PATIENCE)
    refused = engine.signal_many([*(handle.id for handle in handles), done.id, "nobody"], "go", 10)
    assert {id: type(error) for id, error in refused.items()} == {done.id: ExecutionEnded, "nobody": UnknownExecution}
    assert [handle.result(PATIENCE) for handle in handles] == [10, 11, 12, 13, 14]


def test_a_signal_that_a_workflow_does_not_take_is_refused_for_its_executions_alone(engine: Engine) -> None:
    handles = engine.start_many(waits, range(2))
    refused = engine.signal_many(handles, "stop", 1)
    assert {id: type(error) for id, error in refused.items()} == {handle.id: SignalRefused for handle in handles}
    with pytest.raises(SignalRefused):
        engine.signal_many(handles, Go, "ten")  # type: ignore[misc]
    assert engine.signal_many([], Go, 1) == {}


def test_many_signals_with_a_dedupe_id_arrive_once(engine: Engine) -> None:
    (handle,) = engine.start_many(waits, [1])
    for _ in range(2):
        assert engine.signal_many([handle, handle], Go, 10, dedupe_id="webhook-1") == {}
    assert handle.result(PATIENCE) == 11


def test_many_cancels_end_what_runs_and_tell_of_what_has_ended(engine: Engine) -> None:
    handles = engine.start_many(waits, range(3))
    done = engine.start(returns, 1)
    done.result(PATIENCE)
    refused = engine.cancel_many([handle.id for handle in (*handles, done)], "closed")
    assert set(refused) == {done.id}
    for handle in handles:
        with pytest.raises(Exception, match="closed"):
            handle.result(PATIENCE)


def test_a_group_is_one_call_of_the_store_and_few_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    store = CountingStore()
    with Engine(store, workflows=[waits, returns]) as engine:
        hints: list[str] = []
        monkeypatch.setattr(engine, "announce", hints.append)
        handles = engine.start_many(returns, range(2 * GROUP + 1))
        assert store.batches == [GROUP, GROUP, 1]
        assert len(hints) == 2 * -(-GROUP // EACH_HINT) + 1
        store.batches.clear()
        engine.cancel_many(handles)
        assert store.batches == [GROUP, GROUP, 1]
