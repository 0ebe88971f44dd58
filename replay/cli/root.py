"""The group `replay`: each command is loaded when it is called, so that `replay --help` is quick."""

from __future__ import annotations

from typing import Any

import click

from replay.cli import config_file
from replay.cli.catalogue import command_names, load_command, summary_of
from replay.cli.configuration import TRACEBACK_HELP, configure, note_traceback
from replay.cli.invocation import ReaderGone
from replay.version import installed_version


class LazyGroup(click.Group):
    """A group of the commands in the catalogue."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return command_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command and configure it."""
        if cmd_name not in command_names():
            return None
        command = load_command(cmd_name)
        if not ctx.resilient_parsing:  # completion works whatever the file says
            configure(command, (cmd_name,), config_file.read())
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary_of(name)) for name in command_names()])


def _print_version(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if not value or context.resilient_parsing:
        return
    click.echo(f"replay, version {installed_version()}")
    context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
@click.option(
    "--traceback", is_flag=True, is_eager=True, expose_value=False, callback=note_traceback, help=TRACEBACK_HELP
)
def cli() -> None:
    """Durable workflows as plain Python generators.

    \b
    Start with:  replay demo
    Exit codes:  0 ok, 1 failure, 2 usage or import, 3 store or queue unreachable, 4 check failed,
                 5 not found, 6 timed out waiting, 130 interrupted
    Settings:    REPLAY_STORE, REPLAY_LIST_LIMIT, ... or replay.toml; see replay config show
    """
