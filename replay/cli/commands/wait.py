"""`replay wait`: wait for an execution's result."""

from __future__ import annotations

import click

from replay.cli.options import app_option, store_options
from replay.cli.results import print_result
from replay.cli.store import open_engine
from replay.cli.values import DURATION


@click.command("wait", epilog="Example: replay wait o-1 --store sqlite:///orders.db --timeout 5m")
@click.argument("execution")
@store_options
@click.option("--timeout", type=DURATION, help="Longest wait (90s, 15m, ...), then exit code 6.")
@app_option
def wait_command(
    store: str, namespace: str, as_json: bool, execution: str, timeout: float | None, app: str | None
) -> None:
    """Wait for an execution's result and print it."""
    with open_engine(store, namespace, app) as engine:
        print_result(engine, execution, timeout, as_json=as_json)
