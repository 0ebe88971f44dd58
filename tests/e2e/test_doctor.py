"""`replay doctor` against real servers: what it warns of, and its exit codes."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.test_cli import replay
from tests.servers.ports import free_port
from tests.servers.redis import RedisServer


def examine(store: str, *options: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        replay("doctor", "--json", "--store", store, *options, code=code).splitlines()[0]
    )
    return found


def test_a_healthy_store_and_queue_without_a_worker_are_a_note_only(redis_server: Any, rabbitmq_server: Any) -> None:
    options = ("--queue", rabbitmq_server.url, "--namespace", "doctor")
    found = examine(redis_server.url, *options)
    assert found["warnings"] == []
    assert "no worker is alive" in found["notes"][0]
    assert found["dead_letters"] == 0


def test_settings_that_may_lose_work_are_exit_code_4() -> None:
    with RedisServer(config=["--maxmemory-policy", "allkeys-lru"]) as server:
        policy, file = examine(server.url, code=4)["warnings"]
    assert "noeviction" in policy
    assert "appendonly yes" in file


def test_a_user_with_the_advised_rights_is_told_which_one_the_check_needs() -> None:
    rule = "worker on >secret resetchannels &app:* ~{app:* ~{app}:* +@all -@dangerous"
    with RedisServer(users=[rule], appendfsync="always") as server:
        url = server.url_of(0, user="worker", password="secret")
        found = examine(url, "--namespace", "app", code=4)
        assert len(found["warnings"]) == 1
        assert "+info" in found["warnings"][0]
        assert found["store"] == url.replace("secret", "***")


def test_a_queue_that_does_not_answer_is_exit_code_3(redis_server: Any) -> None:
    queue = f"amqp://ann:s3cret@127.0.0.1:{free_port()}"
    found = examine(redis_server.url, "--queue", queue, code=3)
    assert "did not answer" in found["warnings"][0]
    assert "s3cret" not in json.dumps(found)
