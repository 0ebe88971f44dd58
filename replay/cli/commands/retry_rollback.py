"""`replay retry-rollback`: go on with a rollback that failed."""

from __future__ import annotations

import click

from replay.cli.bulk import Action, one_or_many
from replay.cli.filters import Filters, filter_options
from replay.cli.options import by_option, reason_option, store_options, yes_option
from replay.cli.store import open_engine
from replay.client.operator import Operator


@click.command(
    "retry-rollback", epilog="Example: replay retry-rollback o-1 --store sqlite:///orders.db --why 'the bank is back'"
)
@click.argument("execution", required=False)
@store_options
@by_option
@reason_option()
@filter_options
@yes_option
def retry_rollback_command(
    store: str, namespace: str, as_json: bool, execution: str | None, by: str | None, reason: str, filters: Filters, yes: bool
) -> int:  # fmt: skip
    """Go on with a rollback that failed; compensations that are done stay done. The same as retry --rollback."""
    with open_engine(store, namespace) as engine:
        operator = Operator(engine, by=by)
        action = Action(lambda id: operator.retry_rollback(id, reason), "rolled back further", ("compensation_failed",))
        return one_or_many(engine, action, execution, filters, yes=yes, as_json=as_json)
