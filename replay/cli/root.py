"""`replay`: the group of commands, loaded when called so that `replay --help` is quick."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from replay.cli import config_file as configuring
from replay.cli.exit_codes import ReaderGone
from replay.version import installed_version

_COMMANDS = {
    "bench": "bench",
    "cancel": "operate",
    "check": "check",
    "completion": "watch",
    "config": "config",
    "delete": "operate",
    "demo": "demo",
    "describe": "describe",
    "doctor": "doctor",
    "edit-step-result": "interventions",
    "export": "inspect",
    "force-fail": "interventions",
    "fork": "operate",
    "history": "inspect",
    "lint": "lint",
    "list": "inspect",
    "purge": "purge",
    "retry": "operate",
    "retry-rollback": "operate",
    "schedule": "schedules",
    "show": "inspect",
    "simulate": "simulate",
    "signal": "executions",
    "skip-step": "interventions",
    "start": "executions",
    "stuck": "operate",
    "wait": "executions",
    "watch": "watch",
    "worker": "worker",
    "workers": "doctor",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command, and have it know the variables and the file."""
        if cmd_name not in _COMMANDS:
            return None
        command = load_command(cmd_name)
        if not ctx.resilient_parsing:  # completion works whatever the file says
            configuring.configure(command, (cmd_name,), configuring.read())
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from a table, without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _HELP[name]) for name in sorted(_COMMANDS)])


_HELP = {
    "bench": "Measure replay throughput, steps, latency on this machine.",
    "cancel": "Ask an execution to stop.",
    "check": "Replay recorded logs against today's code.",
    "completion": "Print shell completion.",
    "config": "Show the settings in force.",
    "delete": "Remove an ended execution.",
    "demo": "See a durable workflow survive a crash.",
    "describe": "Draw a workflow without running it.",
    "doctor": "Check a store's health and settings.",
    "edit-step-result": "Replace the recorded result of a step.",
    "export": "Write executions as JSON lines.",
    "fork": "Begin a new execution with a part of another's log.",
    "force-fail": "End an execution as failed at once.",
    "history": "Print or export an execution's log.",
    "lint": "Find code that is not safe to replay.",
    "list": "List executions.",
    "purge": "Remove ended executions.",
    "retry": "Try a failed execution again.",
    "retry-rollback": "Go on with a rollback that failed.",
    "schedule": "Manage schedules.",
    "show": "Show one execution: steps, timeline, where it is now.",
    "signal": "Send a signal.",
    "simulate": "Run a workflow in a simulated cluster with faults, seed by seed.",
    "skip-step": "Have a failed step count as done.",
    "start": "Start an execution.",
    "stuck": "List executions that need somebody's help.",
    "watch": "Follow an execution as it goes on.",
    "wait": "Wait for an execution's result.",
    "worker": "Run a worker (the same as replay-worker).",
    "workers": "List workers.",
}


def load_command(name: str) -> click.Command:
    """Import one command."""
    found: click.Command = getattr(
        import_module(f"replay.cli.commands.{_COMMANDS[name]}"), f"{name.replace('-', '_')}_command"
    )
    return found


def all_commands() -> dict[configuring.Names, click.Command]:
    """Return every command that does something, by its names: `("schedule", "add")`."""
    found: dict[configuring.Names, click.Command] = {}
    for name in sorted(_COMMANDS):
        command = load_command(name)
        if isinstance(command, click.Group):
            found.update({(name, inner): each for inner, each in command.commands.items()})
        else:
            found[(name,)] = command
    return found


def _print_version(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if not value or context.resilient_parsing:
        return
    click.echo(f"replay, version {installed_version()}")
    context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
def cli() -> None:
    """Durable workflows as plain Python generators.

    \b
    Start with:  replay demo
    Exit codes:  0 ok, 1 failure, 2 usage or import, 3 store or queue unreachable, 4 check failed,
                 5 not found, 6 timed out waiting, 130 interrupted
    Settings:    REPLAY_STORE, REPLAY_LIST_LIMIT, ... or replay.toml; see replay config show
    """
