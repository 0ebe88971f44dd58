"""`replay fork`: begin a new execution with a part of another's log."""

from __future__ import annotations

import click

from replay.cli.options import by_option, reason_option, store_options
from replay.cli.output import emit_json
from replay.cli.store import open_engine
from replay.client.operator import Operator


@click.command("fork", epilog="Example: replay fork o-1 --before ship --store sqlite:///orders.db")
@click.argument("execution")
@store_options
@by_option
@reason_option()
@click.option("--before", metavar="STEP", help="Keep the log up to this step; default: all of it.")
@click.option("--id", "id_", help="The new execution's id.")
def fork_command(
    store: str, namespace: str, as_json: bool, execution: str, by: str | None, reason: str, before: str | None, id_: str | None
) -> None:  # fmt: skip
    """Begin a new execution with a part of another's log."""
    with open_engine(store, namespace) as engine:
        handle = Operator(engine, by=by).fork(execution, before=before, reason=reason, id=id_)
    if as_json:
        emit_json({"id": handle.id})
    else:
        click.echo(handle.id)
