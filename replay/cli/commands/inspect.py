"""Commands that look at executions: a list, one of them, its log, all of them as JSON lines."""

from __future__ import annotations

import collections
import sys
from pathlib import Path
from typing import Any

import click

from replay.cli import shell, timeline
from replay.cli.filters import Filters, filter_options, pages
from replay.core.errors import UnknownExecution
from replay.engine import Engine


@click.command("list", epilog="Example: replay list --store sqlite:///orders.db --status failed")
@shell.store_options
@filter_options
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--cursor", help="Continue an earlier page.")
@click.option("--count", is_flag=True, help="Count by status instead.")
@shell.app_option
def list_command(
    store: str, namespace: str, as_json: bool, filters: Filters, limit: int, cursor: str | None, count: bool, app: str | None
) -> None:  # fmt: skip
    """List executions, newest first."""
    with shell.open_engine(store, namespace, app) as engine:
        if count:
            counts = _counts(engine, filters)
            if as_json:
                shell.emit_json(counts)
            else:
                shell.emit_table(("status", "executions"), list(counts.items()))
            return
        page = engine.find_executions(**filters, limit=limit, cursor=cursor)
    if as_json:
        for execution in page:
            shell.emit_json(execution)
    else:
        rows = [(x.id, x.workflow, x.status, shell.when(x.created_at), _where(x.current)) for x in page]
        shell.emit_table(("id", "workflow", "status", "created (UTC)", "now"), rows)
    if page.cursor:
        click.echo(f"more: --cursor {page.cursor}", err=True)


def _counts(engine: Engine, filters: Filters) -> dict[str, int]:
    """Count by status: from the store's index where that will do, else one by one."""
    if not filters.keys() - {"workflow"}:
        return {str(status): count for status, count in engine.count_executions(**filters).items()}
    found: collections.Counter[str] = collections.Counter()
    with shell.bar("counting", None) as advance:
        for page in pages(engine, filters):
            found.update(str(execution.status) for execution in page)
            advance(len(page))
    return dict(sorted(found.items()))


def _where(current: list[dict[str, Any]]) -> str:
    return timeline.describe_wait(current[0]) if current else ""


@click.command("show", epilog="Example: replay show o-1 --store sqlite:///orders.db")
@click.argument("execution")
@shell.store_options
@shell.app_option
def show_command(store: str, namespace: str, as_json: bool, execution: str, app: str | None) -> None:
    """Show one execution: input, result, steps, timeline, and where it is now."""
    with shell.open_engine(store, namespace, app) as engine:
        detail = engine.detail(execution)
    x = detail.execution
    if as_json:
        audit = [timeline.entry_json(entry) for entry in detail.audit]
        shell.emit_json({"execution": x, "steps": detail.steps, "audit": audit})
        return
    facts = [
        ("id", x.id), ("workflow", x.workflow + (f" version {x.version}" if x.version else "")), ("status", x.status),
        ("input", x.input), ("result", x.result), ("attempt", x.attempt), ("parent", x.parent_id),
        ("created", shell.when(x.created_at)), ("ended", shell.when(x.ended_at)), ("worker", x.worker),
        ("metadata", x.metadata or None), ("due", shell.when(x.due_at) if not x.status.ended else None),
        ("error", None if isinstance(x.error, BaseException) else x.error),
    ]  # fmt: skip
    for name, value in facts:
        if value not in (None, ""):
            click.echo(f"{name:<9} {timeline.text_of(value)}")
    if isinstance(x.error, BaseException):
        click.echo("\n".join(timeline.failure_lines(x.error)))
    click.echo("timeline")
    for line in timeline.lines(detail):
        click.echo(line)


OWN_FILE = Path("<EXECUTION.json>")
"""What `--export` without a file stands for."""


@click.command("history", epilog="Example: replay history o-1 --store sqlite:///orders.db --export histories/o-1.json")
@click.argument("execution")
@shell.store_options
@click.option(
    "--export",
    "target",
    is_flag=False,
    flag_value=OWN_FILE,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a file for `replay check` (default: EXECUTION.json).",
)
def history_command(store: str, namespace: str, as_json: bool, execution: str, target: Path | None) -> None:
    """Print an execution's log as it is stored, or export it as a golden history."""
    from replay.client.histories import History

    with shell.open_engine(store, namespace) as engine:
        history = History.of(engine, execution)
    if target == OWN_FILE:
        target = Path(f"{execution.replace('/', '_')}.json")
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(history.text(), encoding="utf-8")
        count = len(history.recorded.rows)
        if as_json:
            shell.emit_json({"id": execution, "entries": count, "file": target})
        else:
            click.echo(f"{count} entries written to {target}", err=True)
        return
    for index, row in enumerate(history.recorded.rows):
        if as_json:
            click.echo(row.decode(errors="backslashreplace"))
        else:
            click.echo(f"{index:>6}  {shell.safe(row.decode(errors='backslashreplace'))}")


@click.command("export", epilog="Example: replay export --store sqlite:///orders.db --status completed > done.jsonl")
@shell.store_options
@filter_options
def export_command(store: str, namespace: str, as_json: bool, filters: Filters) -> None:
    """Write executions with their logs as JSON lines, newest first; nothing is changed."""
    from replay.client.histories import History

    count = 0
    with shell.open_engine(store, namespace) as engine, shell.bar("exporting", None) as advance:
        for page in pages(engine, filters):
            for execution in page:
                try:
                    history = History.of(engine, execution.id, damaged=True)
                except UnknownExecution:
                    continue  # its retention has passed meanwhile
                sys.stdout.write(history.text(indent=None) + "\n")
                count += 1
            advance(len(page))
    if not as_json:
        click.echo(f"{count} executions", err=True)
