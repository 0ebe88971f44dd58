"""`replay show`: show one execution: steps, timeline, where it is now."""

from __future__ import annotations

from typing import Any

import click

from replay.cli import timeline
from replay.cli.options import app_option, store_options
from replay.cli.output import emit_json, when
from replay.cli.store import open_engine
from replay.client.records import Execution


@click.command("show", epilog="Example: replay show o-1 --store sqlite:///orders.db")
@click.argument("execution")
@store_options
@app_option
def show_command(store: str, namespace: str, as_json: bool, execution: str, app: str | None) -> None:
    """Show one execution: input, result, steps, timeline, and where it is now."""
    with open_engine(store, namespace, app) as engine:
        detail = engine.detail(execution)
    if as_json:
        audit = [timeline.entry_json(entry) for entry in detail.audit]
        emit_json({"execution": detail.execution, "steps": detail.steps, "audit": audit, "inbox": detail.inbox})
        return
    for name, value in _facts(detail.execution):
        if value not in (None, ""):
            click.echo(f"{name:<9} {timeline.text_of(value)}")
    if isinstance(detail.execution.error, BaseException):
        click.echo("\n".join(timeline.failure_lines(detail.execution.error)))
    click.echo("timeline")
    for line in timeline.lines(detail):
        click.echo(line)


def _facts(x: Execution) -> list[tuple[str, Any]]:
    return [
        ("id", x.id), ("workflow", x.workflow + (f" version {x.version}" if x.version else "")), ("status", x.status),
        ("input", x.input), ("result", x.result), ("attempt", x.attempt), ("parent", x.parent_id),
        ("created", when(x.created_at)), ("ended", when(x.ended_at)), ("worker", x.worker),
        ("metadata", x.metadata or None), ("due", when(x.due_at) if not x.status.ended else None),
        ("error", None if isinstance(x.error, BaseException) else x.error),
    ]  # fmt: skip
