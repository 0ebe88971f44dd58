"""Every store agrees with the memory store, operation by operation; and the machine that says so can fail."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from replay.backends.memory import MemoryStore
from replay.backends.memory import store as memory
from replay.backends.postgres import open_store as open_postgres
from replay.backends.redis import open_store
from replay.backends.redis import store as redis
from replay.backends.redis.constants import CONSTANTS
from replay.backends.redis.scripts import Script, load_scripts
from replay.backends.sqlite import SqliteStore
from replay.backends.sqlite import find as sqlite_find
from replay.core import requests as r
from replay.core.errors import ExecutionEnded
from replay.testing.contracts.agreement import store_agreement
from tests.budgets import examples
from tests.contract.example_store import RequestLogStore

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(3600)]

SETTINGS = settings(max_examples=examples(200), stateful_step_count=50, suppress_health_check=list(HealthCheck))


KINDS = [
    "sqlite",
    "sqlite of many",
    "sqlite by age",
    "example",
    "postgres",
    "postgres of many",
    "postgres by age",
    "redis",
    "redis by age",
    "redis in four shards",
    "redis cluster",
]
"""*Of many*: no status has so few that lists need no other index. *By age*: no index leads to few."""

SHARDED = ("redis in four shards", "redis cluster")
"""Kinds whose claims are in order within each shard only."""


@pytest.fixture(params=KINDS)
def make_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Give the function that opens a fresh store, of each kind in turn."""
    if request.param == "sqlite of many":
        monkeypatch.setattr(sqlite_find, "_is_few", lambda query, _: query.parent_id is not None)
    if request.param == "sqlite by age":
        monkeypatch.setattr(sqlite_find, "FEW", -1)
    if request.param.startswith("sqlite"):
        return lambda clock: SqliteStore(tmp_path / f"{uuid.uuid4().hex}.db", clock=clock, synchronous="NORMAL")
    if request.param == "postgres of many":
        monkeypatch.setattr("replay.backends.postgres.find._is_few", lambda query, _: query.parent_id is not None)
    if request.param == "postgres by age":
        monkeypatch.setattr("replay.backends.postgres.find.FEW", -1)
    if request.param.startswith("postgres"):
        server = request.getfixturevalue("postgres_server")
        return lambda clock: open_postgres(server.url, namespace=uuid.uuid4().hex, clock=clock)
    if request.param == "redis by age":
        monkeypatch.setattr(redis, "load_scripts", scripts_by_age)
    if request.param == "example":
        return lambda clock: RequestLogStore(tmp_path / f"{uuid.uuid4().hex}.db", clock)
    url = request.getfixturevalue("redis_cluster" if request.param == "redis cluster" else "redis_server").url
    shards = {"shards": 4} if request.param == "redis in four shards" else {}
    return lambda clock: open_store(url, namespace=uuid.uuid4().hex, clock=clock, **shards)


def scripts_by_age() -> dict[str, Script]:
    return load_scripts({**CONSTANTS, "SCAN": 16, "FEW": -1})


def test_it_answers_as_the_memory_store_does(make_store: Callable[[Any], Any], request: pytest.FixtureRequest) -> None:
    sharded = request.node.callspec.params["make_store"] in SHARDED
    run_state_machine_as_test(store_agreement(make_store, ordered=not sharded), settings=SETTINGS)


def test_hot_commits_of_the_memory_store_equal_full_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(MemoryStore):
        """Decides each commit in full."""

        def apply(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
            with monkeypatch.context() as patched:
                patched.setattr(memory, "is_hot", lambda x, request: False)
                return super().apply(requests)

    run_state_machine_as_test(store_agreement(MemoryStore, Full), settings=SETTINGS)


class Unfenced(MemoryStore):
    """Takes commits of anybody."""

    def _commit(self, request: r.Commit) -> r.Committed:
        x = self._executions.get(request.id)
        if x is not None and x.ended_at is None:
            x.token = request.token
        return super()._commit(request)


class Blind(MemoryStore):
    """Does not compare the log's length."""

    def _commit(self, request: r.Commit) -> r.Committed:
        x = self._executions.get(request.id)
        return super()._commit(request if x is None else msgspec.structs.replace(request, expected=x.length))


class Sleepy(MemoryStore):
    """Parks although a message has arrived."""

    def _conclude(self, x: Any, request: r.Commit) -> r.Committed:
        return super()._conclude(x, msgspec.structs.replace(request, seen=2**53))


class Forgetful(MemoryStore):
    """Does not tell a parent that its child has ended."""

    def _close(self, x: Any, payload: bytes) -> None:
        x.parent_id = None
        super()._close(x, payload)


class Doubling(MemoryStore):
    """Accepts a message as often as it comes."""

    def _deliver(self, request: r.Deliver) -> r.Delivered:
        x = self._executions.get(request.id)
        if x is not None:
            x.dedupe.clear()
        return super()._deliver(request)


class Trusting(MemoryStore):
    """Renews a lease for whoever asks."""

    def _renew_leases(self, request: r.RenewLeases) -> r.RenewedLeases:
        def held(each: r.LeaseRef) -> r.LeaseRef:
            x = self._executions.get(each.id)
            return each if x is None or x.token is None else msgspec.structs.replace(each, token=x.token)

        return super()._renew_leases(r.RenewLeases(tuple(map(held, request.held)), request.lease))


class Undying(MemoryStore):
    """Lets ended executions take signals."""

    def _deliver(self, request: r.Deliver) -> r.Delivered:
        try:
            return super()._deliver(request)
        except ExecutionEnded:
            return r.Delivered(self._now)


@pytest.mark.parametrize("broken", [Unfenced, Blind, Sleepy, Forgetful, Doubling, Trusting, Undying])
def test_a_store_with_a_bug_is_found(broken: Callable[[Any], Any]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            store_agreement(broken), settings=settings(SETTINGS, max_examples=3000, phases=[Phase.generate])
        )
