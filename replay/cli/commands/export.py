"""`replay export`: write executions as JSON lines."""

from __future__ import annotations

import sys

import click

from replay.cli.filters import Filters, filter_options, pages
from replay.cli.options import store_options
from replay.cli.output import bar
from replay.cli.store import open_engine
from replay.client.histories import History
from replay.core.errors import UnknownExecution


@click.command("export", epilog="Example: replay export --store sqlite:///orders.db --status completed > done.jsonl")
@store_options
@filter_options
def export_command(store: str, namespace: str, as_json: bool, filters: Filters) -> None:
    """Write executions with their logs as JSON lines, newest first. Nothing is changed."""
    count = 0
    with open_engine(store, namespace) as engine, bar("exporting", None) as advance:
        for page in pages(engine, filters):
            for execution in page:
                try:
                    history = History.of(engine, execution.id, damaged=True)
                except UnknownExecution:
                    continue  # its retention expired since it was listed
                sys.stdout.write(history.text(indent=None) + "\n")
                count += 1
            advance(len(page))
    if not as_json:
        click.echo(f"{count} executions", err=True)
