"""`replay start-many`: start an execution for each line of a file."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import click

from replay.cli import output
from replay.cli.options import raw_option, store_options
from replay.cli.store import decoded, open_engine
from replay.cli.targets import load_one
from replay.cli.values import DURATION, PAIR
from replay.definition import Workflow
from replay.engine import Engine

AT_ONCE = 1000
"""Executions between two movements of the progress bar."""


@click.command(
    "start-many",
    epilog="Example: replay start-many shop:approve_order orders.jsonl --key-of id --store sqlite:///orders.db",
)
@click.argument("workflow")
@click.argument("file")
@store_options
@click.option("--key-of", metavar="FIELD", help="The field of each input that is its idempotency key.")
@click.option("--metadata", multiple=True, type=PAIR, help="Searchable (repeatable).")
@click.option("--timeout", type=DURATION, help="Time limit for each execution; default: the workflow's.")
@click.option("--priority", type=click.IntRange(0, 9), help="9 goes first; default: the workflow's.")
@raw_option
def start_many_command(
    store: str, namespace: str, as_json: bool, workflow: str, file: str, key_of: str | None,
    metadata: tuple[tuple[str, Any], ...], raw: bool, **options: Any,
) -> None:  # fmt: skip
    """Start WORKFLOW (module:object) for each line of FILE, a JSON input (- for standard input). Prints the ids.

    All lines are checked first: one that is wrong starts nothing. With --key-of a repetition starts nothing twice.
    """
    definition = load_one(workflow)
    with open_engine(store, namespace, [definition], create=True) as engine:
        lines = _lines(file)
        keys = None if key_of is None else iter([_key(line, number, key_of) for number, line in lines])
        inputs = [_input(engine, definition, line, number, raw=raw) for number, line in lines]
        with output.bar("starting", len(inputs)) as advance:
            rest = iter(inputs)
            while some := list(islice(rest, AT_ONCE)):
                handles = engine.start_many(
                    definition,
                    some,
                    idempotency_keys=None if keys is None else list(islice(keys, len(some))),
                    metadata=dict(metadata),
                    **options,
                )
                for handle in handles:
                    output.emit_json({"id": handle.id}) if as_json else click.echo(handle.id)
                advance(len(some))


def _lines(file: str) -> list[tuple[int, str]]:
    """Return the lines that are not blank, numbered from 1."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"FILE {file}: {error}") from error
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _input(engine: Engine, definition: Workflow[Any, Any], line: str, number: int, *, raw: bool) -> Any:
    try:
        return definition.input_value(decoded(engine, line, f"line {number}", raw=raw))
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"line {number}: {error}") from error


def _key(line: str, number: int, field: str) -> str:
    try:
        found = json.loads(line)[field]
    except (ValueError, KeyError, TypeError, IndexError):
        found = None
    if not isinstance(found, str | int) or found == "" or isinstance(found, bool):
        raise click.UsageError(f"line {number}: has no field {field!r} with a text or an integer. Fix: --key-of FIELD")
    return str(found)
