"""`replay history`: print or export an execution's log."""

from __future__ import annotations

from pathlib import Path

import click

from replay.cli.options import store_options
from replay.cli.output import emit_json
from replay.cli.store import open_engine
from replay.cli.text import safe, safe_json_text
from replay.client.histories import History

OWN_FILE = Path("<EXECUTION.json>")
"""Value of `--export` without a file."""


@click.command("history", epilog="Example: replay history o-1 --store sqlite:///orders.db --export histories/o-1.json")
@click.argument("execution")
@store_options
@click.option(
    "--export",
    "target",
    is_flag=False,
    flag_value=OWN_FILE,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a file for `replay check` (default: EXECUTION.json).",
)
def history_command(store: str, namespace: str, as_json: bool, execution: str, target: Path | None) -> None:
    """Print an execution's log as it is stored, or export it as a golden history."""
    with open_engine(store, namespace) as engine:
        history = History.of(engine, execution)
    if target == OWN_FILE:
        target = Path(f"{execution.replace('/', '_')}.json")
    if target is not None:
        _export(history, execution, target, as_json=as_json)
        return
    for index, row in enumerate(history.recorded.rows):
        text = row.decode(errors="backslashreplace")
        click.echo(safe_json_text(text) if as_json else f"{index:>6}  {safe(text)}")


def _export(history: History, execution: str, target: Path, *, as_json: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(history.text(), encoding="utf-8")
    count = len(history.recorded.rows)
    if as_json:
        emit_json({"id": execution, "entries": count, "file": target})
    else:
        click.echo(f"{count} entries written to {target}", err=True)
