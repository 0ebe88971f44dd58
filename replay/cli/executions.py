"""Commands that start, watch and talk to executions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from replay.cli import shell, timeline
from replay.core import requests as r
from replay.core.errors import ExecutionCancelled, ExecutionFailed


@click.command("list", epilog="Example: replay list --store sqlite:///orders.db --status failed")
@shell.store_options
@click.option("--status", multiple=True, help="Only these statuses (repeatable).")
@click.option("--workflow", help="Only this workflow.")
@click.option("--parent", help="Only children of this execution.")
@click.option("--id-prefix", help="Only ids that begin so.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--cursor", help="Continue an earlier page.")
@click.option("--count", is_flag=True, help="Count by status instead.")
def list_command(
    store: str, namespace: str, as_json: bool, status: tuple[str, ...], workflow: str | None, parent: str | None,
    id_prefix: str | None, limit: int, cursor: str | None, count: bool,
) -> None:  # fmt: skip
    """List executions, newest first."""
    with shell.open_engine(store, namespace) as engine:
        if count:
            counts = engine.count_executions(workflow=workflow)
            if as_json:
                shell.emit_json(counts)
            else:
                shell.emit_table(("status", "executions"), list(counts.items()))
            return
        page = engine.find_executions(
            status=status or None, workflow=workflow, parent=parent, id_prefix=id_prefix, limit=limit, cursor=cursor
        )
        if as_json:
            for execution in page:
                shell.emit_json(execution)
        else:
            rows = [(x.id, x.workflow, x.status, shell.when(x.created_at), _where(x.current)) for x in page]
            shell.emit_table(("id", "workflow", "status", "created (UTC)", "now"), rows)
        if page.cursor:
            click.echo(f"more: --cursor {page.cursor}", err=True)


def _where(current: list[dict[str, Any]]) -> str:
    return timeline.describe_wait(current[0]) if current else ""


@click.command("show", epilog="Example: replay show o-1 --store sqlite:///orders.db")
@click.argument("execution")
@shell.store_options
def show_command(store: str, namespace: str, as_json: bool, execution: str) -> None:
    """Show one execution: input, result, steps, timeline, and where it is now."""
    with shell.open_engine(store, namespace) as engine:
        detail = engine.detail(execution)
    if as_json:
        shell.emit_json(detail)
        return
    x = detail.execution
    facts = [
        ("id", x.id), ("workflow", x.workflow + (f" version {x.version}" if x.version else "")), ("status", x.status),
        ("input", x.input), ("result", x.result), ("error", x.error), ("attempt", x.attempt), ("parent", x.parent_id),
        ("created", shell.when(x.created_at)), ("ended", shell.when(x.ended_at)), ("worker", x.worker),
        ("metadata", x.metadata or None), ("due", shell.when(x.due_at) if not x.status.ended else None),
    ]  # fmt: skip
    for name, value in facts:
        if value not in (None, ""):
            click.echo(f"{name:<9} {shell.safe(value)}")
    trace = getattr(x.error, "_replay_traceback", None) or getattr(
        getattr(x.error, "cause", None), "_replay_traceback", None
    )
    if trace:
        click.echo("traceback\n" + "\n".join("  " + shell.safe(line) for line in trace.splitlines()))
    click.echo("timeline")
    for line in timeline.lines(detail):
        click.echo(line)


OWN_FILE = Path("<EXECUTION.json>")
"""What `--export` without a file stands for."""


@click.command("history", epilog="Example: replay history o-1 --store sqlite:///orders.db --export histories/o-1.json")
@click.argument("execution")
@shell.store_options
@click.option(
    "--export",
    "target",
    is_flag=False,
    flag_value=OWN_FILE,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a file for `replay check` (default: EXECUTION.json).",
)
def history_command(store: str, namespace: str, as_json: bool, execution: str, target: Path | None) -> None:
    """Print an execution's log, or export it as a golden history."""
    from replay.histories import History

    with shell.open_engine(store, namespace) as engine:
        history = History.of(engine, execution)
        if target == OWN_FILE:
            target = Path(f"{execution.replace('/', '_')}.json")
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(history.text(), encoding="utf-8")
            click.echo(f"{len(history.recorded.rows)} entries written to {target}", err=True)
            return
        for index, row in enumerate(history.recorded.rows):
            if as_json:
                click.echo(row.decode())
            else:
                click.echo(f"{index:>6}  {shell.safe(row.decode())}")


