"""`replay force-fail`: end an execution as failed at once."""

from __future__ import annotations

import click

from replay.cli.interventions import operator, report, yes_option
from replay.cli.options import by_option, reason_option, store_options
from replay.cli.store import open_engine


@click.command(
    "force-fail", epilog="Example: replay force-fail o-1 --why 'the order is void' --store sqlite:///orders.db --yes"
)
@click.argument("execution")
@store_options
@by_option
@reason_option(required=True)
@yes_option
def force_fail_command(
    store: str, namespace: str, as_json: bool, execution: str, by: str | None, reason: str, yes: bool
) -> None:
    """End an execution as failed at once, in any status. Nothing is cleaned up, unlike cancel."""
    with open_engine(store, namespace) as engine:
        found = operator(engine, by, yes=yes).force_fail(execution, reason)
        report(found, "failed by force", yes=yes, as_json=as_json)
