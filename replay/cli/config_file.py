"""Where a flag's value comes from when it is not on the command line: a variable, then a file, then its default.

One rule for all commands, by the names of *flags*: `REPLAY_<COMMAND>_<FLAG>` before `REPLAY_<FLAG>`, and in the file the
command's table (`[schedule.add]` before `[schedule]`) before the top level.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

FILES = "replay.toml or [tool.replay] of pyproject.toml"

Names = tuple[str, ...]
"""A command's names below `replay`, such as `("schedule", "add")`."""


class Settings(NamedTuple):
    """What a configuration file says; `file` names it in messages."""

    file: str
    found: Mapping[str, Any]

    def tables(self, names: Names) -> Iterator[Mapping[str, Any]]:
        """Yield the tables that concern a command, the most general first."""
        table: Any = self.found
        yield table
        for name in names:
            table = table.get(name)
            if not isinstance(table, Mapping):
                return
            yield table


def read() -> Settings:
    """Read `replay.toml`, or else `[tool.replay]` of `pyproject.toml`, in the current folder.

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
            return Settings(f"[tool.replay] of {name}" if keys else name, found)
    return Settings(FILES, {})


def flags_of(option: click.Option) -> list[str]:
    """Return the long names of an option without dashes: `["older-than"]`."""
    return [name.removeprefix("--") for name in option.opts if name.startswith("--")]


def options_of(command: click.Command) -> list[click.Option]:
    """Return the options of a command that variables and files can set."""
    return [each for each in command.params if isinstance(each, click.Option) and flags_of(each)]


def variable(names: Names, flag: str) -> str:
    """Return the name of the variable for a flag: of one command, or with no *names* of all."""
    return "_".join(("replay", *names, flag)).replace("-", "_").upper()


def variable_set(option: click.Option) -> str | None:
    """Return which of a configured option's variables is set and in force, if any."""
    return next((name for name in option.envvar or () if os.environ.get(name)), None)


def configure(command: click.Command, names: Names, settings: Settings) -> None:
    """Have *command* take what its command line leaves open from variables and from *settings*.

    Raises:
        click.UsageError: *settings* has a key that nothing knows.
    """
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            configure(inner, (*names, name), settings)
        return
    if not any(option.name == "traceback" for option in options_of(command)):
        command.params.append(
            click.Option(
                ["--traceback"], is_flag=True, is_eager=True, expose_value=False, callback=_note_tracing,
                help="Show the traceback behind an error.",
            )
        )  # fmt: skip
    for option in options_of(command):
        levels = [names[:length] for length in range(len(names), -1, -1)]
        option.envvar = [variable(level, flag) for level in levels for flag in flags_of(option)]
        option.allow_from_autoenv = False  # click's own rule goes by the names of Python's arguments
    _check(settings, command)
    command.context_settings = {**command.context_settings, "default_map": _defaults(command, names, settings)}


def _note_tracing(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Remember `--traceback` for `replay.cli.exit_codes.run`."""
    noted = context.find_root().obj
    if value and isinstance(noted, list):
        noted.append(True)


def _defaults(command: click.Command, names: Names, settings: Settings) -> dict[str, Any]:
    """Return what the file says for *command*, by the names of Python's arguments as click wants it."""
    found: dict[str, Any] = {}
    for table in settings.tables(names):
        values = {key.replace("_", "-"): value for key, value in table.items() if not isinstance(value, Mapping)}
        for option in options_of(command):
            for flag in flags_of(option):
                if flag in values and option.name is not None:
                    one = option.multiple and not isinstance(values[flag], list)
                    found[option.name] = [values[flag]] if one else values[flag]
    return found


# --- keys that nothing knows ------------------------------------------------------------------------------


def _check(settings: Settings, command: click.Command) -> None:
    """Refuse keys that no command knows; the others are loaded only where *command* does not know them all itself."""
    own = {flag for option in options_of(command) for flag in flags_of(option)}
    if all(key.replace("_", "-") in own and not isinstance(value, Mapping) for key, value in settings.found.items()):
        return
    from replay.cli.root import all_commands

    _check_table(settings.file, settings.found, (), all_commands())


def _check_table(file: str, table: Mapping[str, Any], names: Names, commands: dict[Names, click.Command]) -> None:
    below = {path: command for path, command in commands.items() if path[: len(names)] == names}
    flags = {flag for command in below.values() for option in options_of(command) for flag in flags_of(option)}
    tables = {path[len(names)] for path in below if len(path) > len(names)}
    for key, value in table.items():
        if isinstance(value, Mapping):
            if key not in tables:
                _refuse(file, names, f"table [{'.'.join((*names, key))}]", "command", key, tables)
            _check_table(file, value, (*names, key), commands)
        elif key.replace("_", "-") not in flags | {"traceback"}:
            _refuse(file, names, f"key {key!r}", "flag", key, flags)


def _refuse(file: str, names: Names, what: str, kind: str, key: str, known: set[str]) -> None:
    import difflib

    near = difflib.get_close_matches(key.replace("_", "-"), sorted(known), n=1)
    where = f"{file}, table [{'.'.join(names)}]" if names else file
    fix = f"write {near[0]!r}" if near else f"remove it; known are {', '.join(sorted(known)) or 'none'}"
    raise click.UsageError(f"{where}: {what} is not the name of a {kind}. Fix: {fix}")
