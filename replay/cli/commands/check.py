"""`replay check`: replay recorded logs against today's code."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import click

from replay.cli import exit_codes, output
from replay.cli.filters import pages
from replay.cli.store import open_engine
from replay.cli.targets import load_workflows
from replay.cli.text import safe_lines
from replay.client.histories import History, Recorded
from replay.core.errors import NonDeterminism, Undecodable
from replay.definition import Workflow

Definitions = dict[tuple[str, str], Workflow[Any, Any]]
"""Workflows by key and version."""


@attrs.define
class _Counts:
    checked: int = 0
    failed: int = 0
    unknown: int = 0


@click.command("check", epilog="Example: replay check shop:all --histories tests/histories")
@click.argument("target", metavar="MODULE:OBJECT")
@click.option(
    "--histories",
    type=click.Path(exists=True, path_type=Path),
    help="Files of `replay history --export`, or a folder of them.",
)
@click.option("--store", "-s", metavar="URL", help="Replay executions of this store instead.")
@click.option("--namespace", default="default", show_default=True)
@click.option("--sample", type=click.IntRange(1), help="With --store: this many, drawn at random.")
@click.option("--json", "as_json", is_flag=True)
def check_command(
    target: str, histories: Path | None, store: str | None, namespace: str, sample: int | None, as_json: bool
) -> int:
    """Replay recorded logs against today's workflows. Exit code 4 if one does not fit."""
    from replay.testing.checks.golden import read_histories

    if (histories is None) == (store is None):
        raise click.UsageError("pass --histories PATH or --store URL")
    definitions = {(w.key, w.version): w for w in load_workflows(target)}
    found = (
        (history for _, history in read_histories(histories))
        if histories is not None
        else _from_store(str(store), namespace, sample)
    )
    counts = _check_all(definitions, found, as_json=as_json)
    if as_json:
        output.emit_json(attrs.asdict(counts))
    else:
        click.echo(
            f"{counts.checked} histories replayed, {counts.failed} do not fit, {counts.unknown} of other workflows"
        )
    if counts.checked == 0:
        click.echo("error: nothing was checked", err=True)
        return exit_codes.CHECK_FAILED
    return exit_codes.CHECK_FAILED if counts.failed else exit_codes.OK


def _check_all(definitions: Definitions, histories: Iterable[History], *, as_json: bool) -> _Counts:
    from replay.testing.checks.replaying import replay

    counts = _Counts()
    with output.bar("replaying", None) as advance:
        for history in histories:
            header = history.recorded.header
            definition = definitions.get((header.workflow, header.version))
            if definition is None:
                counts.unknown += 1
                continue
            counts.checked += 1
            advance(1)
            try:
                replay(definition, history.recorded).close()
            except (NonDeterminism, Undecodable) as error:
                counts.failed += 1
                _print_misfit(history.recorded, error, as_json=as_json)
    return counts


def _print_misfit(recorded: Recorded, error: NonDeterminism | Undecodable, *, as_json: bool) -> None:
    from replay.testing.checks.log_vs_code import side_by_side

    if as_json:
        output.emit_json({"id": recorded.header.id, "workflow": recorded.header.workflow, "error": error})
        return
    click.echo(f"{safe_lines(str(error), '  ')}\n")
    if isinstance(error, NonDeterminism):
        click.echo(f"{safe_lines(side_by_side(recorded, error), '')}\n")


def _from_store(store: str, namespace: str, sample: int | None) -> Iterator[History]:
    with open_engine(store, namespace) as engine:
        ids = [execution.id for page in pages(engine, {}) for execution in page]
        for id in random.sample(ids, min(sample, len(ids))) if sample is not None else ids:
            yield History.of(engine, id)
