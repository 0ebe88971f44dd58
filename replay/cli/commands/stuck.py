"""`replay stuck`: list executions that need somebody's help."""

from __future__ import annotations

import click

from replay.cli import exit_codes
from replay.cli.options import store_options
from replay.cli.output import emit_json, emit_table
from replay.cli.store import open_engine
from replay.client.operator import Operator


@click.command("stuck", epilog="Example: replay stuck --store sqlite:///orders.db")
@store_options
def stuck_command(store: str, namespace: str, as_json: bool) -> int:
    """List executions that do not go on by themselves, each with the reason. Exit code 4 if there are any."""
    with open_engine(store, namespace) as engine:
        found = Operator(engine).stuck()
    facts = [(each.execution.id, each.execution.workflow, each.reason, each.message) for each in found]
    if as_json:
        for id, workflow, reason, message in facts:
            emit_json({"id": id, "workflow": workflow, "reason": reason, "message": message})
    else:
        rows = [(*fact[:3], fact[3].partition("\n")[0]) for fact in facts]
        emit_table(("id", "workflow", "reason", "message"), rows)
    return exit_codes.CHECK_FAILED if found else exit_codes.OK
