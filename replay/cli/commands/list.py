"""`replay list`: list executions."""

from __future__ import annotations

import collections
from typing import Any

import click

from replay.cli.filters import Filters, filter_options, pages
from replay.cli.options import app_option, store_options
from replay.cli.output import bar, emit_json, emit_table, when
from replay.cli.store import open_engine
from replay.cli.timeline import describe_wait
from replay.engine import Engine


@click.command("list", epilog="Example: replay list --store sqlite:///orders.db --status failed")
@store_options
@filter_options
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--cursor", help="Continue an earlier page.")
@click.option("--count", is_flag=True, help="Count by status instead.")
@app_option
def list_command(
    store: str, namespace: str, as_json: bool, filters: Filters, limit: int, cursor: str | None, count: bool, app: str | None
) -> None:  # fmt: skip
    """List executions, newest first."""
    with open_engine(store, namespace, app) as engine:
        if count:
            _print_counts(_counts(engine, filters), as_json=as_json)
            return
        page = engine.find_executions(**filters, limit=limit, cursor=cursor)
    if as_json:
        for execution in page:
            emit_json(execution)
    else:
        rows = [(x.id, x.workflow, x.status, when(x.created_at), _now(x.current)) for x in page]
        emit_table(("id", "workflow", "status", "created (UTC)", "now"), rows, one_line=True)
    if page.cursor:
        click.echo(f"more: --cursor {page.cursor}", err=True)


def _counts(engine: Engine, filters: Filters) -> dict[str, int]:
    """Count by status: from the store's index if the filters allow, else one by one."""
    if not filters.keys() - {"workflow"}:
        return {str(status): count for status, count in engine.count_executions(**filters).items()}
    found: collections.Counter[str] = collections.Counter()
    with bar("counting", None) as advance:
        for page in pages(engine, filters):
            found.update(str(execution.status) for execution in page)
            advance(len(page))
    return dict(sorted(found.items()))


def _print_counts(counts: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        emit_json(counts)
    else:
        emit_table(("status", "executions"), list(counts.items()))


def _now(current: list[dict[str, Any]]) -> str:
    return describe_wait(current[0]) if current else ""