@click.command(
    "start", epilog='Example: replay start shop:approve_order \'{"id": "o-1"}\' --store sqlite:///orders.db --wait'
)
@click.argument("workflow")
@click.argument("value", default="null")
@shell.store_options
@click.option("--key", help="Idempotency key.")
@click.option("--id", "id_", help="The execution's id.")
@click.option("--wait", "wait_", is_flag=True, help="Wait for the result.")
@click.option("--wait-timeout", default=None, help="Longest wait (90s, 15m, ...).")
@click.option(
    "--raw", is_flag=True, help="VALUE is in the codec's own format (tagged JSON), so that it can hold classes."
)
def start_command(
    store: str, namespace: str, as_json: bool, workflow: str, value: str, key: str | None, id_: str | None, wait_: bool,
    wait_timeout: str | None, raw: bool,
) -> None:  # fmt: skip
    """Start WORKFLOW (module:object) with a JSON VALUE as its input (@FILE reads a file, - standard input)."""
    (definition, *more) = shell.load_workflows(workflow)
    if more:
        raise click.UsageError(f"{workflow!r} names several workflows. Fix: name one, as module:function")
    input = shell.parse_value(value, "VALUE")
    with shell.open_engine(store, namespace, [definition]) as engine:
        if raw:
            input = engine.codec.decode(json.dumps(input).encode())
        handle = engine.start(definition, input, idempotency_key=key, id=id_)
        if not wait_:
            shell.emit_json({"id": handle.id}) if as_json else click.echo(handle.id)
            return
        _print_result(engine, handle.id, None if wait_timeout is None else shell.parse_duration(wait_timeout), as_json)


@click.command("wait", epilog="Example: replay wait o-1 --store sqlite:///orders.db --timeout 5m")
@click.argument("execution")
@shell.store_options
@click.option("--timeout", default=None, help="Longest wait (90s, 15m, ...); exit code 6 when it is over.")
def wait_command(store: str, namespace: str, as_json: bool, execution: str, timeout: str | None) -> None:
    """Wait for an execution's result and print it."""
    with shell.open_engine(store, namespace) as engine:
        _print_result(engine, execution, None if timeout is None else shell.parse_duration(timeout), as_json)


def _print_result(engine: Any, id: str, timeout: float | None, as_json: bool) -> None:
    try:
        result = engine.wait(id, timeout)
    except (ExecutionFailed, ExecutionCancelled) as error:
        if as_json:
            shell.emit_json({"id": id, "error": error})
        shell.fail(str(error), shell.FAILURE)
    if as_json:
        shell.emit_json({"id": id, "result": result})
    else:
        click.echo(shell.safe(result))


@click.command("signal", epilog="Example: replay signal o-1 approved '\"ann\"' --store sqlite:///orders.db")
@click.argument("execution")
@click.argument("signal")
@click.argument("payload", default="null")
@shell.store_options
@click.option("--dedupe-id", help="Sending again with the same one changes nothing.")
@click.option(
    "--raw", is_flag=True, help="PAYLOAD is in the codec's own format (tagged JSON), so that it can hold classes."
)
@click.option("--app", "-A", metavar="MODULE:OBJECT", help="The workflows, so that the signal can be checked.")
def signal_command(
    store: str, namespace: str, as_json: bool, execution: str, signal: str, payload: str, dedupe_id: str | None, raw: bool,
    app: str | None,
) -> None:  # fmt: skip
    """Send a signal with a JSON PAYLOAD (@FILE reads a file, - standard input)."""
    value = shell.parse_value(payload, "PAYLOAD")
    with shell.open_engine(store, namespace, shell.load_workflows(app) if app else ()) as engine:
        if raw:
            engine.ask(r.Get(execution))
            value = engine.codec.decode(json.dumps(value).encode())
        engine.signal(execution, signal, value, dedupe_id=dedupe_id)
    _done(as_json, execution, f"signal {signal} sent")


@click.command("cancel", epilog="Example: replay cancel o-1 --store sqlite:///orders.db --reason 'customer called'")
@click.argument("execution")
@shell.store_options
@click.option("--reason", help="Kept in the audit trail.")
def cancel_command(store: str, namespace: str, as_json: bool, execution: str, reason: str | None) -> None:
    """Ask an execution to stop; it may clean up first."""
    with shell.open_engine(store, namespace) as engine:
        engine.cancel(execution, reason)
    _done(as_json, execution, "cancel requested")


def _done(as_json: bool, id: str, what: str) -> None:
    if as_json:
        shell.emit_json({"id": id, "done": what})
    else:
        click.echo(what)


@click.command("export", epilog="Example: replay export --store sqlite:///orders.db --status completed > done.jsonl")
@shell.store_options
@click.option("--status", multiple=True, help="Only these statuses (repeatable).")
@click.option("--workflow", help="Only this workflow.")
def export_command(store: str, namespace: str, as_json: bool, status: tuple[str, ...], workflow: str | None) -> None:
    """Write executions with their logs as JSON lines, oldest fields first; nothing is changed."""
    from replay.histories import History

    cursor, count = None, 0
    with shell.open_engine(store, namespace) as engine, shell.bar("exporting", None) as advance:
        while True:
            page = engine.find_executions(status=status or None, workflow=workflow, limit=500, cursor=cursor)
            for execution in page:
                sys.stdout.write(History.of(engine, execution.id).text(indent=None) + "\n")
                count += 1
            advance(len(page))
            cursor = page.cursor
            if cursor is None:
                break
    click.echo(f"{count} executions", err=True)
