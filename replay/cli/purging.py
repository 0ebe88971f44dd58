"""`replay purge`: ended executions go, and are on disk before if wanted."""

from __future__ import annotations

import os
from pathlib import Path

import click

from replay.cli import shell
from replay.cli.filtering import Filters, filter_options, pages
from replay.core import requests as r
from replay.engine import Engine
from replay.histories import History
from replay.operator import Operator


@click.command(
    "purge", epilog="Example: replay purge --older-than 30d --status completed --store sqlite:///orders.db --yes"
)
@shell.store_options
@click.option(
    "--older-than", required=True, type=shell.DURATION, help="Ended longer ago than this (90s, 15m, 2h, 30d)."
)
@filter_options
@click.option(
    "--export",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="First append each to FILE, a JSON line.",
)
@click.option("--yes", is_flag=True, help="Do it, not only count.")
def purge_command(
    store: str, namespace: str, as_json: bool, older_than: float, filters: Filters, target: Path | None, yes: bool
) -> None:
    """Remove ended executions (completed ones without --status); with --export their histories are on disk before they go."""
    filters = {"status": ("completed",), **filters}
    count = 0
    with shell.open_engine(store, namespace) as engine, shell.bar("removing" if yes else "counting", None) as advance:
        before = engine.ask(r.Ping()) - older_than  # by the store's clock, as all its instants
        filters["updated_before"] = min(before, filters.get("updated_before", before))
        operator = Operator(engine)
        for page in pages(engine, filters):
            if yes and target is not None:
                _export(engine, [execution.id for execution in page], target)
            for execution in page:
                count += 1
                if yes:
                    operator.delete(execution.id)
            advance(len(page))
    what = f"{count} executions removed" if yes else f"{count} executions would be removed; add --yes to do it"
    shell.emit_json({"count": count, "removed": yes}) if as_json else click.echo(what)


def _export(engine: Engine, ids: list[str], target: Path) -> None:
    """Append histories to *target*, and have them on the disk when this returns."""
    with target.open("a", encoding="utf-8") as file:
        for id in ids:
            file.write(History.of(engine, id).text(indent=None) + "\n")
        file.flush()
        os.fsync(file.fileno())
