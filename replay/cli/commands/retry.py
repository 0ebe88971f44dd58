"""`replay retry`: try a failed execution again."""

from __future__ import annotations

import click

from replay.cli import exit_codes
from replay.cli.bulk import Action, one_or_many
from replay.cli.filters import Filters, filter_options
from replay.cli.options import by_option, reason_option, store_options, yes_option
from replay.cli.output import emit_done
from replay.cli.store import open_engine
from replay.cli.values import parse_value
from replay.client.operator import Operator


@click.command("retry", epilog="Example: replay retry o-1 --store sqlite:///orders.db --reason 'provider is back'")
@click.argument("execution", required=False)
@store_options
@by_option
@reason_option()
@click.option("--rollback", is_flag=True, help="Go on with a rollback that failed.")
@click.option("--skip", metavar="STEP", help="Count this step as done instead of running it again.")
@click.option("--value", default="null", help="With --skip: the step's result, as JSON.")
@filter_options
@click.option("--all", "everything", metavar="WORKFLOW", help="The same as --workflow.")
@yes_option
def retry_command(
    store: str, namespace: str, as_json: bool, execution: str | None, by: str | None, reason: str, rollback: bool,
    skip: str | None, value: str, filters: Filters, everything: str | None, yes: bool,
) -> int:  # fmt: skip
    """Try a failed or stuck execution again from its failed command. Filters select all matches that failed."""
    if everything is not None:
        filters = {**filters, "workflow": everything}
    with open_engine(store, namespace) as engine:
        operator = Operator(engine, by=by)
        if skip is not None:
            return _skip(operator, execution, skip, value, reason, as_json=as_json)
        action = (
            Action(lambda id: operator.retry_rollback(id, reason), "rolled back further", ("compensation_failed",))
            if rollback
            else Action(lambda id: operator.retry(id, reason), "tried again", ("failed",), ("failed", "stuck"))
        )
        return one_or_many(engine, action, execution, filters, yes=yes, as_json=as_json)


def _skip(operator: Operator, execution: str | None, step: str, value: str, reason: str, *, as_json: bool) -> int:
    if execution is None:
        raise click.UsageError("--skip takes one EXECUTION. Fix: name it")
    operator.skip_step(execution, step, parse_value(value, "--value"), reason)
    emit_done(execution, f"step {step} skipped", as_json=as_json)
    return exit_codes.OK
