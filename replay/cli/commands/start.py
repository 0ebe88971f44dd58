"""`replay start`: start an execution."""

from __future__ import annotations

from typing import Any

import click

from replay.cli.options import raw_option, store_options
from replay.cli.output import emit_json
from replay.cli.results import print_result
from replay.cli.store import decoded, open_engine
from replay.cli.targets import load_one
from replay.cli.values import DURATION, INSTANT, PAIR
from replay.client.handles import Handle
from replay.definition import Workflow
from replay.engine import Engine


@click.command(
    "start", epilog='Example: replay start shop:approve_order \'{"id": "o-1"}\' --store sqlite:///orders.db --wait'
)
@click.argument("workflow")
@click.argument("value", default="null")
@store_options
@click.option("--id", "id_", help="The execution's id.")
@click.option("--key", "--idempotency-key", "key", help="Starting again with the same key changes nothing.")
@click.option("--metadata", multiple=True, type=PAIR, help="Searchable (repeatable).")
@click.option("--timeout", type=DURATION, help="Time limit for the execution; default: the workflow's.")
@click.option("--priority", type=click.IntRange(0, 9), help="9 goes first; default: the workflow's.")
@click.option("--at", type=INSTANT, help="Begin at this time: 2026-01-31T08:00+01:00.")
@click.option("--delay", type=DURATION, help="Begin after this duration (90s, 15m, ...).")
@click.option("--wait", "wait_", is_flag=True, help="Wait for the result.")
@click.option("--wait-timeout", type=DURATION, help="Longest wait (90s, 15m, ...).")
@raw_option
def start_command(
    store: str, namespace: str, as_json: bool, workflow: str, value: str, key: str | None, id_: str | None,
    metadata: tuple[tuple[str, Any], ...], at: float | None, delay: float | None, wait_: bool, wait_timeout: float | None,
    raw: bool, **options: Any,
) -> None:  # fmt: skip
    """Start WORKFLOW (module:object) with a JSON VALUE as its input (@FILE reads a file, - standard input)."""
    definition = load_one(workflow)
    if at is not None and delay is not None:
        raise click.UsageError("pass --at or --delay, not both")
    options |= {"idempotency_key": key, "id": id_, "metadata": dict(metadata)}
    with open_engine(store, namespace, [definition], create=True) as engine:
        input = decoded(engine, value, "VALUE", raw=raw)
        if input is not None and not definition.takes_input:
            raise click.UsageError(f"workflow {definition.key!r} takes no input. Fix: leave VALUE out")
        handle = _start(engine, definition, input, at, delay, options)
        if wait_:
            print_result(engine, handle.id, wait_timeout, as_json=as_json)
        elif as_json:
            emit_json({"id": handle.id})
        else:
            click.echo(handle.id)


def _start(
    engine: Engine,
    definition: Workflow[Any, Any],
    input: Any,
    at: float | None,
    delay: float | None,
    options: dict[str, Any],
) -> Handle[Any]:
    if at is None and delay is None:
        return engine.start(definition, input, **options)
    return engine.schedule(definition, input, at=at, delay=delay, **options)
