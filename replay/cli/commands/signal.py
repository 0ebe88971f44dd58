"""`replay signal`: send a signal."""

from __future__ import annotations

import click

from replay.cli.options import raw_option, store_options
from replay.cli.output import emit_done
from replay.cli.store import decoded, open_engine


@click.command("signal", epilog="Example: replay signal o-1 approved '\"ann\"' --store sqlite:///orders.db")
@click.argument("execution")
@click.argument("signal")
@click.argument("payload", default="null")
@store_options
@click.option("--dedupe-id", help="Sending again with the same id changes nothing.")
@raw_option
@click.option("--app", "-A", metavar="MODULE:OBJECT", help="The workflows, so that signal and payload are checked.")
def signal_command(
    store: str, namespace: str, as_json: bool, execution: str, signal: str, payload: str, dedupe_id: str | None, raw: bool,
    app: str | None,
) -> None:  # fmt: skip
    """Send a signal with a JSON PAYLOAD (@FILE reads a file, - standard input).

    Without --app the workflow's list of signals is unknown. A signal that the execution does not wait for now is kept, with a note.
    """
    with open_engine(store, namespace, app) as engine:
        value = decoded(engine, payload, "PAYLOAD", raw=raw)
        waits = [wait["signal"] for wait in engine.get_execution(execution).current if wait.get("kind") == "signal"]
        engine.signal(execution, signal, value, dedupe_id=dedupe_id)
    if app is None and waits and signal not in waits:
        click.echo(
            f"note: {execution} waits for {', '.join(waits)}, not for {signal!r}, which is kept for later. "
            f"With --app MODULE:OBJECT signals are checked against the workflow's list",
            err=True,
        )
    emit_done(execution, f"signal {signal} sent", as_json=as_json)
