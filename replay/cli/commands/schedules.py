"""`replay schedule ...`: see and change schedules."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from replay.cli import shell
from replay.scheduling.schedules import ScheduleRecord


@click.group(
    "schedule",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: replay schedule add nightly shop:report --cron '0 2 * * *' --store sqlite:///orders.db",
)
def schedule_command() -> None:
    """Manage schedules."""


def _print(record: ScheduleRecord, as_json: bool) -> None:
    if as_json:
        shell.emit_json(record)
        return
    bounds = f"at most {record.catch_up_window:g} s old" + (
        f", {record.catch_up_limit} at once" if record.catch_up == "all" else ""
    )
    facts = [
        ("id", record.id), ("workflow", record.workflow), ("when", f"{_rule(record)} ({record.timezone})"),
        ("problem", record.problem), ("paused", "yes" if record.paused else "no"), ("next", shell.when(record.next_at)),
        ("last", shell.when(record.last_at)), ("jitter", _seconds(record.jitter or None)), ("until", shell.when(record.until)),
        ("timeout", _seconds(record.timeout)), ("overlap", record.overlap),
        ("catch up", record.catch_up if record.catch_up == "skip" else f"{record.catch_up}, {bounds}"),
        ("skipped", record.skipped), ("input", record.input),
        ("coming", ", ".join(shell.when(t) for t in record.next_fires)), ("runs", ", ".join(id for _, id in record.runs)),
    ]  # fmt: skip
    for name, value in facts:
        if value not in (None, ""):
            click.echo(f"{name:<9} {shell.safe(value)}")


def _rule(record: ScheduleRecord) -> str:
    if record.cron is not None:
        return record.cron
    return "?" if record.interval is None else f"every {record.interval:g} s"  # "?": a newer version's rule


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:g} s"


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
            _rule(r),
            r.timezone,
            "paused" if r.paused else shell.when(r.next_at),
            shell.when(r.last_at),
            r.problem,
        )
        for r in records
    ]
    shell.emit_table(("id", "workflow", "when", "zone", "next (UTC)", "last (UTC)", "problem"), rows)


_OPTIONS = (
    click.option("--cron", help="Five or six fields, or @daily and the like."),
    click.option("--interval", type=shell.DURATION, help="90s, 15m, 2h, ..."),
    click.option("--timezone", help="IANA name for --cron; default: UTC."),
    click.option(
        "--overlap",
        type=click.Choice(["allow", "skip", "buffer_one", "cancel_previous"]),
        help="What a tick does while the last execution runs; default: allow.",
    ),
    click.option("--catch-up", type=click.Choice(["skip", "one", "all"]), help="Of missed ticks; default: one."),
    click.option("--catch-up-window", type=shell.DURATION, help="Older ticks are given up; default: 1d."),
    click.option("--catch-up-limit", type=click.IntRange(1), help="Most missed ticks made up for; default: 100."),
    click.option("--jitter", type=shell.DURATION, help="Each tick is late by up to this."),
    click.option("--until", type=shell.INSTANT, help="No tick after this: 2026-12-31, 30d (from now), ..."),
    click.option("--timeout", type=shell.DURATION, help="Within which each execution must end."),
)
_NAMES = (
    "cron", "interval", "timezone", "overlap", "catch_up", "catch_up_window", "catch_up_limit", "jitter", "until", "timeout",
)  # fmt: skip


def _plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a schedule; the command gets those that were given as `plan`."""

    @functools.wraps(command)
    def planned(**arguments: Any) -> Any:
        given = {name: arguments.pop(name) for name in _NAMES}
        return command(plan={name: value for name, value in given.items() if value is not None}, **arguments)

    found: Callable[..., Any] = planned
    for option in reversed(_OPTIONS):
        found = option(found)
    return found


@schedule_command.command(
    "add", epilog="Example: replay schedule add nightly shop:report --cron '0 2 * * *' --store sqlite:///orders.db"
)
@click.argument("id")
@click.argument("workflow")
@click.argument("value", default="null")
@shell.store_options
@_plan_options
@shell.raw_option
def add(
    id: str, workflow: str, value: str, store: str, namespace: str, as_json: bool, plan: dict[str, Any], raw: bool
) -> None:  # fmt: skip
    """Have WORKFLOW (module:object) started again and again with a JSON VALUE. Adding the same again changes nothing."""
    definition = shell.load_one(workflow)
    with shell.open_engine(store, namespace, [definition], create=True) as engine:
        input = shell.decoded(engine, value, "VALUE", raw=raw)
        _print(engine.ensure_schedule(definition, input, id=id, **plan), as_json)


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
            shell.emit_done(id, "removed", as_json=as_json)


_simple("show", "Show one schedule: its next and last runs.", lambda engine, id: engine.get_schedule(id))
_simple("pause", "Start nothing until resumed.", lambda engine, id: engine.pause_schedule(id))
_simple("resume", "Go on from now.", lambda engine, id: engine.resume_schedule(id))
_simple("remove", "Remove a schedule; its executions go on.", lambda engine, id: engine.remove_schedule(id))


@schedule_command.command("trigger", epilog="Example: replay schedule trigger nightly --store sqlite:///orders.db")
@click.argument("id")
@shell.store_options
def trigger(id: str, store: str, namespace: str, as_json: bool) -> None:
    """Start an execution now, beside the regular ticks; prints its id."""
    with shell.open_engine(store, namespace) as engine:
        execution = engine.trigger_schedule(id).id
    shell.emit_json({"id": execution, "schedule": id}) if as_json else click.echo(execution)


@schedule_command.command(
    "update", epilog="Example: replay schedule update nightly --cron '0 3 * * *' --store sqlite:///orders.db"
)
@click.argument("id")
@shell.store_options
@_plan_options
@click.option("--input", "input_", metavar="JSON", help="Another input.")
@shell.raw_option
@shell.app_option
def update(
    id: str, store: str, namespace: str, as_json: bool, plan: dict[str, Any], input_: str | None, raw: bool, app: str | None
) -> None:  # fmt: skip
    """Change some options; times that do not change keep their next tick."""
    with shell.open_engine(store, namespace, app) as engine:
        if input_ is not None:
            plan["input"] = shell.decoded(engine, input_, "--input", raw=raw)
        if not plan:
            raise click.UsageError("nothing to change. Fix: give an option, such as --cron")
        _print(engine.update_schedule(id, **plan), as_json)
