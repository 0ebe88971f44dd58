"""Catalogue of the commands: one module of `replay.cli.commands` each, listed without loading any.

Module `skip_step` holds the command `skip-step` as `skip_step_command`. Its first line holds the summary for `replay --help`,
as in ``replay skip-step`: mark a failed step as done.``
"""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from importlib.util import find_spec

import click

CommandPath = tuple[str, ...]
"""A command's names below `replay`, such as `("schedule", "add")`."""

PACKAGE = "replay.cli.commands"
"""The package of the commands, known by its name alone: commands may import this module."""

_FIRST_LINE = re.compile(r'"{0,3}`replay [\w-]+`: (.+?)(?:"{3})?$')


def command_names() -> list[str]:
    """Return the names of all commands, sorted."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(import_module(PACKAGE).__path__))


def summary_of(name: str) -> str:
    """Return the summary of a command: the first line of its module, read as text."""
    first_line, *_ = _source_of(_module_of(name)).lstrip().splitlines()
    match = _FIRST_LINE.match(first_line)
    assert match is not None, f"the first line of {_module_of(name)} is no summary"
    summary = match[1]
    return summary[0].upper() + summary[1:]


def load_command(name: str) -> click.Command:
    """Import one command."""
    found: click.Command = getattr(import_module(_module_of(name)), f"{name.replace('-', '_')}_command")
    return found


def all_commands() -> dict[CommandPath, click.Command]:
    """Import all commands; return each by its path, the commands of a group instead of the group."""
    found: dict[CommandPath, click.Command] = {}
    for name in command_names():
        command = load_command(name)
        if isinstance(command, click.Group):
            found.update({(name, inner): each for inner, each in command.commands.items()})
        else:
            found[(name,)] = command
    return found


def _module_of(name: str) -> str:
    return f"{PACKAGE}.{name.replace('-', '_')}"


def _source_of(module: str) -> str:
    """Return the module's text, or its docstring where only byte code is installed."""
    spec = find_spec(module)
    get_source = getattr(spec.loader, "get_source", None) if spec is not None else None
    text: str | None = get_source(module) if get_source is not None else None
    return text or import_module(module).__doc__ or ""
