"""Commands that try executions again, stop them or remove them, one or many: for the person who runs this at 3 a.m."""

from __future__ import annotations

import click

from replay.cli import shell
from replay.cli.filters import Filters, filter_options, one_or_many
from replay.client.operator import OPEN, Operator
from replay.client.records import Status

by_option = click.option("--by", help="Who acts; default: your user name.")
why_option = click.option("--reason", "--why", "reason", default="", help="Kept in the audit trail.")
_yes_option = click.option("--yes", is_flag=True, help="With filters: do it, not only count.")


@click.command("retry", epilog="Example: replay retry o-1 --store sqlite:///orders.db --reason 'provider is back'")
@click.argument("execution", required=False)
@shell.store_options
@by_option
@why_option
@click.option("--rollback", is_flag=True, help="Go on with a rollback that failed.")
@click.option("--skip", metavar="STEP", help="Have this step count as done instead of running it again.")
@click.option("--value", default="null", help="With --skip: its result, as JSON.")
@filter_options
@click.option("--all", "everything", metavar="WORKFLOW", help="The same as --workflow.")
@_yes_option
def retry_command(
    store: str, namespace: str, as_json: bool, execution: str | None, by: str | None, reason: str, rollback: bool,
    skip: str | None, value: str, filters: Filters, everything: str | None, yes: bool,
) -> int:  # fmt: skip
    """Try a failed (or stuck) execution again from its failed command; with filters all failed ones that match."""
    if everything is not None:
        filters = {**filters, "workflow": everything}
    with shell.open_engine(store, namespace) as engine:
        operator = Operator(engine, by=by)
        takes: tuple[str, ...] = ("failed", "stuck")
        act, done = operator.retry, "tried again"
        if rollback:
            takes = ("compensation_failed",)
            act, done = operator.retry_rollback, "rolled back further"
        if skip is not None:
            if execution is None:
                raise click.UsageError("--skip takes one EXECUTION. Fix: name it")
            operator.skip_step(execution, skip, shell.parse_value(value, "--value"), reason)
            shell.emit_done(execution, f"step {skip} skipped", as_json=as_json)
            return shell.OK
        return one_or_many(
            engine, execution, filters, lambda id: act(id, reason), statuses=takes[:1], takes=takes, done=done, yes=yes,
            as_json=as_json,
        )  # fmt: skip


@click.command(
    "retry-rollback", epilog="Example: replay retry-rollback o-1 --store sqlite:///orders.db --why 'the bank is back'"
)
@click.argument("execution", required=False)
@shell.store_options
@by_option
@why_option
@filter_options
@_yes_option
def retry_rollback_command(
    store: str, namespace: str, as_json: bool, execution: str | None, by: str | None, reason: str, filters: Filters, yes: bool
) -> int:  # fmt: skip
    """Go on with a rollback that failed, undoing only what is still to be undone (the same as retry --rollback)."""
    with shell.open_engine(store, namespace) as engine:
        act = Operator(engine, by=by).retry_rollback
        return one_or_many(
            engine, execution, filters, lambda id: act(id, reason), statuses=("compensation_failed",),
            done="rolled back further", yes=yes, as_json=as_json,
        )  # fmt: skip


@click.command("cancel", epilog="Example: replay cancel o-1 --store sqlite:///orders.db --reason 'customer called'")
@click.argument("execution", required=False)
@shell.store_options
@by_option
@why_option
@filter_options
@_yes_option
def cancel_command(
    store: str, namespace: str, as_json: bool, execution: str | None, by: str | None, reason: str, filters: Filters, yes: bool
) -> int:  # fmt: skip
    """Ask an execution to stop (it may clean up first); with filters all that match and have not ended."""
    with shell.open_engine(store, namespace) as engine:
        act = Operator(engine, by=by).cancel
        return one_or_many(
            engine, execution, filters, lambda id: act(id, reason or None), statuses=OPEN, done="cancel requested", yes=yes,
            as_json=as_json,
        )  # fmt: skip


@click.command("delete", epilog="Example: replay delete o-1 --store sqlite:///orders.db")
@click.argument("execution", required=False)
@shell.store_options
@by_option
@click.option("--reason", "--why", "reason", default="", help="Recorded by the logger replay.audit.")
@filter_options
@_yes_option
def delete_command(
    store: str, namespace: str, as_json: bool, execution: str | None, by: str | None, reason: str, filters: Filters, yes: bool
) -> int:  # fmt: skip
    """Remove an ended execution with its log (export it first if in doubt); with filters all ended ones that match."""
    ended = tuple(str(status) for status in Status if status.ended)
    with shell.open_engine(store, namespace) as engine:
        act = Operator(engine, by=by).delete
        return one_or_many(
            engine, execution, filters, lambda id: act(id, reason), statuses=ended, done="deleted", yes=yes, as_json=as_json
        )  # fmt: skip


@click.command("fork", epilog="Example: replay fork o-1 --before ship --store sqlite:///orders.db")
@click.argument("execution")
@shell.store_options
@by_option
@why_option
@click.option("--before", metavar="STEP", help="Keep the log up to this step; default: all of it.")
@click.option("--id", "id_", help="The new execution's id.")
def fork_command(
    store: str, namespace: str, as_json: bool, execution: str, by: str | None, reason: str, before: str | None, id_: str | None
) -> None:  # fmt: skip
    """Begin a new execution with a part of another's log."""
    with shell.open_engine(store, namespace) as engine:
        handle = Operator(engine, by=by).fork(execution, before=before, reason=reason, id=id_)
    shell.emit_json({"id": handle.id}) if as_json else click.echo(handle.id)


@click.command("stuck", epilog="Example: replay stuck --store sqlite:///orders.db")
@shell.store_options
def stuck_command(store: str, namespace: str, as_json: bool) -> int:
    """List executions that do not go on by themselves, and why; exit code 4 if there are any."""
    with shell.open_engine(store, namespace) as engine:
        found = Operator(engine).stuck()
    facts = [(each.execution.id, each.execution.workflow, each.reason, each.message) for each in found]
    if as_json:
        for id, workflow, reason, message in facts:
            shell.emit_json({"id": id, "workflow": workflow, "reason": reason, "message": message})
    else:
        rows = [(*fact[:3], fact[3].partition("\n")[0]) for fact in facts]
        shell.emit_table(("id", "workflow", "reason", "message"), rows)
    return shell.CHECK_FAILED if found else shell.OK
