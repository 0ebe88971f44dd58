"""`replay skip-step`: have a failed step count as done."""

from __future__ import annotations

import click

from replay.cli.interventions import operator, report, yes_option
from replay.cli.options import app_option, by_option, raw_option, reason_option, store_options
from replay.cli.store import decoded, open_engine


@click.command(
    "skip-step",
    epilog="Example: replay skip-step o-1 charge '{\"paid\": true}' --why 'by hand' --store sqlite:///orders.db --yes",
)
@click.argument("execution")
@click.argument("step")
@click.argument("value", default="null")
@store_options
@by_option
@reason_option(required=True)
@yes_option
@raw_option
@app_option
def skip_step_command(
    store: str, namespace: str, as_json: bool, execution: str, step: str, value: str, by: str | None, reason: str, yes: bool,
    raw: bool, app: str | None,
) -> None:  # fmt: skip
    """Count a step as done, with a JSON VALUE as its result. The step is under way, or the execution failed with it."""
    with open_engine(store, namespace, app) as engine:
        result = decoded(engine, value, "VALUE", raw=raw)
        found = operator(engine, by, yes=yes).skip_step(execution, step, result, reason)
        report(found, f"step {step} skipped", yes=yes, as_json=as_json)
