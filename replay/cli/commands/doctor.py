"""Commands about the installation: workers, and the health of store and queue."""

from __future__ import annotations

import json
import logging
import platform
import sqlite3
import time
from typing import Any, cast

import click

from replay.cli import shell
from replay.core import requests as r
from replay.redaction import masked
from replay.urls import open_queue


@click.command("workers", epilog="Example: replay workers --store sqlite:///orders.db")
@shell.store_options
def workers_command(store: str, namespace: str, as_json: bool) -> None:
    """List the workers that are alive."""
    with shell.open_engine(store, namespace) as engine:
        rows = engine.ask(r.Workers())
        now = engine.ask(r.Ping())
    infos = [(row, json.loads(row.info)) for row in rows]
    if as_json:
        for row, info in infos:
            shell.emit_json({"name": row.name, **info, "seen": round(now - row.seen_at, 1)})
        return
    shell.emit_table(
        ("name", "host", "pid", "version", "queues", "active", "slots", "seen", "workflows"),
        [
            (
                row.name, info["host"], info["pid"], info["version"], ",".join(info["queues"]), info["active"], info["slots"],
                f"{now - row.seen_at:.0f} s ago", ",".join(_named(**each) for each in info["workflows"]),
            )
            for row, info in infos
        ],
    )  # fmt: skip


def _named(key: str, version: str) -> str:
    return f"{key}@{version}" if version else key


@click.command("doctor", epilog="Example: replay doctor --store redis://localhost:6379/0 --queue amqp://localhost")
@shell.store_options
@click.option("--queue", metavar="URL", help="Check this queue, too.")
def doctor_command(store: str, namespace: str, as_json: bool, queue: str | None) -> int:
    """Check that store and queue answer, how fast, and whether the store's settings keep what it acknowledges.

    Exit code 3 if one does not answer, 4 if a setting may lose work; what is only worth knowing (no worker is alive, a clock is
    off) is a note.
    """
    warnings: list[str] = []
    notes: list[str] = []
    answered = True
    with shell.open_engine(store, namespace) as engine:
        began = time.perf_counter()
        for _ in range(20):
            engine.ask(r.Ping())
        trip = (time.perf_counter() - began) / 20 * 1000
        skew = engine.ask(r.Ping()) - time.time()
        counts = engine.count_executions()
        warn = getattr(engine.store, "warnings", None)
        warnings += warn() if warn is not None else []
        if not engine.ask(r.Workers()):
            notes.append("no worker is alive. Fix: replay-worker MODULE:OBJECT --store ...")
    if abs(skew) > 5:
        notes.append(f"the store's clock and this machine's differ by {skew:.0f} s (harmless for replay; check NTP)")
    facts: dict[str, Any] = {
        "store": masked(store),
        "round_trip_ms": round(trip, 3),
        "executions": {str(status): count for status, count in counts.items()},
    }
    if queue is not None:
        dead = _dead_letters(queue, namespace)
        facts |= {"queue": masked(queue), "dead_letters": dead}
        if dead is None:
            answered = False
            warnings.append(
                f"the queue {masked(queue)} did not answer within {ANSWER_WITHIN:.0f} s (work completes without it, found by "
                f"polling). Fix: host, port, login and virtual host in its URL"
            )
        elif dead:
            warnings.append(
                f"{dead} messages that are no hints were set aside in the dead-letter queue. "
                f"Fix: see who else publishes there, then purge it"
            )
    facts |= {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "warnings": warnings,
        "notes": notes,
    }
    if as_json:
        shell.emit_json(facts)
    else:
        _tell(facts)
    if not answered:
        return shell.UNREACHABLE
    return shell.CHECK_FAILED if warnings else shell.OK


ANSWER_WITHIN = 5.0
"""Seconds that a queue gets to connect and to answer."""


def _dead_letters(url: str, namespace: str) -> int | None:
    """Return how many messages the queue has set aside (0 if it sets none aside), None if it does not answer."""
    logging.getLogger("replay.rabbitmq").setLevel(logging.CRITICAL)  # the command says it
    queue = open_queue(url, namespace=namespace)
    count = getattr(queue, "dead_letters", None)
    try:
        return 0 if count is None else cast("int | None", count(ANSWER_WITHIN))
    finally:
        queue.close()


def _tell(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{count:,} {status}" for status, count in value.items()) or "none"
        if not isinstance(value, list):
            click.echo(f"{name:<14} {value}")
    for kind in ("warnings", "notes"):
        for text in facts[kind]:
            click.echo(f"{kind.removesuffix('s')}: {text}", err=True)
