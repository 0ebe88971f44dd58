"""What all commands share: the store's options, opening it, the user's workflows; and what the modules below offer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click

from replay.cli.exit_codes import (
    CHECK_FAILED,
    FAILURE,
    INTERRUPTED,
    NOT_FOUND,
    OK,
    TIMED_OUT,
    UNREACHABLE,
    USAGE,
    fail,
    run,
)
from replay.cli.output import bar, emit_done, emit_json, emit_table, plain, progress, safe, when
from replay.cli.targets import load_workflows
from replay.cli.values import DURATION, INSTANT, PAIR, SINCE, parse_duration, parse_value
from replay.core.errors import StoreUnavailable
from replay.definition import Workflow
from replay.engine import Engine
from replay.redaction import masked


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--store`, `--namespace` and `--json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object per line."),
        click.option(
            "--namespace", default="default", show_default=True, help="Keeps applications apart that share a store."
        ),
        click.option("--store", "-s", required=True, metavar="URL", help="sqlite:///FILE, redis://HOST, ..."),
    ):
        command = option(command)
    return command


app_option = click.option(
    "--app", "-A", metavar="MODULE:OBJECT", help="The workflows, so that values of their classes can be read."
)
"""Adds `--app`: inspection works without the code, and shows more with it."""

raw_option = click.option(
    "--raw", is_flag=True, help="Values are in the codec's own format (tagged JSON): classes, too."
)
"""Adds `--raw`."""


def open_engine(
    store: str, namespace: str, app: str | Iterable[Workflow[Any, Any]] | None = (), *, create: bool = False
) -> Engine:
    """Open an engine without a worker.

    Args:
        store: The store's URL.
        namespace: The namespace to work in.
        app: The workflows, or `MODULE:OBJECT` that names them.
        create: Whether an SQLite file is made where there is none.

    Raises:
        click.UsageError: The store cannot be used by several processes.
        StoreUnavailable: There is no such file, or nothing answers.
    """
    if store.startswith("memory:") or (store.startswith("sqlite:") and ":memory:" in store):
        raise click.UsageError(
            "a store in memory lives within one process. Fix: use sqlite:///FILE or redis://HOST here "
            "(in tests: Engine('memory://'))"
        )
    if store.startswith("sqlite:///") and not create:
        path = Path(unquote(store.removeprefix("sqlite:///").partition("?")[0]))
        if not path.exists():
            raise StoreUnavailable(
                f"there is no file {path} (store {store}, seen from {os.getcwd()}). Fix: check the path; "
                f"replay-worker, `replay start` and `replay schedule add` make a new store"
            )
    workflows = load_workflows(app) if isinstance(app, str) else app or ()
    return Engine(store, namespace=namespace, workflows=workflows)


def decoded(engine: Engine, text: str, what: str, *, raw: bool) -> Any:
    """Return a value given as JSON, or with *raw* in the codec's own format."""
    value = parse_value(text, what)
    return engine.codec.decode(json.dumps(value).encode()) if raw else value


def load_one(target: str) -> Workflow[Any, Any]:
    """Return the workflow that `module:object` names.

    Raises:
        click.UsageError: It names none, or several.
    """
    (definition, *more) = load_workflows(target)
    if more:
        raise click.UsageError(f"{target!r} names several workflows. Fix: name one, as module:function")
    return definition


__all__ = [
    "CHECK_FAILED", "DURATION", "FAILURE", "INSTANT", "INTERRUPTED", "NOT_FOUND", "OK", "PAIR", "SINCE", "TIMED_OUT", "UNREACHABLE",
    "USAGE", "app_option", "bar", "decoded", "emit_done", "emit_json", "emit_table", "fail", "load_one", "load_workflows",
    "masked", "open_engine", "parse_duration", "parse_value", "plain", "progress", "raw_option", "run", "safe", "store_options",
    "when",
]  # fmt: skip
