"""Commands about the installation: workers, the store's health, the settings in force."""

from __future__ import annotations

import json
import platform
import sqlite3
import time
from typing import Any

import click

from replay.cli import shell
from replay.core import requests as r
from replay.urls import masked


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
            shell.emit_json({"name": row.name, "seen": round(now - row.seen_at, 1), **info})
        return
    shell.emit_table(
        ("name", "host", "pid", "queues", "active", "slots", "seen", "workflows"),
        [
            (
                row.name, info.get("host"), info.get("pid"), ",".join(info.get("queues", ())), info.get("active"),
                info.get("concurrency"), f"{now - row.seen_at:.0f} s ago", ",".join(info.get("workflows", ())),
            )
            for row, info in infos
        ],
    )  # fmt: skip


@click.command("doctor", epilog="Example: replay doctor --store redis://localhost:6379/0")
@shell.store_options
def doctor_command(store: str, namespace: str, as_json: bool) -> int:
    """Check that the store answers, how fast, and whether its settings keep what it acknowledges; exit code 4 if not."""
    warnings: list[str] = []
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
            warnings.append("no worker is alive. Fix: replay-worker MODULE:OBJECT --store ...")
    if abs(skew) > 5:
        warnings.append(f"the store's clock and this machine's differ by {skew:.0f} s (harmless for replay; check NTP)")
    facts: dict[str, Any] = {
        "store": masked(store),
        "round_trip_ms": round(trip, 3),
        "executions": {str(status): count for status, count in counts.items()},
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "warnings": warnings,
    }
    if as_json:
        shell.emit_json(facts)
    else:
        for name, value in facts.items():
            if isinstance(value, dict):
                value = ", ".join(f"{count:,} {status}" for status, count in value.items()) or "none"
            if name != "warnings":
                click.echo(f"{name:<14} {value}")
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
    return shell.CHECK_FAILED if warnings else shell.OK
