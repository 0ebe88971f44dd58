"""`replay schedule ...`: see and change schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from replay.cli import shell
from replay.schedules import ScheduleRecord


@click.group("schedule", context_settings={"help_option_names": ["-h", "--help"]})
def schedule_command() -> None:
    """Manage schedules."""


def _print(record: ScheduleRecord, as_json: bool) -> None:
    if as_json:
        shell.emit_json(record)
        return
    when = record.cron if record.cron is not None else f"every {record.interval:g} s"
    facts = [
        ("id", record.id), ("workflow", record.workflow), ("when", f"{when} ({record.timezone})"),
        ("paused", "yes" if record.paused else "no"), ("next", shell.when(record.next_at)), ("last", shell.when(record.last_at)),
        ("overlap", record.overlap), ("catch up", record.catch_up), ("skipped", record.skipped), ("input", record.input),
        ("coming", ", ".join(shell.when(t) for t in record.next_fires)), ("runs", ", ".join(id for _, id in record.runs)),
    ]  # fmt: skip
    for name, value in facts:
        if value not in (None, ""):
            click.echo(f"{name:<9} {shell.safe(value)}")


@schedule_command.command("list", epilog="Example: replay schedule list --store sqlite:///orders.db")
@shell.store_options
def list_(store: str, namespace: str, as_json: bool) -> None:
    """List all schedules."""
    with shell.open_engine(store, namespace) as engine:
        records = engine.list_schedules()
    if as_json:
        for record in records:
            shell.emit_json(record)
        return
    rows = [
        (
            r.id,
            r.workflow,
            r.cron or f"every {r.interval:g} s",
            r.timezone,
            "paused" if r.paused else shell.when(r.next_at),
            shell.when(r.last_at),
        )
        for r in records
    ]
    shell.emit_table(("id", "workflow", "when", "zone", "next (UTC)", "last (UTC)"), rows)


@schedule_command.command(
    "add", epilog="Example: replay schedule add nightly shop:report --cron '0 2 * * *' --store sqlite:///orders.db"
)
@click.argument("id")
@click.argument("workflow")
@click.argument("value", default="null")
@shell.store_options
@click.option("--cron", help="Five or six fields, or @daily and the like.")
@click.option("--interval", help="90s, 15m, 2h, ...")
@click.option("--timezone", default="UTC", show_default=True)
@click.option(
    "--overlap",
    default="allow",
    show_default=True,
    type=click.Choice(["allow", "skip", "buffer_one", "cancel_previous"]),
)
@click.option("--catch-up", default="one", show_default=True, type=click.Choice(["skip", "one", "all"]))
def add(
    id: str, workflow: str, value: str, store: str, namespace: str, as_json: bool, cron: str | None, interval: str | None,
    timezone: str, overlap: Any, catch_up: Any,
) -> None:  # fmt: skip
    """Have WORKFLOW (module:object) started again and again with a JSON VALUE. Adding the same again changes nothing."""
    (definition, *more) = shell.load_workflows(workflow)
    if more:
        raise click.UsageError(f"{workflow!r} names several workflows. Fix: name one, as module:function")
    seconds = None if interval is None else shell.parse_duration(interval)
    with shell.open_engine(store, namespace, [definition]) as engine:
        record = engine.ensure_schedule(
            definition, shell.parse_value(value, "VALUE"), id=id, cron=cron, interval=seconds, timezone=timezone,
            overlap=overlap, catch_up=catch_up,
        )  # fmt: skip
        _print(record, as_json)


def _simple(name: str, help: str, act: Callable[[Any, str], Any]) -> None:
    @schedule_command.command(
        name, help=help, epilog=f"Example: replay schedule {name} nightly --store sqlite:///orders.db"
    )
    @click.argument("id")
    @shell.store_options
    def command(id: str, store: str, namespace: str, as_json: bool) -> None:
        with shell.open_engine(store, namespace) as engine:
            found = act(engine, id)
            if isinstance(found, ScheduleRecord):
                _print(found, as_json)
            else:
                shell.emit_json({"id": id, "done": name}) if as_json else click.echo(found or f"{id}: {name} done")


def _trigger(engine: Any, id: str) -> str:
    return str(engine.trigger_schedule(id).id)


_simple("show", "Show one schedule: its next and last runs.", lambda engine, id: engine.get_schedule(id))
_simple("pause", "Start nothing until resumed.", lambda engine, id: engine.pause_schedule(id))
_simple("resume", "Go on from now.", lambda engine, id: engine.resume_schedule(id))
_simple("remove", "Remove a schedule; its executions go on.", lambda engine, id: engine.remove_schedule(id))
_simple("trigger", "Start an execution now; prints its id.", _trigger)


@schedule_command.command(
    "update", epilog="Example: replay schedule update nightly --cron '0 3 * * *' --store sqlite:///orders.db"
)
@click.argument("id")
@shell.store_options
@click.option("--cron")
@click.option("--interval")
@click.option("--timezone")
@click.option("--overlap", type=click.Choice(["allow", "skip", "buffer_one", "cancel_previous"]))
@click.option("--catch-up", type=click.Choice(["skip", "one", "all"]))
@click.option("--app", "-A", required=True, metavar="MODULE:OBJECT", help="The workflows.")
def update(id: str, store: str, namespace: str, as_json: bool, app: str, interval: str | None, **options: Any) -> None:
    """Change some options; times that do not change keep their next tick."""
    changes = {key: value for key, value in options.items() if value is not None}
    if interval is not None:
        changes["interval"] = shell.parse_duration(interval)
    with shell.open_engine(store, namespace, shell.load_workflows(app)) as engine:
        _print(engine.update_schedule(id, **changes), as_json)
