"""`replay purge`: remove ended executions."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click

from replay.cli import exit_codes, output
from replay.cli.filters import Filters, check_statuses, filter_options, pages
from replay.cli.options import store_options
from replay.cli.store import open_engine
from replay.cli.values import DURATION
from replay.client.histories import History
from replay.client.operator import Operator
from replay.client.records import Status
from replay.core import requests as r
from replay.core.errors import OperatorRefused, Undecodable, UnknownExecution
from replay.engine import Engine

Refusals = list[tuple[str, Exception]]
"""Ids of executions that were not removed, each with the reason."""


@click.command(
    "purge", epilog="Example: replay purge --older-than 30d --status completed --store sqlite:///orders.db --yes"
)
@store_options
@click.option(
    "--older-than", required=True, type=DURATION, help="Only executions that ended longer ago (90s, 15m, 2h, 30d)."
)
@filter_options
@click.option(
    "--export",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="First append each to FILE, as a JSON line.",
)
@click.option("--yes", is_flag=True, help="Act. Without --yes matches are only counted.")
def purge_command(
    store: str, namespace: str, as_json: bool, older_than: float, filters: Filters, target: Path | None, yes: bool
) -> int:
    """Remove ended executions: completed ones, or those of --status. With --export their histories are on disk first."""
    filters = {"status": ("completed",), **filters}
    check_statuses(filters, [str(status) for status in Status if status.ended])
    count, refused = 0, False
    with open_engine(store, namespace) as engine, output.bar("removing" if yes else "counting", None) as advance:
        before = engine.ask(r.Ping()) - older_than  # the store's clock, since all instants are its own
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
    output.emit_json({"count": count, "removed": yes}) if as_json else click.echo(what)
    return exit_codes.FAILURE if refused else exit_codes.OK


def remove(engine: Engine, ids: Iterable[str], target: Path | None) -> tuple[int, Refusals]:
    """Remove executions; return the number of removed ones, and the refusals.

    Histories are appended to *target* first. An execution that is gone already, since its retention expired, counts as neither.
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
    """Append histories to *target*; return the ids on the disk, and those that cannot be read and must stay."""
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
