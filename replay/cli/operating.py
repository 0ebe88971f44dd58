"""Commands that act on executions: for the person who runs this at 3 a.m."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from replay.cli import shell
from replay.core import requests as r
from replay.engine import Engine
from replay.histories import History
from replay.operator import Operator


def _operator(store: str, namespace: str, by: str | None) -> Operator:
    return Operator(shell.open_engine(store, namespace), by=by)


_by = click.option("--by", help="Who acts; default: your user name.")
_reason = click.option("--reason", default="", help="Kept in the audit trail.")


def _say(as_json: bool, id: str, what: str) -> None:
    shell.emit_json({"id": id, "done": what}) if as_json else click.echo(f"{id}: {what}")


@click.command("retry", epilog="Example: replay retry o-1 --store sqlite:///orders.db --reason 'provider is back'")
@click.argument("execution", required=False)
@shell.store_options
@_by
@_reason
@click.option("--rollback", is_flag=True, help="Go on with a rollback that failed.")
@click.option("--skip", metavar="STEP", help="Have this step count as done instead of running it again.")
@click.option("--value", default="null", help="With --skip: its result, as JSON.")
@click.option("--all", "everything", metavar="WORKFLOW", help="All failed executions of a workflow.")
@click.option("--yes", is_flag=True, help="With --all: do it, not only count.")
def retry_command(
    store: str, namespace: str, as_json: bool, execution: str | None, by: str | None, reason: str, rollback: bool,
    skip: str | None, value: str, everything: str | None, yes: bool,
) -> None:  # fmt: skip
    """Try a failed (or stuck) execution again from its failed command."""
    if (execution is None) == (everything is None):
        raise click.UsageError("pass an EXECUTION, or --all WORKFLOW")
    operator = _operator(store, namespace, by)
    if execution is not None:
        if skip is not None:
            operator.skip_step(execution, skip, shell.parse_value(value, "--value"), reason)
            _say(as_json, execution, f"step {skip} skipped")
        elif rollback:
            operator.retry_rollback(execution, reason)
            _say(as_json, execution, "rollback goes on")
        else:
            operator.retry(execution, reason)
            _say(as_json, execution, "is tried again")
        return
    status = "compensation_failed" if rollback else "failed"
    page = operator.executions(workflow=everything, status=status, limit=10_000)
    if not yes:
        click.echo(f"{len(page)} {status} executions of {everything} would be tried again; add --yes to do it")
        return
    act = operator.retry_rollback if rollback else operator.retry
    done = operator.bulk(
        lambda id: act(id, reason), page, on_refusal=lambda id, why: click.echo(f"{id}: {why}", err=True)
    )
    click.echo(f"{done} of {len(page)} are tried again")


@click.command("fork", epilog="Example: replay fork o-1 --before ship --store sqlite:///orders.db")
@click.argument("execution")
@shell.store_options
@_by
@_reason
@click.option("--before", metavar="STEP", help="Keep the log up to this step; default: all of it.")
def fork_command(
    store: str, namespace: str, as_json: bool, execution: str, by: str | None, reason: str, before: str | None
) -> None:
    """Begin a new execution with a part of another's log."""
    handle = _operator(store, namespace, by).fork(execution, before=before, reason=reason)
    shell.emit_json({"id": handle.id}) if as_json else click.echo(handle.id)


@click.command("delete", epilog="Example: replay delete o-1 --store sqlite:///orders.db")
@click.argument("execution")
@shell.store_options
def delete_command(store: str, namespace: str, as_json: bool, execution: str) -> None:
    """Remove an ended execution with its log (export it first if in doubt)."""
    _operator(store, namespace, None).delete(execution)
    _say(as_json, execution, "deleted")


@click.command("stuck", epilog="Example: replay stuck --store sqlite:///orders.db")
@shell.store_options
def stuck_command(store: str, namespace: str, as_json: bool) -> int:
    """List executions that do not go on by themselves, and why; exit code 4 if there are any."""
    found = _operator(store, namespace, None).stuck()
    if as_json:
        for each in found:
            shell.emit_json(
                {
                    "id": each.execution.id,
                    "workflow": each.execution.workflow,
                    "reason": each.reason,
                    "message": each.message,
                }
            )
    else:
        shell.emit_table(
            ("id", "workflow", "reason", "message"),
            [
                (s.execution.id, s.execution.workflow, s.reason, s.message.splitlines()[0] if s.message else "")
                for s in found
            ],
        )
    return shell.CHECK_FAILED if found else shell.OK


@click.command(
    "purge", epilog="Example: replay purge --older-than 30d --status completed --store sqlite:///orders.db --yes"
)
@shell.store_options
@click.option("--older-than", required=True, metavar="DURATION", help="Ended longer ago than this (90s, 15m, 2h, 30d).")
@click.option(
    "--status", multiple=True, default=("completed",), show_default=True, help="Only these statuses (repeatable)."
)
@click.option("--workflow", help="Only this workflow.")
@click.option(
    "--export",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="First append each to FILE, a JSON line.",
)
@click.option("--yes", is_flag=True, help="Do it, not only count.")
def purge_command(
    store: str,
    namespace: str,
    as_json: bool,
    older_than: str,
    status: tuple[str, ...],
    workflow: str | None,
    target: Path | None,
    yes: bool,
) -> None:
    """Remove ended executions; with --export their histories are on disk before they go."""
    engine = shell.open_engine(store, namespace)
    operator = Operator(engine)
    before = engine.ask(r.Ping()) - shell.parse_duration(older_than)  # by the store's clock, as all its instants
    count = 0
    cursor: Any = None
    with shell.bar("removing" if yes else "counting", None) as advance:
        while True:
            page = operator.executions(
                status=status, workflow=workflow, updated_before=before, limit=500, cursor=cursor
            )
            if yes and target is not None:
                _export(engine, [execution.id for execution in page], target)
            for execution in page:
                count += 1
                if yes:
                    operator.delete(execution.id)
            advance(len(page))
            cursor = page.cursor
            if cursor is None:
                break
    what = f"{count} executions removed" if yes else f"{count} executions would be removed; add --yes to do it"
    shell.emit_json({"count": count, "removed": yes}) if as_json else click.echo(what)


def _export(engine: Engine, ids: list[str], target: Path) -> None:
    """Append histories to *target*, and have them on the disk when this returns."""
    with target.open("a", encoding="utf-8") as file:
        for id in ids:
            file.write(History.of(engine, id).text(indent=None) + "\n")
        file.flush()
        os.fsync(file.fileno())
