"""`replay delete`: remove an ended execution."""

from __future__ import annotations

import click

from replay.cli.bulk import Action, one_or_many
from replay.cli.filters import Filters, filter_options
from replay.cli.options import by_option, reason_option, store_options, yes_option
from replay.cli.store import open_engine
from replay.client.operator import Operator
from replay.client.records import Status

ENDED = tuple(str(status) for status in Status if status.ended)


@click.command("delete", epilog="Example: replay delete o-1 --store sqlite:///orders.db")
@click.argument("execution", required=False)
@store_options
@by_option
@reason_option("Recorded by the logger replay.audit.")
@filter_options
@yes_option
def delete_command(
    store: str, namespace: str, as_json: bool, execution: str | None, by: str | None, reason: str, filters: Filters, yes: bool
) -> int:  # fmt: skip
    """Remove an ended execution with its log; export it first if in doubt. Filters select all matches that have ended."""
    with open_engine(store, namespace) as engine:
        operator = Operator(engine, by=by)
        action = Action(lambda id: operator.delete(id, reason), "deleted", ENDED)
        return one_or_many(engine, action, execution, filters, yes=yes, as_json=as_json)
