"""`replay config`: show the settings in force."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import attrs
import click
from click.core import ParameterSource

from replay.cli import config_file
from replay.cli.catalogue import CommandPath, all_commands
from replay.cli.config_file import ConfigFile
from replay.cli.configuration import configure
from replay.cli.flags import flags_of, options_of, variable_set, variables_of
from replay.cli.output import emit_json, emit_table
from replay.redaction import masked


@attrs.frozen
class FlagValue:
    """A flag's value, the same for all `commands`; `source` is a flag, a variable, a file or the default."""

    name: str
    value: str
    source: str
    commands: tuple[str, ...] = ()


@click.group(
    "config", context_settings={"help_option_names": ["-h", "--help"]}, epilog="Example: replay config show list start"
)
def config_command() -> None:
    """Show the settings in force."""


@config_command.command("show", epilog="Example: replay config show worker --json")
@click.argument("commands", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_context
def show(context: click.Context, commands: tuple[str, ...], as_json: bool) -> None:
    """Show each flag's value and its source: flag, variable, file or default. Passwords are masked.

    COMMANDS such as `list` or `schedule` leave the others out. Defaults come last.
    """
    everything = all_commands()
    known = {path[0] for path in everything}
    for name in commands:
        if name not in known:
            raise click.UsageError(f"no command {name!r}. Fix: name one of {', '.join(sorted(known))}")
    chosen = {path: each for path, each in everything.items() if not commands or path[0] in commands}
    found = _merged(chosen, config_file.read(), context)
    found += [FlagValue(name, masked(value), "a variable that no flag has") for name, value in _strays(everything)]
    if as_json:
        for each in found:
            emit_json({"name": each.name, "value": each.value, "from": each.source, "commands": each.commands})
        return
    rows = [(each.name, each.value, each.source, _shown(each.commands, len(chosen))) for each in found]
    emit_table(("flag", "value", "from", "commands"), rows)


def _merged(commands: dict[CommandPath, click.Command], file: ConfigFile, context: click.Context) -> list[FlagValue]:
    """Return one row for each flag, value and source, the defaults last."""
    users: dict[FlagValue, list[str]] = {}
    for path, command in commands.items():
        configure(command, path, file)
        for value in _in_force(command, path, file, context):
            users.setdefault(value, []).append(" ".join(path))
    found = [attrs.evolve(value, commands=tuple(names)) for value, names in users.items()]
    return sorted(found, key=lambda each: (each.source == "default", each.name, each.commands))


def _in_force(
    command: click.Command, path: CommandPath, file: ConfigFile, context: click.Context
) -> Iterator[FlagValue]:
    own = context if command is context.command else command.make_context(path[-1], [], resilient_parsing=True)
    for option in options_of(command):
        assert option.name is not None
        flag, value = flags_of(option)[0], own.params.get(option.name)
        match own.get_parameter_source(option.name):
            case ParameterSource.COMMANDLINE:
                yield FlagValue(f"--{flag}", _text(value), f"flag --{flag}")
            case ParameterSource.ENVIRONMENT:
                name = str(variable_set(option))
                yield FlagValue(f"--{flag}", _text(os.environ[name]), f"variable {name}")
            case ParameterSource.DEFAULT_MAP:
                given = (own.default_map or {})[option.name]
                yield FlagValue(f"--{flag}", _text(given), file.name)
            case _ if value not in (None, (), False):
                yield FlagValue(f"--{flag}", _text(value), "default")
            case _:
                pass  # not given, and nothing is in force


def _text(value: Any) -> str:
    return masked(" ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def _shown(commands: tuple[str, ...], all_: int) -> str:
    return "all" if len(commands) == all_ > 1 else ", ".join(commands)


def _strays(commands: dict[CommandPath, click.Command]) -> list[tuple[str, str]]:
    """Return the `REPLAY_*` variables that no flag reads: misspelt ones, or those of something else."""
    known = {name for command in commands.values() for option in options_of(command) for name in variables_of(option)}
    return sorted((k, v) for k, v in os.environ.items() if k.startswith("REPLAY_") and k not in known)
