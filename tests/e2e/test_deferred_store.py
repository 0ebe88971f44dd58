"""An engine without a worker is made while its server is away, and connects at its first request."""

from __future__ import annotations

import os
import uuid

import pytest

from replay import ConfigError, Engine
from replay.core.errors import StoreUnavailable
from tests.e2e.app import five_steps
from tests.servers.ports import free_port
from tests.servers.process import PATIENCE
from tests.servers.redis import RedisServer


def test_an_engine_is_made_while_its_server_is_away_and_works_once_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLAY_TEST_LEDGER", os.devnull)
    server = RedisServer()
    with Engine(f"{server.url}?deadline=0.5", namespace=uuid.uuid4().hex, workflows=[five_steps]) as engine:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=str(server.port)):
                engine.ping()
        with server:
            assert engine.ping() > 1_700_000_000
            handle = engine.start(five_steps, 1)
            engine.start_worker()
            assert handle.result(PATIENCE) == 60


def test_a_wrong_url_is_refused_when_the_engine_is_made() -> None:
    with pytest.raises(ConfigError, match="deadline"):
        Engine("redis://127.0.0.1:1/0?deadline=soon")


def test_a_worker_connects_when_it_starts() -> None:
    with pytest.raises(StoreUnavailable):
        Engine(f"redis://127.0.0.1:{free_port()}/0?deadline=0.2", workflows=[five_steps], worker=True)


def test_a_closed_engine_that_was_never_used_refuses() -> None:
    engine = Engine(f"redis://127.0.0.1:{free_port()}/0?deadline=0.2")
    engine.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        engine.ping()
