"""Baselines: the cost of one store append and one queue hint without an engine."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from replay.bench.harness import rate

ENTRY = b"x" * 80
"""A payload of about the size of a recorded step."""

BESIDE = (b"x" * 24, b"x" * 24, b"x" * 27, b"x" * 4, b"x" * 4, b"x")
"""Further arguments of a commit (id, token, commit id, expectations), so that the raw script receives as many bytes."""

APPEND = "return redis.call('RPUSH', KEYS[1], ARGV[1])"


def raw_cases(store: str, queue: str | None, count: int) -> dict[str, Callable[[], float]]:
    """Return the baseline cases of *store* and *queue*. The first is the baseline of ratios."""
    return _store_cases(store, count) | ({"raw AMQP publish": lambda: _publishes(queue, count)} if queue else {})


def _store_cases(store: str, count: int) -> dict[str, Callable[[], float]]:
    scheme = store.partition("://")[0]
    if scheme == "sqlite":
        folder = str(Path(store.removeprefix("sqlite:///").partition("?")[0]).absolute().parent)
        return {
            "raw single commits": lambda: _commits(folder, count, 1),
            "raw commits of 50": lambda: _commits(folder, count, 50),
        }
    if scheme in ("redis", "rediss"):
        return {
            "raw EVALSHA": lambda: _scripts(store, count, 1),
            "raw EVALSHA, 50 piped": lambda: _scripts(store, count, 50),
        }
    return {}


def _commits(folder: str, count: int, each: int) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as here:
        db = sqlite3.connect(Path(here) / "raw.db", isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, entry BLOB)")

        def work() -> None:
            for _ in range(count // each):
                db.execute("BEGIN IMMEDIATE")
                for _ in range(each):
                    db.execute("INSERT INTO log (entry) VALUES (?)", (ENTRY,))
                db.execute("COMMIT")

        found = rate(count, work)
        db.close()
    return found


def _scripts(store: str, count: int, each: int) -> float:
    import redis

    client = redis.Redis.from_url(store)
    script = str(client.script_load(APPEND))

    def work() -> None:
        for _ in range(count // each):
            if each == 1:
                client.evalsha(script, 1, "replay:bench:raw", ENTRY, *BESIDE)
                continue
            pipe = client.pipeline(transaction=False)
            for _ in range(each):
                pipe.evalsha(script, 1, "replay:bench:raw", ENTRY, *BESIDE)
            pipe.execute()

    found = rate(count, work)
    client.delete("replay:bench:raw")
    client.close()
    return found


def _publishes(url: str, count: int) -> float:
    """Publish durable messages to a quorum queue, each confirmed before the next."""
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare("replay-bench-raw", durable=True, arguments={"x-queue-type": "quorum"})
    channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=2)

    def work() -> None:
        for _ in range(count):
            channel.basic_publish("", "replay-bench-raw", ENTRY, properties)

    found = rate(count, work)
    channel.queue_delete("replay-bench-raw")
    connection.close()
    return found
