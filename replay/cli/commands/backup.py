"""`replay backup`: copy a live SQLite store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import click

from replay.cli.options import store_options
from replay.cli.output import emit_json
from replay.cli.store import open_engine
from replay.cli.text import safe

PAGES = 1000
"""Pages copied at a time, 4 MB: writers wait for no longer."""


@click.command("backup", epilog="Example: replay backup orders-2026-12-01.db --store sqlite:///orders.db")
@click.argument("file", type=click.Path(path_type=Path))
@store_options
def backup_command(store: str, namespace: str, as_json: bool, file: Path) -> None:
    """Write a consistent copy of an SQLite store, of all its namespaces, to FILE, while workers go on.

    To restore: stop all processes, move the copy to the store's path, start them again.
    """
    if not store.startswith("sqlite:///"):
        raise click.UsageError("replay backup copies SQLite files. Fix: back a server up with its own tools")
    if file.exists():
        raise click.UsageError(f"FILE {file} exists. Fix: name a new one")
    open_engine(store, namespace).close()  # it is there, and a store of ours
    source = Path(unquote(store.removeprefix("sqlite:///").partition("?")[0]))
    part = file.with_name(file.name + ".part")
    part.unlink(missing_ok=True)
    part.touch(0o600)
    with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(part)) as copy:
        origin.backup(copy, pages=PAGES)
    part.rename(file)  # FILE is a whole copy, or is not there
    if as_json:
        emit_json({"file": str(file), "bytes": file.stat().st_size})
    else:
        click.echo(f"{safe(file)}: {file.stat().st_size:,} bytes")
