"""`replay workers`: list workers."""

from __future__ import annotations

from typing import Any

import click

from replay.cli.options import store_options
from replay.cli.output import emit_json, emit_table
from replay.cli.store import open_engine
from replay.client.records import worker_facts
from replay.core import requests as r

_COLUMNS = ("name", "host", "pid", "version", "queues", "active", "slots", "seen", "workflows")


@click.command("workers", epilog="Example: replay workers --store sqlite:///orders.db")
@store_options
def workers_command(store: str, namespace: str, as_json: bool) -> None:
    """List the workers that are alive."""
    with open_engine(store, namespace) as engine:
        rows = engine.ask(r.Workers())
        now = engine.ask(r.Ping())
    workers = [(row.name, worker_facts(row), now - row.seen_at) for row in rows]
    if as_json:
        for name, info, seconds in workers:
            emit_json({"name": name, **info, "seen": round(seconds, 1)})
    else:
        emit_table(_COLUMNS, [_cells(*worker) for worker in workers])


def _cells(name: str, info: dict[str, Any], seconds: float) -> tuple[Any, ...]:
    workflows = ",".join(_named(each) for each in info.get("workflows", ()))
    return (
        name, info.get("host"), info.get("pid"), info.get("version"), ",".join(info.get("queues", ())), info.get("active"),
        info.get("slots"),
        f"{seconds:.0f} s ago", workflows,
    )  # fmt: skip


def _named(workflow: dict[str, Any]) -> str:
    key, version = workflow["key"], workflow.get("version")
    return f"{key}@{version}" if version else key
