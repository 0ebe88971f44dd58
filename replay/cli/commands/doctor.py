"""`replay doctor`: check a store's health and settings."""

from __future__ import annotations

import logging
import platform
import sqlite3
import time
from typing import Any, cast

import attrs
import click

from replay.cli import exit_codes
from replay.cli.options import store_options
from replay.cli.output import emit_json
from replay.cli.store import open_engine
from replay.core import requests as r
from replay.engine import Engine
from replay.redaction import masked
from replay.urls import open_queue

ANSWER_WITHIN = 5.0
"""Seconds for a queue to connect and to answer."""

TRIPS = 20
"""Round trips to the store that are measured."""

SKEW = 5.0
"""Seconds between two clocks that are worth a note."""


@attrs.define
class _Findings:
    """Facts in the order of their printing; warnings decide the exit code, notes do not."""

    facts: dict[str, Any] = attrs.Factory(dict)
    warnings: list[str] = attrs.Factory(list)
    notes: list[str] = attrs.Factory(list)
    answered: bool = True

    @property
    def exit_code(self) -> int:
        if not self.answered:
            return exit_codes.UNREACHABLE
        return exit_codes.CHECK_FAILED if self.warnings else exit_codes.OK


@click.command("doctor", epilog="Example: replay doctor --store redis://localhost:6379/0 --queue amqp://localhost")
@store_options
@click.option("--queue", metavar="URL", help="Check this queue, too.")
def doctor_command(store: str, namespace: str, as_json: bool, queue: str | None) -> int:
    """Check that store and queue answer, how fast, and that the store's settings keep acknowledged writes.

    Exit code 3 if one does not answer, 4 if a setting may lose work. A missing worker or a clock that is off is only a note.
    """
    found = _Findings()
    with open_engine(store, namespace) as engine:
        _check_store(engine, store, found)
    if queue is not None:
        _check_queue(queue, namespace, found)
    found.facts |= {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    facts = {**found.facts, "warnings": found.warnings, "notes": found.notes}
    if as_json:
        emit_json(facts)
    else:
        _print(facts)
    return found.exit_code


def _check_store(engine: Engine, url: str, found: _Findings) -> None:
    began = time.perf_counter()
    for _ in range(TRIPS):
        engine.ask(r.Ping())
    trip = (time.perf_counter() - began) / TRIPS * 1000
    skew = engine.ask(r.Ping()) - time.time()
    counts = engine.count_executions()
    warnings = getattr(engine.store, "warnings", None)  # only some stores have settings to check
    found.warnings += warnings() if warnings is not None else []
    if not engine.ask(r.Workers()):
        found.notes.append("no worker is alive. Fix: replay-worker MODULE:OBJECT --store ...")
    if abs(skew) > SKEW:
        found.notes.append(
            f"the store's clock and this machine's differ by {skew:.0f} s (harmless for replay; check NTP)"
        )
    found.facts |= {
        "store": masked(url),
        "round_trip_ms": round(trip, 3),
        "executions": {str(status): count for status, count in counts.items()},
    }


def _check_queue(url: str, namespace: str, found: _Findings) -> None:
    dead = _dead_letters(url, namespace)
    found.facts |= {"queue": masked(url), "dead_letters": dead}
    if dead is None:
        found.answered = False
        found.warnings.append(
            f"the queue {masked(url)} did not answer within {ANSWER_WITHIN:.0f} s (work completes without it, found by "
            f"polling). Fix: host, port, login and virtual host in its URL"
        )
    elif dead:
        found.warnings.append(
            f"{dead} messages that are no hints were set aside in the dead-letter queue. "
            f"Fix: see who else publishes there, then purge it"
        )


def _dead_letters(url: str, namespace: str) -> int | None:
    """Return the length of the dead-letter queue (0 without one), None if the queue does not answer."""
    logging.getLogger("replay.rabbitmq").setLevel(logging.CRITICAL)  # the command says it
    queue = open_queue(url, namespace=namespace)
    count = getattr(queue, "dead_letters", None)
    try:
        return 0 if count is None else cast("int | None", count(ANSWER_WITHIN))
    finally:
        queue.close()


def _print(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{count:,} {status}" for status, count in value.items()) or "none"
        if not isinstance(value, list):
            click.echo(f"{name:<14} {value}")
    for kind in ("warnings", "notes"):
        for text in facts[kind]:
            click.echo(f"{kind.removesuffix('s')}: {text}", err=True)
