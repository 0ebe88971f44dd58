"""`replay watch`: an execution's timeline as it grows; `replay completion`: completion for the shell."""

from __future__ import annotations

import sys
import time

import click

from replay.cli import shell, timeline
from replay.client.records import Detail
from replay.engine import Engine


@click.command("watch", epilog="Example: replay watch o-1 --store sqlite:///orders.db")
@click.argument("execution")
@shell.store_options
@click.option("--every", default="0.5s", show_default=True, type=shell.DURATION, help="Time between looks.")
@click.option("--timeout", type=shell.DURATION, help="Give up after that long (90s, 15m, ...; exit code 6).")
@shell.app_option
def watch_command(
    store: str, namespace: str, as_json: bool, execution: str, every: float, timeout: float | None, app: str | None
) -> int:
    """Follow an execution until it ends: live on a terminal, one line for each entry when piped."""
    every = max(every, 0.05)
    with shell.open_engine(store, namespace, app) as engine:
        if sys.stdout.isatty() and not as_json:
            return _live(engine, execution, every, timeout)
        return _lines(engine, execution, every, timeout, as_json=as_json)


def _lines(engine: Engine, id: str, every: float, timeout: float | None, *, as_json: bool) -> int:
    shown = 0
    deadline = _deadline(timeout)
    while True:
        detail = engine.detail(id)
        lines = timeline.lines(detail)[: 1 + len(detail.audit)]
        for number in range(shown, len(lines)):
            if as_json and number:
                entry = detail.audit[number - 1]
                text = timeline.describe(entry)
                shell.emit_json({"index": number - 1, "text": text, "entry": timeline.entry_json(entry)})
            elif not as_json:
                click.echo(lines[number])
        shown = len(lines)
        code = _over(detail, deadline)
        if code is not None:
            return code
        sys.stdout.flush()
        time.sleep(every)


def _live(engine: Engine, id: str, every: float, timeout: float | None) -> int:
    from rich.live import Live
    from rich.text import Text

    from replay.cli.output import console

    deadline = _deadline(timeout)
    with Live(console=console(), refresh_per_second=4) as live:
        while True:
            detail = engine.detail(id)
            room = max(5, live.console.height - 3)
            head = f"{detail.execution.id}  {detail.execution.workflow}  {detail.execution.status}"
            live.update(Text("\n".join([head, *timeline.lines(detail)[-room:]])))
            code = _over(detail, deadline)
            if code is not None:
                return code
            time.sleep(every)


def _deadline(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout


def _over(detail: Detail, deadline: float) -> int | None:
    if detail.execution.status.ended:
        return shell.OK if detail.execution.status == "completed" else shell.FAILURE
    return shell.TIMED_OUT if time.monotonic() >= deadline else None


@click.command("completion", epilog='Example: eval "$(replay completion bash)"')
@click.argument("shell_name", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell_name: str) -> None:
    """Print the script that makes the shell complete commands and options; put it into its start-up file."""
    from click.shell_completion import get_completion_class

    from replay.cli.root import cli

    found = get_completion_class(shell_name)
    if found is None:
        raise click.UsageError(f"no completion for {shell_name}")
    click.echo(found(cli, {}, "replay", "_REPLAY_COMPLETE").source())
