"""`replay edit-step-result`: replace the recorded result of a step."""

from __future__ import annotations

import click

from replay.cli.interventions import operator, report, yes_option
from replay.cli.options import app_option, by_option, raw_option, reason_option, store_options
from replay.cli.store import decoded, open_engine


@click.command(
    "edit-step-result",
    epilog="Example: replay edit-step-result o-1 price 7 --why 'typed wrong' --store sqlite:///orders.db --yes",
)
@click.argument("execution")
@click.argument("step")
@click.argument("value")
@store_options
@by_option
@reason_option(required=True)
@click.option("--force", is_flag=True, help="Even if later entries may have used the old result.")
@yes_option
@raw_option
@app_option
def edit_step_result_command(
    store: str, namespace: str, as_json: bool, execution: str, step: str, value: str, by: str | None, reason: str, force: bool,
    yes: bool, raw: bool, app: str | None,
) -> None:  # fmt: skip
    """Replace the recorded result of a step by a JSON VALUE."""
    with open_engine(store, namespace, app) as engine:
        result = decoded(engine, value, "VALUE", raw=raw)
        found = operator(engine, by, yes=yes).edit_step_result(execution, step, result, reason, force=force)
        report(found, f"result of step {step} replaced", yes=yes, as_json=as_json)
