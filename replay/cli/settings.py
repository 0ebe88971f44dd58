"""Commands about the installation: workers, the store's health, the settings in force."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
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


@click.group("config", context_settings={"help_option_names": ["-h", "--help"]})
def config_command() -> None:
    """Show the settings in force."""


@config_command.command("show", epilog="Example: replay config show")
@click.option("--json", "as_json", is_flag=True)
def show(as_json: bool) -> None:
    """Show what the environment and the configuration file set, passwords masked; flags come before both."""
    rows = [
        (key, "environment", masked(value)) for key, value in sorted(os.environ.items()) if key.startswith("REPLAY_")
    ]
    rows += [(key, "file", masked(str(value))) for key, value in sorted(shell.config_file().items())]
    if as_json:
        for key, where, value in rows:
            shell.emit_json({"name": key, "from": where, "value": value})
    else:
        shell.emit_table(("name", "from", "value"), rows)
    if not rows:
        click.echo("nothing is set: flags and defaults only", err=True)
    sys.stdout.flush()
