"""Commands that start executions, wait for them and talk to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import click

from replay.cli import shell
from replay.core.errors import ExecutionCancelled, ExecutionFailed, Undecodable
from replay.engine import Engine


@click.command(
    "start", epilog='Example: replay start shop:approve_order \'{"id": "o-1"}\' --store sqlite:///orders.db --wait'
)
@click.argument("workflow")
@click.argument("value", default="null")
@shell.store_options
@click.option("--id", "id_", help="The execution's id.")
@click.option("--key", "--idempotency-key", "key", help="Starting again with the same key changes nothing.")
@click.option("--metadata", multiple=True, type=shell.PAIR, help="Searchable (repeatable).")
@click.option("--timeout", type=shell.DURATION, help="Within which it must end; default: the workflow's.")
@click.option("--priority", type=click.IntRange(0, 9), help="9 goes first; default: the workflow's.")
@click.option("--at", type=shell.INSTANT, help="Begin then: 2026-01-31T08:00+01:00.")
@click.option("--delay", type=shell.DURATION, help="Begin after that long.")
@click.option("--wait", "wait_", is_flag=True, help="Wait for the result.")
@click.option("--wait-timeout", type=shell.DURATION, help="Longest wait (90s, 15m, ...).")
@shell.raw_option
def start_command(
    store: str, namespace: str, as_json: bool, workflow: str, value: str, key: str | None, id_: str | None,
    metadata: tuple[tuple[str, Any], ...], at: float | None, delay: float | None, wait_: bool, wait_timeout: float | None,
    raw: bool, **options: Any,
) -> None:  # fmt: skip
    """Start WORKFLOW (module:object) with a JSON VALUE as its input (@FILE reads a file, - standard input)."""
    definition = shell.load_one(workflow)
    if at is not None and delay is not None:
        raise click.UsageError("pass --at or --delay, not both")
    options |= {"idempotency_key": key, "id": id_, "metadata": dict(metadata)}
    with shell.open_engine(store, namespace, [definition], create=True) as engine:
        input = shell.decoded(engine, value, "VALUE", raw=raw)
        if input is not None and not definition.takes_input:
            raise click.UsageError(f"workflow {definition.key!r} takes no input. Fix: leave VALUE out")
        if at is None and delay is None:
            handle = engine.start(definition, input, **options)
        else:
            handle = engine.schedule(definition, input, at=at, delay=delay, **options)
        if wait_:
            _print_result(engine, handle.id, wait_timeout, as_json)
        elif as_json:
            shell.emit_json({"id": handle.id})
        else:
            click.echo(handle.id)


@click.command("wait", epilog="Example: replay wait o-1 --store sqlite:///orders.db --timeout 5m")
@click.argument("execution")
@shell.store_options
@click.option("--timeout", type=shell.DURATION, help="Longest wait (90s, 15m, ...); exit code 6 when it is over.")
@shell.app_option
def wait_command(
    store: str, namespace: str, as_json: bool, execution: str, timeout: float | None, app: str | None
) -> None:
    """Wait for an execution's result and print it."""
    with shell.open_engine(store, namespace, app) as engine:
        _print_result(engine, execution, timeout, as_json)


def _print_result(engine: Engine, id: str, timeout: float | None, as_json: bool) -> None:
    try:
        with _told_of_the_app():
            result = engine.wait(id, timeout)
    except (ExecutionFailed, ExecutionCancelled) as error:
        if as_json:
            shell.emit_json({"id": id, "error": error})
        shell.fail(str(error), shell.FAILURE)
    if as_json:
        shell.emit_json({"id": id, "result": result})
    else:
        click.echo(shell.safe(result))


@contextlib.contextmanager
def _told_of_the_app() -> Iterator[None]:
    try:
        yield
    except Undecodable as error:
        raise Undecodable(f"it ended, but {error}. Fix: --app MODULE:OBJECT, so that the classes are known") from error


@click.command("signal", epilog="Example: replay signal o-1 approved '\"ann\"' --store sqlite:///orders.db")
@click.argument("execution")
@click.argument("signal")
@click.argument("payload", default="null")
@shell.store_options
@click.option("--dedupe-id", help="Sending again with the same one changes nothing.")
@shell.raw_option
@click.option("--app", "-A", metavar="MODULE:OBJECT", help="The workflows, so that signal and payload are checked.")
def signal_command(
    store: str, namespace: str, as_json: bool, execution: str, signal: str, payload: str, dedupe_id: str | None, raw: bool,
    app: str | None,
) -> None:  # fmt: skip
    """Send a signal with a JSON PAYLOAD (@FILE reads a file, - standard input).

    Without --app nobody here knows which signals the workflow takes: one that it does not wait for now is kept, with a note.
    """
    with shell.open_engine(store, namespace, app) as engine:
        value = shell.decoded(engine, payload, "PAYLOAD", raw=raw)
        waits = [wait["signal"] for wait in engine.get_execution(execution).current if wait.get("kind") == "signal"]
        engine.signal(execution, signal, value, dedupe_id=dedupe_id)
    if app is None and waits and signal not in waits:
        click.echo(
            f"note: {execution} waits for {', '.join(waits)}, not for {signal!r}, which is kept for later. "
            f"With --app MODULE:OBJECT signals are checked against the workflow's list",
            err=True,
        )
    shell.emit_done(execution, f"signal {signal} sent", as_json=as_json)
