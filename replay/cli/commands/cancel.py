"""`replay cancel`: ask an execution to stop."""

from __future__ import annotations

import click

from replay.cli.bulk import Action, one_or_many
from replay.cli.filters import Filters, filter_options
from replay.cli.options import by_option, reason_option, store_options, yes_option
from replay.cli.store import open_engine
from replay.client.operator import OPEN, Operator


@click.command("cancel", epilog="Example: replay cancel o-1 --store sqlite:///orders.db --reason 'customer called'")
@click.argument("execution", required=False)
@store_options
@by_option
@reason_option()
@filter_options
@yes_option
def cancel_command(
    store: str, namespace: str, as_json: bool, execution: str | None, by: str | None, reason: str, filters: Filters, yes: bool
) -> int:  # fmt: skip
    """Ask an execution to stop; it may clean up first. Filters select all matches that have not ended."""
    with open_engine(store, namespace) as engine:
        operator = Operator(engine, by=by)
        action = Action(
            lambda id: operator.cancel(id, reason or None),
            "cancel requested",
            OPEN,
            act_on_all=lambda ids: operator.cancel_many(ids, reason or None),
        )
        return one_or_many(engine, action, execution, filters, yes=yes, as_json=as_json)
