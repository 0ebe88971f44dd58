"""`replay config show`: the value of every flag of every command, and where it comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import attrs
import click
from click.core import ParameterSource

from replay.cli import config_file as configuring
from replay.cli import shell


@attrs.frozen
class Setting:
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
    """Show what every flag is and where that comes from: flag, variable, file or default; passwords are masked.

    COMMANDS such as `list` or `schedule` leave the others out. What is set stands before what is not.
    """
    from replay.cli.root import all_commands

    everything = all_commands()
    known = {names[0] for names in everything}
    for name in commands:
        if name not in known:
            raise click.UsageError(f"no command {name!r}. Fix: name one of {', '.join(sorted(known))}")
    chosen = {names: each for names, each in everything.items() if not commands or names[0] in commands}
    found = _merged(chosen, configuring.read(), context)
    found += [Setting(name, shell.masked(value), "a variable that no flag has") for name, value in _strays(everything)]
    if as_json:
        for each in found:
            shell.emit_json({"name": each.name, "value": each.value, "from": each.source, "commands": each.commands})
        return
    rows = [(each.name, each.value, each.source, _shown(each.commands, len(chosen))) for each in found]
    shell.emit_table(("flag", "value", "from", "commands"), rows)


def _merged(
    commands: dict[configuring.Names, click.Command], settings: configuring.Settings, context: click.Context
) -> list[Setting]:
    """Return one setting for each flag, value and source; those from defaults last."""
    users: dict[Setting, list[str]] = {}
    for names, command in commands.items():
        configuring.configure(command, names, settings)
        for setting in _in_force(command, names, settings, context):
            users.setdefault(setting, []).append(" ".join(names))
    found = [attrs.evolve(setting, commands=tuple(names)) for setting, names in users.items()]
    return sorted(found, key=lambda each: (each.source == "default", each.name, each.commands))


def _in_force(
    command: click.Command, names: configuring.Names, settings: configuring.Settings, context: click.Context
) -> Iterator[Setting]:
    own = context if command is context.command else command.make_context(names[-1], [], resilient_parsing=True)
    for option in configuring.options_of(command):
        assert option.name is not None
        flag, value = configuring.flags_of(option)[0], own.params.get(option.name)
        match own.get_parameter_source(option.name):
            case ParameterSource.COMMANDLINE:
                yield Setting(f"--{flag}", _text(value), f"flag --{flag}")
            case ParameterSource.ENVIRONMENT:
                name = str(configuring.variable_set(option))
                yield Setting(f"--{flag}", _text(os.environ[name]), f"variable {name}")
            case ParameterSource.DEFAULT_MAP:
                given = (own.default_map or {})[option.name]
                yield Setting(f"--{flag}", _text(given), settings.file)
            case _ if value not in (None, (), False):
                yield Setting(f"--{flag}", _text(value), "default")
            case _:
                pass  # not given, and nothing is in force


def _text(value: Any) -> str:
    return shell.masked(" ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def _shown(commands: tuple[str, ...], all_: int) -> str:
    return "all" if len(commands) == all_ > 1 else ", ".join(commands)


def _strays(commands: dict[configuring.Names, click.Command]) -> list[tuple[str, str]]:
    """Return variables that look like ours and have no effect: a slip of the pen, or for something else."""
    known = {
        name for command in commands.values() for option in configuring.options_of(command) for name in _names(option)
    }
    return sorted((k, v) for k, v in os.environ.items() if k.startswith("REPLAY_") and k not in known)


def _names(option: click.Option) -> list[str]:
    return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
