"""Commands that change what stands in an execution's log, or end it: each shows what it would do until `--yes` is added."""

from __future__ import annotations

from typing import Any

import click

from replay.cli import shell
from replay.cli.commands.operate import by_option
from replay.client.operator import Operator
from replay.client.records import Execution, execution_of
from replay.core import requests as r
from replay.engine import Engine

_why_option = click.option("--reason", "--why", "why", required=True, help="Kept in the audit trail.")
_yes_option = click.option("--yes", is_flag=True, help="Do it, not only say what would be done.")


@click.command(
    "force-fail", epilog="Example: replay force-fail o-1 --why 'the order is void' --store sqlite:///orders.db --yes"
)
@click.argument("execution")
@shell.store_options
@by_option
@_why_option
@_yes_option
def force_fail_command(
    store: str, namespace: str, as_json: bool, execution: str, by: str | None, why: str, yes: bool
) -> None:
    """End an execution as failed at once, whatever it does; nothing is cleaned up (cancel lets it clean up)."""
    with shell.open_engine(store, namespace) as engine:
        found = _operator(engine, by, yes=yes).force_fail(execution, why)
        _tell(found, "failed by force", yes=yes, as_json=as_json)


@click.command(
    "skip-step",
    epilog="Example: replay skip-step o-1 charge '{\"paid\": true}' --why 'by hand' --store sqlite:///orders.db --yes",
)
@click.argument("execution")
@click.argument("step")
@click.argument("value", default="null")
@shell.store_options
@by_option
@_why_option
@_yes_option
@shell.raw_option
@shell.app_option
def skip_step_command(
    store: str, namespace: str, as_json: bool, execution: str, step: str, value: str, by: str | None, why: str, yes: bool,
    raw: bool, app: str | None,
) -> None:  # fmt: skip
    """Have a step that is under way, or with which the execution failed, count as done, with a JSON VALUE as its result."""
    with shell.open_engine(store, namespace, app) as engine:
        result = shell.decoded(engine, value, "VALUE", raw=raw)
        found = _operator(engine, by, yes=yes).skip_step(execution, step, result, why)
        _tell(found, f"step {step} skipped", yes=yes, as_json=as_json)


@click.command(
    "edit-step-result",
    epilog="Example: replay edit-step-result o-1 price 7 --why 'typed wrong' --store sqlite:///orders.db --yes",
)
@click.argument("execution")
@click.argument("step")
@click.argument("value")
@shell.store_options
@by_option
@_why_option
@click.option("--force", is_flag=True, help="Even if later entries may have used the old result.")
@_yes_option
@shell.raw_option
@shell.app_option
def edit_step_result_command(
    store: str, namespace: str, as_json: bool, execution: str, step: str, value: str, by: str | None, why: str, force: bool,
    yes: bool, raw: bool, app: str | None,
) -> None:  # fmt: skip
    """Replace the recorded result of a step by a JSON VALUE."""
    with shell.open_engine(store, namespace, app) as engine:
        result = shell.decoded(engine, value, "VALUE", raw=raw)
        found = _operator(engine, by, yes=yes).edit_step_result(execution, step, result, why, force=force)
        _tell(found, f"result of step {step} replaced", yes=yes, as_json=as_json)


class _Rehearsal(Operator):
    """Refuses what an operator is refused, and changes nothing."""

    def _amend(self, header: r.Header, *args: Any, **options: Any) -> Execution:
        return execution_of(header, self._engine.codec)


def _operator(engine: Engine, by: str | None, *, yes: bool) -> Operator:
    return (Operator if yes else _Rehearsal)(engine, by=by)


def _tell(found: Execution, done: str, *, yes: bool, as_json: bool) -> None:
    if yes:
        shell.emit_done(found.id, done, as_json=as_json)
    elif as_json:
        shell.emit_json({"id": found.id, "status": found.status, "would": done, "yes": False})
    else:
        click.echo(f"{found.id} ({found.workflow}, {found.status}); add --yes, and it will be: {done}")
