"""`replay watch`: follow an execution as it goes on."""

from __future__ import annotations

import sys
import time

import click

from replay.cli import exit_codes, timeline
from replay.cli.options import app_option, store_options
from replay.cli.output import console, emit_json
from replay.cli.store import open_engine
from replay.cli.values import DURATION
from replay.client.records import Detail
from replay.engine import Engine

SHORTEST_PAUSE = 0.05
"""Seconds; a smaller `--every` would only keep the store busy."""


@click.command("watch", epilog="Example: replay watch o-1 --store sqlite:///orders.db")
@click.argument("execution")
@store_options
@click.option("--every", default="0.5s", show_default=True, type=DURATION, help="Time between two reads.")
@click.option("--timeout", type=DURATION, help="Longest time to follow (90s, 15m, ...), then exit code 6.")
@app_option
def watch_command(
    store: str, namespace: str, as_json: bool, execution: str, every: float, timeout: float | None, app: str | None
) -> int:
    """Follow an execution until it ends: live on a terminal, one line for each entry when piped."""
    every = max(every, SHORTEST_PAUSE)
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    with open_engine(store, namespace, app) as engine:
        if sys.stdout.isatty() and not as_json:
            return _live(engine, execution, every, deadline)
        return _lines(engine, execution, every, deadline, as_json=as_json)


def _lines(engine: Engine, id: str, every: float, deadline: float, *, as_json: bool) -> int:
    shown = 0
    while True:
        detail = engine.detail(id)
        lines = timeline.lines(detail)[: 1 + len(detail.audit)]
        for number in range(shown, len(lines)):
            if not as_json:
                click.echo(lines[number])
            elif number:
                entry = detail.audit[number - 1]
                text = timeline.describe(entry)
                emit_json({"index": number - 1, "text": text, "entry": timeline.entry_json(entry)})
        shown = len(lines)
        code = _exit_code(detail, deadline)
        if code is not None:
            return code
        sys.stdout.flush()
        time.sleep(every)


def _live(engine: Engine, id: str, every: float, deadline: float) -> int:
    from rich.live import Live
    from rich.text import Text

    with Live(console=console(), refresh_per_second=4) as live:
        while True:
            detail = engine.detail(id)
            room = max(5, live.console.height - 3)
            head = f"{detail.execution.id}  {detail.execution.workflow}  {detail.execution.status}"
            live.update(Text("\n".join([head, *timeline.lines(detail)[-room:]])))
            code = _exit_code(detail, deadline)
            if code is not None:
                return code
            time.sleep(every)


def _exit_code(detail: Detail, deadline: float) -> int | None:
    """Return the exit code of an ended execution or of a passed deadline, None before either."""
    if detail.execution.status.ended:
        return exit_codes.OK if detail.execution.status == "completed" else exit_codes.FAILURE
    return exit_codes.TIMED_OUT if time.monotonic() >= deadline else None
