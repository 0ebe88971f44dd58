"""Values on the command line: JSON, durations, instants, and pairs of a name and a value."""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import click

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_duration(text: str) -> float:
    """Return the seconds of `90`, `90s`, `15m`, `2h`, `30d`.

    Raises:
        click.UsageError: *text* is not a duration.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([smhdw]?)", text.strip())
    if match is None:
        raise click.UsageError(f"{text!r} is not a duration. Fix: write 90, 90s, 15m, 2h or 30d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def parse_value(text: str, what: str) -> Any:
    """Return the value of a JSON text on the command line; `@FILE` reads a file, `-` standard input.

    Raises:
        click.UsageError: *text* is not JSON, or the file cannot be read.
    """
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{what}: {text[1:]}: {error}") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(
            f"{what} must be JSON (a text needs quotes: '\"text\"'), not {text[:60]!r}: {error}"
        ) from error


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """`90`, `90s`, `15m`, `2h`, `30d`, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        try:
            return value if isinstance(value, float) else parse_duration(str(value))
        except click.UsageError as error:
            self.fail(error.message, param, ctx)


class Instant(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """`2026-01-31`, `2026-01-31T08:00`, `2026-01-31T08:00+01:00` (UTC without an offset), as seconds since the epoch.

    A duration is counted from now: backwards (*ago*), or forwards.
    """

    name = "when"

    def __init__(self, *, ago: bool) -> None:
        self._sign = -1 if ago else 1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds since the epoch."""
        if isinstance(value, float):
            return value
        text = str(value)
        try:
            found = dt.datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return (found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)).timestamp()
        try:
            return time.time() + self._sign * parse_duration(text)
        except click.UsageError:
            example = "2h (two hours ago)" if self._sign < 0 else "2h (in two hours)"
            self.fail(f"{text!r} is no instant. Fix: write 2026-01-31, 2026-01-31T08:00+01:00 or {example}", param, ctx)


class Pair(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """`NAME=VALUE`; the value is JSON, or else plain text."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Return the name and the value."""
        if isinstance(value, tuple):
            return value
        name, given, text = str(value).partition("=")
        if not name or not given:
            self.fail(f"{value!r} has no '='. Fix: write NAME=VALUE", param, ctx)
        try:
            return name, json.loads(text)
        except ValueError:
            return name, text


DURATION = Duration()
INSTANT = Instant(ago=False)
SINCE = Instant(ago=True)
PAIR = Pair()
