"""Flags: the long names of a command's options, and the variables that set them."""

from __future__ import annotations

import os

import click

from replay.cli.catalogue import CommandPath


def flags_of(option: click.Option) -> list[str]:
    """Return the long names of an option without dashes: `["older-than"]`."""
    return [name.removeprefix("--") for name in option.opts if name.startswith("--")]


def options_of(command: click.Command) -> list[click.Option]:
    """Return the options of a command that variables and files can set."""
    return [each for each in command.params if isinstance(each, click.Option) and flags_of(each)]


def variable(path: CommandPath, flag: str) -> str:
    """Return the variable for a flag of one command; an empty *path* gives the variable for all commands."""
    return "_".join(("replay", *path, flag)).replace("-", "_").upper()


def variables_of(option: click.Option) -> list[str]:
    """Return the variables of a configured option, the most special first."""
    return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())


def variable_set(option: click.Option) -> str | None:
    """Return the variable that is in force for a configured option, None if none is set."""
    return next((name for name in variables_of(option) if os.environ.get(name)), None)
