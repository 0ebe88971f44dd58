"""Output of commands: tables for people, JSON lines for programs, progress on a terminal."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from replay.cli.text import safe, safe_json
from replay.codec.exceptions import traceback_of
from replay.core.errors import RemoteError, cause_of, text_of

if TYPE_CHECKING:
    from rich.console import Console


INSTANT = 19
"""Characters of an instant, and the most of a cell in the middle of a table whose rows are lines."""


def when(instant: float | None) -> str:
    """Return an instant for people, in UTC."""
    if instant is None:
        return ""
    try:
        return dt.datetime.fromtimestamp(instant, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{instant:g}"  # beyond the calendar


def name_of(error: BaseException) -> str:
    """Return the name of an error's class, even if the class is not known here."""
    return error.type_name.rpartition(":")[2] if type(error) is RemoteError else type(error).__name__


def message_of(error: BaseException) -> str:
    """Return an error's text, even if the class is not known here."""
    return error.message if type(error) is RemoteError else text_of(error)


def chain_of(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, each raised from the next."""
    found = [error]
    # By identity, for `==` may raise.
    while (cause := cause_of(found[-1])) is not None and all(cause is not error for error in found):
        found.append(cause)
    return found


def plain(value: Any) -> Any:
    """Return *value* as JSON-able data, for output only; an error has its type, message, traceback and causes."""
    import attrs
    import msgspec

    if isinstance(value, BaseException):
        first, *causes = [
            {"type": name_of(each), "message": message_of(each), "traceback": traceback_of(each)}
            for each in chain_of(value)
        ]
        return {**first, "causes": causes}
    if attrs.has(type(value)):
        return {f.name: plain(getattr(value, f.name)) for f in attrs.fields(type(value))}
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has neither NaN nor Infinity
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def console(*, stderr: bool = False) -> Console:
    """Return a console, without colours and weights if `NO_COLOR` is set (no-color.org)."""
    from rich.console import Console

    return Console(stderr=stderr, color_system=None if os.environ.get("NO_COLOR") else "auto")


def progress(text: str) -> None:
    """Show *text* in place of the last one, on a terminal only. The empty text clears it."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text[:78]}", nl=False, err=True)


@contextlib.contextmanager
def bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal only; yield the function that advances it. Without *total* the bar pulses."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def emit_json(value: Any) -> None:
    """Print one JSON object on a line."""
    click.echo(safe_json(plain(value)))


def emit_done(id: str, what: str, *, as_json: bool) -> None:
    """Print the outcome of an action on an execution or a schedule."""
    if as_json:
        emit_json({"id": id, "done": what})
    else:
        click.echo(f"{safe(id)}: {what}")


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, one_line: bool = False) -> None:
    """Print a table: drawn on a terminal, tab-separated (with a header) when piped.

    With *one_line* a row is one line of the terminal: the first cell is shown whole, and what has no room is cut, in the last
    column first.
    """
    shown = [[safe(cell) if cell is not None else "" for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(columns), *shown]:
            click.echo("\t".join(row))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    widths = _widths(columns, shown) if one_line else [None] * len(columns)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, no_wrap=one_line, overflow="ellipsis" if one_line else "fold", width=width)
    for row in shown:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int | None]:
    """Return widths with which a row is one line: the first column's whole, the last one's the rest of the terminal."""
    longest = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    widths = [longest[0], *(min(length, INSTANT) for length in longest[1:-1])]
    borders = 3 * len(columns) + 1
    return [*widths, max(len(columns[-1]), min(longest[-1], console().width - sum(widths) - borders))]
