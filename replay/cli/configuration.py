"""Configuration of a command: a flag comes from the command line, else a variable, else the file, else its default.

All commands follow one rule, by the names of *flags*: `REPLAY_<COMMAND>_<FLAG>` comes before `REPLAY_<FLAG>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from replay.cli.catalogue import CommandPath, all_commands
from replay.cli.config_file import ConfigFile
from replay.cli.flags import flags_of, options_of, variable

TRACEBACK_HELP = "Show the traceback behind an error."


def configure(command: click.Command, path: CommandPath, file: ConfigFile) -> None:
    """Connect the options of *command* with their variables and with *file*.

    Raises:
        click.UsageError: *file* has an unknown key.
    """
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            configure(inner, (*path, name), file)
        return
    if not any(option.name == "traceback" for option in options_of(command)):
        command.params.append(
            click.Option(
                ["--traceback"], is_flag=True, is_eager=True, expose_value=False, callback=note_traceback,
                help=TRACEBACK_HELP,
            )
        )  # fmt: skip
    for option in options_of(command):
        levels = [path[:length] for length in range(len(path), -1, -1)]
        option.envvar = [variable(level, flag) for level in levels for flag in flags_of(option)]
        option.allow_from_autoenv = False  # click's own rule goes by the names of Python's arguments
    _check(file, command)
    command.context_settings = {**command.context_settings, "default_map": file.defaults(command, path)}


def note_traceback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Note `--traceback` for `replay.cli.invocation.run`."""
    noted = context.find_root().obj
    if value and isinstance(noted, list):
        noted.append(True)


def _check(file: ConfigFile, command: click.Command) -> None:
    """Refuse unknown keys; other commands are loaded only for keys that *command* itself does not know."""
    own = {flag for option in options_of(command) for flag in flags_of(option)}
    if any(key.replace("_", "-") not in own or isinstance(value, Mapping) for key, value in file.content.items()):
        file.check(all_commands())
