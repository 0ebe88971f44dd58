"""Starts and signals within a user's own transaction: they commit with his rows, or not at all, and hold nobody up."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from replay import (
    ConfigError,
    Context,
    Engine,
    ExecutionEnded,
    Flow,
    Signal,
    SignalRefused,
    Status,
    UnknownExecution,
    workflow,
)  # fmt: skip
from tests.servers.postgres import PostgresServer
from tests.servers.process import PATIENCE, until

GO = Signal("go", str)


@workflow("tx.order")
def order(ctx: Context, number: int) -> Flow[int]:
    return (yield ctx.step("double", lambda n: 2 * n, number))


@workflow("tx.waits", signals=[GO])
def waits(ctx: Context) -> Flow[Any]:
    first = yield ctx.wait_for_signal(GO)
    second = yield ctx.wait_for_signal(GO)
    return [first, second]


@pytest.fixture
def namespace() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def client(postgres_server: PostgresServer, namespace: str) -> Iterator[Engine]:
    with Engine(postgres_server.url, workflows=[order, waits], namespace=namespace) as engine:
        yield engine


@pytest.fixture
def worker(postgres_server: PostgresServer, namespace: str) -> Iterator[Engine]:
    """Give a worker that polls so seldom that only a hint wakes it."""
    options = {"worker": True, "poll_interval": 600.0}
    with Engine(postgres_server.url, workflows=[order, waits], namespace=namespace, **options) as engine:
        yield engine


@pytest.fixture
def connection(postgres_server: PostgresServer) -> Iterator[Any]:
    with postgres_server.connect(autocommit=False) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY)")
        connection.commit()
        yield connection
        connection.rollback()


def row(connection: Any) -> str:
    id = uuid.uuid4().hex
    connection.execute("INSERT INTO orders VALUES (%s)", (id,))
    return id


def test_a_start_commits_with_the_row_and_wakes_a_worker_then(client: Engine, worker: Engine, connection: Any) -> None:
    id = row(connection)
    handle = client.start(order, 21, idempotency_key=id, metadata={"order": id}, connection=connection)
    assert client.count_executions() == {}
    with pytest.raises(UnknownExecution):
        client.get_execution(handle.id)
    connection.commit()
    assert handle.result(PATIENCE) == 42
    assert client.count_executions() == {Status.COMPLETED: 1}
    assert [each.id for each in client.find_executions(metadata={"order": id})] == [handle.id]


def test_a_rollback_takes_the_start_back_and_so_does_one_to_a_savepoint(client: Engine, connection: Any) -> None:
    client.start(order, 1, id="whole", connection=connection)
    connection.rollback()
    with connection.transaction():
        try:
            with connection.transaction():
                client.start(order, 1, id="inner", connection=connection)
                client.signal(client.start(waits, id="w", connection=connection), GO, "x", connection=connection)
                raise ZeroDivisionError
        except ZeroDivisionError:
            client.start(order, 1, id="outer", connection=connection)
    connection.commit()
    assert [each.id for each in client.find_executions()] == ["outer"]
    assert client.count_executions() == {Status.PENDING: 1}


def test_a_client_that_dies_before_its_commit_leaves_nothing(client: Engine, postgres_server: PostgresServer) -> None:
    doomed = postgres_server.connect(autocommit=False)
    client.start(order, 1, id="x", connection=doomed)
    postgres_server.run("SELECT pg_terminate_backend(%s)", doomed.info.backend_pid)
    until(lambda: not postgres_server.run("SELECT 1 FROM pg_stat_activity WHERE pid = %s", doomed.info.backend_pid))
    assert not client.start(order, 1, id="x").status().ended
    doomed.close()


def test_a_second_start_with_the_same_key_gives_the_same_execution(client: Engine, connection: Any) -> None:
    first = client.start(order, 1, idempotency_key="k", connection=connection)
    assert client.start(order, 1, idempotency_key="k", connection=connection).id == first.id
    connection.commit()
    assert client.start(order, 1, idempotency_key="k").id == first.id
    assert client.start(order, 1, idempotency_key="k", connection=connection).id == first.id
    assert client.count_executions() == {Status.PENDING: 1}
    with pytest.raises(ValueError, match="belongs to workflow"):
        client.start(waits, id=first.id, connection=connection)


def test_an_open_transaction_delays_nobody_but_the_same_key(client: Engine, worker: Engine, connection: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        client.start(order, 1, idempotency_key="held", connection=connection)
        waiting = waits_for(client)
        client.signal(waiting, GO, "held back", connection=connection)
        for number in range(20):
            assert client.start(order, number).result(PATIENCE) == 2 * number
        client.signal(waiting, GO, "a")
        client.signal(waiting, GO, "b")
        assert waiting.result(PATIENCE) == ["a", "b"]
        blocked = pool.submit(own_start, client)
        for number in range(20):  # by the same process, while it waits for the same key
            assert client.start(order, number).result(PATIENCE) == 2 * number
        assert not blocked.done()
        connection.commit()
        assert blocked.result(PATIENCE).result(PATIENCE) == 2


def waits_for(client: Engine) -> Any:
    handle = client.start(waits)
    until(lambda: handle.status() == Status.SLEEPING, what="the execution to wait")
    return handle


def own_start(client: Engine) -> Any:
    return client.start(order, 1, idempotency_key="held")


def test_signals_arrive_after_the_commit_once_and_in_order(client: Engine, worker: Engine, connection: Any) -> None:
    handle = waits_for(client)
    for _ in range(2):
        client.signal(handle, GO, "first", dedupe_id="d1", connection=connection)
    client.signal(handle, GO, "second", connection=connection)
    assert handle.status() == Status.SLEEPING
    connection.commit()
    assert handle.result(PATIENCE) == ["first", "second"]
    until(lambda: not connection.execute("SELECT 1 FROM replay.outbox WHERE id = %s", (handle.id,)).fetchall())


def test_an_execution_and_its_first_signals_may_begin_in_one_transaction(
    client: Engine, worker: Engine, connection: Any
) -> None:
    handle = client.start(waits, connection=connection)
    client.signal(handle, GO, "a", connection=connection)
    client.signal(handle, GO, "b", connection=connection)
    connection.commit()
    assert handle.result(PATIENCE) == ["a", "b"]


def test_a_signal_that_nobody_can_take_is_refused_or_logged(
    client: Engine, worker: Engine, connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ended = client.start(order, 1)
    ended.result(PATIENCE)
    with pytest.raises(UnknownExecution):
        client.signal("nobody", GO, "x", connection=connection)
    with pytest.raises(ExecutionEnded):
        client.signal(ended, GO, "x", connection=connection)
    handle = waits_for(client)
    with pytest.raises(SignalRefused):
        client.signal(handle, "other", "x", connection=connection)
    client.signal(handle, GO, "late", connection=connection)
    handle.cancel()
    until(lambda: handle.status() == Status.CANCELLED)
    with caplog.at_level(logging.ERROR):
        connection.commit()
        until(lambda: "is dropped" in caplog.text, what="the log")
    assert handle.id in caplog.text


def test_a_schedule_in_a_transaction_begins_at_its_instant(client: Engine, worker: Engine, connection: Any) -> None:
    handle = client.schedule(order, 4, delay=0.2, connection=connection)
    connection.commit()
    assert handle.result(PATIENCE) == 8


def test_without_a_transaction_it_is_a_plain_start(client: Engine, postgres_server: PostgresServer) -> None:
    with postgres_server.connect() as connection:
        handle = client.start(order, 1, metadata={"a": 1}, connection=connection)
        assert handle.status() == Status.PENDING


@pytest.mark.parametrize("wrap", ["cursor", "sqlalchemy connection", "sqlalchemy session", "django"])
def test_what_holds_a_connection_of_psycopg_is_understood(client: Engine, connection: Any, wrap: str) -> None:
    alchemy = SimpleNamespace(connection=SimpleNamespace(driver_connection=connection))
    given = {
        "cursor": connection.cursor(),
        "sqlalchemy connection": alchemy,
        "sqlalchemy session": SimpleNamespace(connection=lambda: alchemy),
        "django": SimpleNamespace(connection=connection, ensure_connection=lambda: None),
    }[wrap]
    client.start(order, 1, id="x", connection=given)
    connection.rollback()
    assert client.count_executions() == {}
    client.start(order, 1, id="x", connection=given)
    connection.commit()
    assert client.count_executions() == {Status.PENDING: 1}


def test_other_connections_and_other_stores_are_refused_with_the_remedy(
    client: Engine, connection: Any, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    for stranger in (object(), threading.Lock(), 7):
        with pytest.raises(ConfigError, match="Fix: pass a connection"):
            client.start(order, 1, connection=stranger)
    with postgres_server.connect("postgres", autocommit=False) as elsewhere:
        with pytest.raises(ConfigError, match="does not hold the store"):
            client.start(order, 1, connection=elsewhere)
        assert elsewhere.execute("SELECT 1").fetchone() == (1,), "the user's transaction was spoiled"
    for store in ("memory://", f"sqlite:///{tmp_path}/x.db"):
        with Engine(store, workflows=[order, waits]) as other:
            with pytest.raises(ConfigError, match="needs a store in PostgreSQL"):
                other.start(order, 1, connection=connection)
            handle = other.start(waits)
            with pytest.raises(ConfigError, match="needs a store in PostgreSQL"):
                other.signal(handle, GO, "x", connection=connection)


def test_tables_of_the_first_version_are_brought_up_to_date_with_what_they_hold(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from replay.backends.postgres import schema

    url = postgres_server.url_of(schema=f"s{uuid.uuid4().hex[:20]}")
    with monkeypatch.context() as older:
        first = schema.migrations()[:1]
        older.setattr(schema, "migrations", lambda: first)
        with Engine(url, workflows=[order]) as engine:
            handle = engine.start(order, 3)
            engine.ping()
    with (
        Engine(f"{url}&migrate=0", workflows=[order]) as refused,
        pytest.raises(ConfigError, match="of version 1, 2 is"),
    ):
        refused.ping()
    with postgres_server.connect(autocommit=False) as connection, Engine(url, workflows=[order], worker=True) as engine:
        assert engine.start(order, 4, connection=connection).id
        connection.commit()
        assert engine.wait(handle.id, timeout=PATIENCE) == 6
