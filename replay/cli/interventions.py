"""Interventions in an execution's log: each is rehearsed until `--yes` is added."""

from __future__ import annotations

import click

from replay.cli import output
from replay.client.operator import Operator, Rehearsal
from replay.client.records import Execution
from replay.engine import Engine

yes_option = click.option("--yes", is_flag=True, help="Act. Without --yes the outcome is only shown.")
"""Adds `--yes` to an intervention."""


def operator(engine: Engine, by: str | None, *, yes: bool) -> Operator:
    """Return the operator, or without *yes* one that checks everything and changes nothing."""
    return (Operator if yes else Rehearsal)(engine, by=by)


def report(found: Execution, done: str, *, yes: bool, as_json: bool) -> None:
    """Print the outcome, or without *yes* the outcome to expect."""
    if yes:
        output.emit_done(found.id, done, as_json=as_json)
    elif as_json:
        output.emit_json({"id": found.id, "status": found.status, "would": done, "yes": False})
    else:
        click.echo(f"{found.id} ({found.workflow}, {found.status}); add --yes, and it will be: {done}")
