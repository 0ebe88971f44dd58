"""`replay schedule`: manage schedules."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from replay.cli.options import app_option, raw_option, store_options
from replay.cli.output import emit_done, emit_json, emit_table, when
from replay.cli.store import decoded, open_engine
from replay.cli.targets import load_one
from replay.cli.text import safe
from replay.cli.values import DURATION, INSTANT
from replay.engine import Engine
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
        emit_json(record)
        return
    bounds = f"at most {record.catch_up_window:g} s old" + (
        f", {record.catch_up_limit} at once" if record.catch_up == "all" else ""
    )
    facts = [
        ("id", record.id), ("workflow", record.workflow), ("when", f"{_rule(record)} ({record.timezone})"),
        ("problem", record.problem), ("paused", "yes" if record.paused else "no"), ("next", when(record.next_at)),
        ("last", when(record.last_at)), ("jitter", _seconds(record.jitter or None)), ("until", when(record.until)),
        ("timeout", _seconds(record.timeout)), ("overlap", record.overlap),
        ("catch up", record.catch_up if record.catch_up == "skip" else f"{record.catch_up}, {bounds}"),
        ("skipped", record.skipped), ("input", record.input),
        ("coming", ", ".join(when(t) for t in record.next_fires)), ("runs", ", ".join(id for _, id in record.runs)),
    ]  # fmt: skip
    for name, value in facts:
        if value not in (None, ""):
            click.echo(f"{name:<9} {safe(value)}")


def _rule(record: ScheduleRecord) -> str:
    if record.cron is not None:
        return record.cron
    return "?" if record.interval is None else f"every {record.interval:g} s"  # "?": a newer version's rule


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:g} s"


@schedule_command.command("list", epilog="Example: replay schedule list --store sqlite:///orders.db")
@store_options
def list_(store: str, namespace: str, as_json: bool) -> None:
    """List all schedules."""
    with open_engine(store, namespace) as engine:
        records = engine.list_schedules()
    if as_json:
        for record in records:
            emit_json(record)
        return
    rows = [
        (
            r.id,
            r.workflow,
            _rule(r),
            r.timezone,
            "paused" if r.paused else when(r.next_at),
            when(r.last_at),
            r.problem,
        )
        for r in records
    ]
    emit_table(("id", "workflow", "when", "zone", "next (UTC)", "last (UTC)", "problem"), rows)


_OPTIONS = (
    click.option("--cron", help="Five or six fields, or @daily and the like."),
    click.option("--interval", type=DURATION, help="90s, 15m, 2h, ..."),
    click.option("--timezone", help="IANA name for --cron; default: UTC."),
    click.option(
        "--overlap",
        type=click.Choice(["allow", "skip", "buffer_one", "cancel_previous"]),
        help="Rule for a tick while the last execution runs; default: allow.",
    ),
    click.option("--catch-up", type=click.Choice(["skip", "one", "all"]), help="Rule for missed ticks; default: one."),
    click.option("--catch-up-window", type=DURATION, help="Older missed ticks are skipped; default: 1d."),
    click.option("--catch-up-limit", type=click.IntRange(1), help="Missed ticks caught up at most; default: 100."),
    click.option("--jitter", type=DURATION, help="Longest random delay of a tick."),
    click.option("--until", type=INSTANT, help="No tick after this: 2026-12-31, 30d (from now), ..."),
    click.option("--timeout", type=DURATION, help="Time limit for each execution."),
)
_NAMES = (
    "cron", "interval", "timezone", "overlap", "catch_up", "catch_up_window", "catch_up_limit", "jitter", "until", "timeout",
)  # fmt: skip


def _schedule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a schedule; the command receives the given ones as `changes`."""

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> Any:
        given = {name: arguments.pop(name) for name in _NAMES}
        return command(changes={name: value for name, value in given.items() if value is not None}, **arguments)

    found: Callable[..., Any] = wrapped
    for option in reversed(_OPTIONS):
        found = option(found)
    return found


@schedule_command.command(
    "add", epilog="Example: replay schedule add nightly shop:report --cron '0 2 * * *' --store sqlite:///orders.db"
)
@click.argument("id")
@click.argument("workflow")
@click.argument("value", default="null")
@store_options
@_schedule_options
@raw_option
def add(
    id: str, workflow: str, value: str, store: str, namespace: str, as_json: bool, changes: dict[str, Any], raw: bool
) -> None:  # fmt: skip
    """Start WORKFLOW (module:object) at regular times with a JSON VALUE. Adding the same again changes nothing."""
    definition = load_one(workflow)
    with open_engine(store, namespace, [definition], create=True) as engine:
        input = decoded(engine, value, "VALUE", raw=raw)
        _print(engine.ensure_schedule(definition, input, id=id, **changes), as_json)


def _add_simple(name: str, help: str, act: Callable[[Engine, str], ScheduleRecord | None]) -> None:
    @schedule_command.command(
        name, help=help, epilog=f"Example: replay schedule {name} nightly --store sqlite:///orders.db"
    )
    @click.argument("id")
    @store_options
    def command(id: str, store: str, namespace: str, as_json: bool) -> None:
        with open_engine(store, namespace) as engine:
            found = act(engine, id)
        if isinstance(found, ScheduleRecord):
            _print(found, as_json)
        else:
            emit_done(id, "removed", as_json=as_json)


_add_simple("show", "Show one schedule: its next and last runs.", lambda engine, id: engine.get_schedule(id))
_add_simple("pause", "Start nothing until resumed.", lambda engine, id: engine.pause_schedule(id))
_add_simple("resume", "Go on from now.", lambda engine, id: engine.resume_schedule(id))
_add_simple("remove", "Remove a schedule; its executions go on.", lambda engine, id: engine.remove_schedule(id))


@schedule_command.command("trigger", epilog="Example: replay schedule trigger nightly --store sqlite:///orders.db")
@click.argument("id")
@store_options
def trigger(id: str, store: str, namespace: str, as_json: bool) -> None:
    """Start an execution now, beside the regular ticks, and print its id."""
    with open_engine(store, namespace) as engine:
        execution = engine.trigger_schedule(id).id
    emit_json({"id": execution, "schedule": id}) if as_json else click.echo(execution)


@schedule_command.command(
    "update", epilog="Example: replay schedule update nightly --cron '0 3 * * *' --store sqlite:///orders.db"
)
@click.argument("id")
@store_options
@_schedule_options
@click.option("--input", "input_", metavar="JSON", help="Another input.")
@raw_option
@app_option
def update(
    id: str, store: str, namespace: str, as_json: bool, changes: dict[str, Any], input_: str | None, raw: bool, app: str | None
) -> None:  # fmt: skip
    """Change some options. The next tick stays unless its rule changes."""
    with open_engine(store, namespace, app) as engine:
        if input_ is not None:
            changes["input"] = decoded(engine, input_, "--input", raw=raw)
        if not changes:
            raise click.UsageError("nothing to change. Fix: give an option, such as --cron")
        _print(engine.update_schedule(id, **changes), as_json)
