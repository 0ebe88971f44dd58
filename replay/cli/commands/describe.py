"""`replay describe`: draw a workflow without running it."""

from __future__ import annotations

from typing import Any

import click

from replay.cli.output import emit_json, emit_table
from replay.cli.targets import load_workflows
from replay.describe import Description, describe


@click.command("describe", epilog="Example: replay describe shop:approve_order --mermaid")
@click.argument("workflow", metavar="MODULE:OBJECT")
@click.option("--mermaid", is_flag=True, help="Print a Mermaid flowchart for each workflow.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each workflow.")
def describe_command(workflow: str, mermaid: bool, as_json: bool) -> None:
    """Draw workflows without running them. Every branch, timeout and failure is followed."""
    found = [(definition.key, describe(definition)) for definition in load_workflows(workflow)]
    if as_json:
        for _, description in found:
            emit_json(description.json())
        return
    if mermaid:
        for key, description in found:
            click.echo(f"%% {key}\n{description.mermaid()}")
    else:
        rows = [row for key, description in found for row in _rows(key, description)]
        emit_table(("workflow", "kind", "id", "what", "seconds", "undo", "at"), rows)
    for key, description in found:
        for line in description.unexplored:
            click.echo(f"unexplored: {key}: {line}", err=True)


def _rows(key: str, description: Description) -> list[tuple[Any, ...]]:
    return [
        (
            key,
            node.kind,
            node.id,
            node.signal or node.workflow or ", ".join(node.branches or node.members),
            node.timeout or node.duration,
            "yes" if node.has_compensation else "",
            node.at,
        )
        for node in description.nodes
    ]
