"""`replay check`: recorded logs against the code of today."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from replay.cli import shell
from replay.client.histories import History
from replay.core.errors import NonDeterminism, Undecodable
from replay.definition import Workflow


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
    """Replay recorded logs against today's workflows; exit code 4 if one does not fit."""
    from replay.testing.checks.golden import read_histories
    from replay.testing.checks.log_vs_code import side_by_side
    from replay.testing.checks.replaying import replay

    if (histories is None) == (store is None):
        raise click.UsageError("pass --histories PATH or --store URL")
    workflows = {(w.key, w.version): w for w in shell.load_workflows(target)}
    checked = failed = unknown = 0
    found = (
        (history for _, history in read_histories(histories))
        if histories is not None
        else _from_store(str(store), namespace, sample)
    )
    with shell.bar("replaying", None) as advance:
        for history in found:
            header = history.recorded.header
            definition: Workflow[Any, Any] | None = workflows.get((header.workflow, header.version))
            if definition is None:
                unknown += 1
                continue
            checked += 1
            advance(1)
            try:
                replay(definition, history.recorded).close()
            except (NonDeterminism, Undecodable) as error:
                failed += 1
                if as_json:
                    shell.emit_json({"id": header.id, "workflow": header.workflow, "error": error})
                else:
                    click.echo(f"{error}\n")
                    if isinstance(error, NonDeterminism):
                        click.echo(f"{side_by_side(history.recorded, error)}\n")
    summary = f"{checked} histories replayed, {failed} do not fit, {unknown} of other workflows"
    shell.emit_json({"checked": checked, "failed": failed, "unknown": unknown}) if as_json else click.echo(summary)
    if checked == 0:
        click.echo("error: nothing was checked", err=True)
        return shell.CHECK_FAILED
    return shell.CHECK_FAILED if failed else shell.OK


def _from_store(store: str, namespace: str, sample: int | None) -> Iterator[History]:
    with shell.open_engine(store, namespace) as engine:
        ids: list[str] = []
        cursor = None
        while True:
            page = engine.find_executions(limit=1000, cursor=cursor)
            ids += [execution.id for execution in page]
            cursor = page.cursor
            if cursor is None:
                break
        for id in random.sample(ids, min(sample, len(ids))) if sample is not None else ids:
            yield History.of(engine, id)
