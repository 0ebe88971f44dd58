"""`replay purge`: ended executions go, and are on disk before if wanted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click

from replay.cli import shell
from replay.cli.filters import Filters, check_statuses, filter_options, pages
from replay.client.histories import History
from replay.client.operator import Operator
from replay.client.records import Status
from replay.core import requests as r
from replay.core.errors import OperatorRefused, Undecodable, UnknownExecution
from replay.engine import Engine

Refusals = list[tuple[str, Exception]]
"""Ids of executions that stay, each with the reason."""


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
) -> int:
    """Remove ended executions (completed ones without --status); with --export their histories are on disk before they go."""
    filters = {"status": ("completed",), **filters}
    check_statuses(filters, [str(status) for status in Status if status.ended])
    count, refused = 0, False
    with shell.open_engine(store, namespace) as engine, shell.bar("removing" if yes else "counting", None) as advance:
        before = engine.ask(r.Ping()) - older_than  # by the store's clock, as all its instants
        filters["updated_before"] = min(before, filters.get("updated_before", before))
        for page in pages(engine, filters):
            if yes:
                removed, refusals = remove(engine, [execution.id for execution in page], target)
                for id, reason in refusals:
                    click.echo(f"{id}: {reason}", err=True)
                count, refused = count + removed, refused or bool(refusals)
            else:
                count += len(page)
            advance(len(page))
    what = f"{count} executions removed" if yes else f"{count} executions would be removed; add --yes to do it"
    shell.emit_json({"count": count, "removed": yes}) if as_json else click.echo(what)
    return shell.FAILURE if refused else shell.OK


def remove(engine: Engine, ids: Iterable[str], target: Path | None) -> tuple[int, Refusals]:
    """Remove executions, their histories before in *target* if that is given; return how many went, and which stay.

    What has gone by itself meanwhile, because its retention has passed, counts as neither.
    """
    refusals: Refusals = []
    if target is not None:
        ids, refusals = _export(engine, ids, target)
    removed, operator = 0, Operator(engine)
    for id in ids:
        try:
            operator.delete(id)
            removed += 1
        except UnknownExecution:
            continue
        except OperatorRefused as refusal:  # it was retried since it was listed
            refusals.append((id, refusal))
    return removed, refusals


def _export(engine: Engine, ids: Iterable[str], target: Path) -> tuple[list[str], Refusals]:
    """Append histories to *target*; return whose are on the disk then, and whose cannot be read and must not go."""
    written: list[str] = []
    damaged: Refusals = []
    with target.open("a", encoding="utf-8") as file:
        for id in ids:
            try:
                file.write(History.of(engine, id).text(indent=None) + "\n")
                written.append(id)
            except UnknownExecution:
                continue
            except Undecodable as damage:
                damaged.append((id, damage))
        file.flush()
        os.fsync(file.fileno())
    return written, damaged
