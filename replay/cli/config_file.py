"""The configuration file: `replay.toml`, or `[tool.replay]` of `pyproject.toml`.

A command's table (`[schedule.add]` before `[schedule]`) comes before the top level. Keys are the names of flags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from replay.cli.catalogue import CommandPath
from replay.cli.flags import flags_of, options_of

FILES = "replay.toml or [tool.replay] of pyproject.toml"

_UNIVERSAL = frozenset({"traceback"})
"""Flags that every command gets when it is configured."""


class ConfigFile(NamedTuple):
    """A configuration file; `name` is its name in messages."""

    name: str
    content: Mapping[str, Any]

    def tables(self, path: CommandPath) -> Iterator[Mapping[str, Any]]:
        """Yield the tables for a command, the most general first."""
        table: Any = self.content
        yield table
        for name in path:
            table = table.get(name)
            if not isinstance(table, Mapping):
                return
            yield table

    def defaults(self, command: click.Command, path: CommandPath) -> dict[str, Any]:
        """Return the file's values for *command*, by the names of its Python arguments."""
        found: dict[str, Any] = {}
        for table in self.tables(path):
            values = {key.replace("_", "-"): value for key, value in table.items() if not isinstance(value, Mapping)}
            for option in options_of(command):
                for flag in flags_of(option):
                    if flag in values and option.name is not None:
                        one = option.multiple and not isinstance(values[flag], list)
                        found[option.name] = [values[flag]] if one else values[flag]
        return found

    def check(self, commands: Mapping[CommandPath, click.Command]) -> None:
        """Check that each table names a command, and each key a flag of it.

        Raises:
            click.UsageError: A table or a key has an unknown name.
        """
        _check_table(self.name, self.content, (), commands)


def read() -> ConfigFile:
    """Read the configuration file of the current folder; without one the result is empty.

    Raises:
        click.UsageError: The file is not TOML.
    """
    for name, keys in (("replay.toml", ()), ("pyproject.toml", ("tool", "replay"))):
        path = Path(name)
        if not path.is_file():
            continue
        import tomllib  # 15 ms, and most folders have neither file

        try:
            found: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{name} is not TOML: {error}") from error
        for key in keys:
            found = found.get(key, {})
        if found:
            return ConfigFile(f"[tool.replay] of {name}" if keys else name, found)
    return ConfigFile(FILES, {})


def _check_table(
    file: str, table: Mapping[str, Any], path: CommandPath, commands: Mapping[CommandPath, click.Command]
) -> None:
    below = {each: command for each, command in commands.items() if each[: len(path)] == path}
    flags = {flag for command in below.values() for option in options_of(command) for flag in flags_of(option)}
    tables = {each[len(path)] for each in below if len(each) > len(path)}
    for key, value in table.items():
        if isinstance(value, Mapping):
            if key not in tables:
                _refuse(file, path, f"table [{'.'.join((*path, key))}]", "command", key, tables)
            _check_table(file, value, (*path, key), commands)
        elif key.replace("_", "-") not in flags | _UNIVERSAL:
            _refuse(file, path, f"key {key!r}", "flag", key, flags)


def _refuse(file: str, path: CommandPath, what: str, kind: str, key: str, known: set[str]) -> None:
    import difflib

    near = difflib.get_close_matches(key.replace("_", "-"), sorted(known), n=1)
    where = f"{file}, table [{'.'.join(path)}]" if path else file
    fix = f"write {near[0]!r}" if near else f"remove it; known are {', '.join(sorted(known)) or 'none'}"
    raise click.UsageError(f"{where}: {what} is not the name of a {kind}. Fix: {fix}")
