"""`replay describe`: a workflow's shape, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from replay.cli import shell

if TYPE_CHECKING:
    from replay.describe import Description


@click.command("describe", epilog="Example: replay describe shop:approve_order --mermaid")
@click.argument("workflow", metavar="MODULE:OBJECT")
@click.option("--mermaid", is_flag=True, help="Print a Mermaid flowchart for each workflow.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each workflow.")
def describe_command(workflow: str, mermaid: bool, as_json: bool) -> None:
    """Draw workflows without running them: every branch, timeout and failure is followed."""
    from replay.describe import describe

    found = [(definition.key, describe(definition)) for definition in shell.load_workflows(workflow)]
    if as_json:
        for _, description in found:
            shell.emit_json(description.json())
    elif mermaid:
        for key, description in found:
            click.echo(f"%% {key}\n{description.mermaid()}")
    else:
        rows = [row for key, description in found for row in _rows(key, description)]
        shell.emit_table(("workflow", "kind", "id", "what", "seconds", "undo", "at"), rows)
    if not as_json:
        for key, description in found:
            for line in description.unexplored:
                click.echo(f"unexplored: {key}: {line}", err=True)


def _rows(key: str, description: Description) -> list[tuple[Any, ...]]:
    return [
        (
            key,
            n.kind,
            n.id,
            n.signal or n.workflow or ", ".join(n.branches or n.members),
            n.timeout or n.duration,
            "yes" if n.has_compensation else "",
            n.at,
        )
        for n in description.nodes
    ]
