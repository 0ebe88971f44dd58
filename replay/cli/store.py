"""Access to a store: an engine without a worker, and values in the engine's codec."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click

from replay.cli.targets import load_workflows
from replay.cli.values import parse_value
from replay.core.errors import StoreUnavailable
from replay.definition import Workflow
from replay.engine import Engine


def open_engine(
    store: str, namespace: str, app: str | Iterable[Workflow[Any, Any]] | None = (), *, create: bool = False
) -> Engine:
    """Open an engine without a worker.

    Args:
        store: URL of the store.
        namespace: Namespace to work in.
        app: Workflows, or the `MODULE:OBJECT` that names them.
        create: Create a missing SQLite file.

    Raises:
        click.UsageError: Several processes cannot share the store.
        StoreUnavailable: The file is missing, or the server does not answer.
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
    """Return the value of a JSON text; a *raw* text is in the codec's own format."""
    value = parse_value(text, what)
    return engine.codec.decode(json.dumps(value).encode()) if raw else value
