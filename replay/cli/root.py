"""`replay`: the group of commands, loaded when called so that `replay --help` is quick."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import click

_COMMANDS = {
    "bench": "benching",
    "cancel": "executions",
    "check": "checking",
    "completion": "watching",
    "config": "settings",
    "delete": "operating",
    "demo": "demo",
    "describe": "describing",
    "doctor": "settings",
    "export": "executions",
    "fork": "operating",
    "history": "executions",
    "lint": "linting",
    "list": "executions",
    "purge": "operating",
    "retry": "operating",
    "schedule": "schedules",
    "show": "executions",
    "simulate": "simulating",
    "signal": "executions",
    "start": "executions",
    "stuck": "operating",
    "wait": "executions",
    "watch": "watching",
    "worker": "working",
    "workers": "settings",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"replay.cli.{_COMMANDS[cmd_name]}")
        return getattr(module, f"{cmd_name}_command")  # type: ignore[no-any-return]

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
    "export": "Write executions as JSON lines.",
    "fork": "Begin a new execution with a part of another's log.",
    "history": "Print or export an execution's log.",
    "lint": "Find code that is not safe to replay.",
    "list": "List executions.",
    "purge": "Remove ended executions.",
    "retry": "Try a failed execution again.",
    "schedule": "Manage schedules.",
    "show": "Show one execution: steps, timeline, where it is now.",
    "signal": "Send a signal.",
    "simulate": "Run a workflow in a simulated cluster with faults, seed by seed.",
    "start": "Start an execution.",
    "stuck": "List executions that need somebody's help.",
    "watch": "Follow an execution as it goes on.",
    "wait": "Wait for an execution's result.",
    "worker": "Run a worker (the same as replay-worker).",
    "workers": "List workers.",
}


def _version() -> str:
    try:
        return version("replay-engine")
    except PackageNotFoundError:
        return "(not installed)"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "REPLAY"})
@click.version_option(_version(), prog_name="replay")
def cli() -> None:
    """Durable workflows as plain Python generators.

    \b
    Start with:  replay demo
    Exit codes:  0 ok, 1 failure, 2 usage or import, 3 store or queue unreachable, 4 check failed,
                 5 not found, 6 timed out waiting, 130 interrupted
    """
