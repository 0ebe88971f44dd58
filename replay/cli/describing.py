"""`replay describe`: a workflow's shape, without running it."""

from __future__ import annotations

import click

from replay.cli import shell


@click.command("describe", epilog="Example: replay describe shop:approve_order --mermaid")
@click.argument("workflow", metavar="MODULE:OBJECT")
@click.option("--mermaid", is_flag=True, help="Print a Mermaid flowchart.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each workflow.")
def describe_command(workflow: str, mermaid: bool, as_json: bool) -> None:
    """Draw workflows without running them: every branch, timeout and failure is followed."""
    from replay.describe import describe

    for definition in shell.load_workflows(workflow):
        found = describe(definition)
        if as_json:
            shell.emit_json(found.json())
            continue
        if mermaid:
            click.echo(found.mermaid())
        else:
            rows = [
                (
                    n.kind,
                    n.id,
                    n.signal or n.workflow or ", ".join(n.branches or n.members),
                    n.timeout or n.duration,
                    "yes" if n.has_compensation else "",
                    n.at,
                )
                for n in found.nodes
            ]
            shell.emit_table(("kind", "id", "what", "seconds", "undo", "at"), rows)
        for line in found.unexplored:
            click.echo(f"unexplored: {line}", err=True)
