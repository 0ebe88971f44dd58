"""What all commands share: options, exit codes, output for people and for programs, errors without tracebacks."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from replay.cli.loading import load_workflows
from replay.core.errors import (
    ConfigError,
    MisuseError,
    NonDeterminism,
    ReplayError,
    StoreUnavailable,
    UnknownExecution,
    UnknownSchedule,
    UnknownWorkflow,
)
from replay.definition import Workflow
from replay.engine import Engine
from replay.urls import masked

OK, FAILURE, USAGE, UNREACHABLE, CHECK_FAILED, NOT_FOUND, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130


def run(command: click.Command, name: str, section: str | None = None) -> NoReturn:
    """Run *command* and exit with the documented code; a user's mistake gives a message, not a traceback.

    *section* is the table of the configuration file that is meant for a command which is no sub-command.
    """
    sys.path.insert(0, os.getcwd())
    try:
        defaults = config_file()
        if section is not None:
            defaults = dict(defaults.get(section) or {})
        code = command.main(prog_name=name, standalone_mode=False, default_map=defaults, auto_envvar_prefix="REPLAY")
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else OK)
    except click.exceptions.Abort:
        fail("interrupted", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE if isinstance(error, click.UsageError) else error.exit_code)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OK)
    except (UnknownExecution, UnknownSchedule, UnknownWorkflow) as error:
        fail(str(error), NOT_FOUND)
    except StoreUnavailable as error:
        fail(str(error), UNREACHABLE)
    except NonDeterminism as error:
        fail(str(error), CHECK_FAILED)
    except (ConfigError, MisuseError) as error:
        fail(str(error), USAGE)
    except TimeoutError as error:
        fail(str(error), TIMED_OUT)
    except ReplayError as error:
        fail(str(error), FAILURE)
    except ValueError as error:
        fail(str(error), USAGE)


def fail(message: str, code: int) -> NoReturn:
    """Say *message* on the error channel and exit with *code*."""
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


def config_file() -> dict[str, Any]:
    """Return defaults from `replay.toml`, or `[tool.replay]` in `pyproject.toml`, of the current folder.

    Raises:
        click.ClickException: The file is not TOML.
    """
    for name, keys in (("replay.toml", ()), ("pyproject.toml", ("tool", "replay"))):
        path = Path(name)
        if not path.is_file():
            continue
        try:
            found: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{name} is not TOML: {error}") from error
        for key in keys:
            found = found.get(key, {})
        if found:
            plain = {k.replace("-", "_"): v for k, v in found.items() if not isinstance(v, dict)}
            return _for_all_commands(plain, found)
    return {}


def _for_all_commands(plain: dict[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Let `store = "..."` at the top reach every sub-command; a table `[tool.replay.worker]` only that one."""

    class Defaults(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            own = found.get(key)
            if isinstance(own, dict):
                return {**plain, **{k.replace("-", "_"): v for k, v in own.items()}}
            return super().get(key, Defaults(plain) if default is None and key not in plain else default)

    return Defaults(plain)


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--store`, `--namespace` and `--json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object per line."),
        click.option(
            "--namespace", default="default", show_default=True, help="Keeps applications apart that share a store."
        ),
        click.option(
            "--store",
            "-s",
            required=True,
            metavar="URL",
            envvar="REPLAY_STORE",
            help="sqlite:///FILE, redis://HOST, ...",
        ),
    ):
        command = option(command)
    return command


def open_engine(store: str, namespace: str, workflows: Iterable[Workflow[Any, Any]] = (), **options: Any) -> Engine:
    """Open an engine without a worker."""
    if store.startswith("memory:"):
        raise click.UsageError("memory:// lives within one process; use sqlite:///FILE or redis://HOST here")
    return Engine(store, namespace=namespace, workflows=workflows, **options)


def parse_value(text: str, what: str) -> Any:
    """Return JSON from the command line; `@FILE` reads a file, `-` standard input.

    Raises:
        click.UsageError: It is not JSON.
    """
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"{what}: {error}") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(
            f"{what} must be JSON (a text needs quotes: '\"text\"'), not {text[:60]!r}: {error}"
        ) from error


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_duration(text: str) -> float:
    """Return the seconds of `90`, `90s`, `15m`, `2h`, `30d`.

    Raises:
        click.UsageError: It is not a duration.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", text.strip())
    if match is None:
        raise click.UsageError(f"{text!r} is not a duration. Fix: write 90, 90s, 15m, 2h or 30d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def when(instant: float | None) -> str:
    """Return an instant for people, in UTC."""
    if instant is None:
        return ""
    return dt.datetime.fromtimestamp(instant, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def plain(value: Any) -> Any:
    """Return *value* as JSON-able data, for output only."""
    import attrs

    if isinstance(value, BaseException):
        return {"type": type(value).__name__, "message": str(value)}
    if attrs.has(type(value)):
        return {f.name: plain(getattr(value, f.name)) for f in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def safe(value: Any) -> str:
    """Return a text that cannot steer a terminal: control characters are escaped."""
    return "".join(c if c.isprintable() or c == " " else repr(c)[1:-1] for c in str(value))


def progress(text: str) -> None:
    """Show *text* in place of the last one, on a terminal only; the empty text clears it."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text[:78]}", nl=False, err=True)


@contextlib.contextmanager
def bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal (it pulses where *total* is not known), nothing elsewhere; yields how to advance it."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def emit_json(value: Any) -> None:
    """Print one JSON object on a line."""
    click.echo(json.dumps(plain(value), ensure_ascii=False))


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table: drawn on a terminal, tab-separated (with a header) when piped."""
    shown = [[safe(cell) if cell is not None else "" for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(columns), *shown]:
            click.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, header_style="bold")
    for row in shown:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    Console(no_color="NO_COLOR" in os.environ).print(table)


__all__ = [
    "emit_json", "emit_table", "fail", "load_workflows", "masked", "open_engine", "parse_duration", "parse_value", "plain",
    "run", "safe", "store_options", "when",
]  # fmt: skip
