"""Exit codes of all commands, and the code of each error."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from replay.cli.text import safe_lines
from replay.core.errors import (
    ConfigError,
    MisuseError,
    NonDeterminism,
    ReplayError,
    ScheduleError,
    StoreUnavailable,
    UnknownExecution,
    UnknownSchedule,
    UnknownWorkflow,
)

OK, FAILURE, USAGE, UNREACHABLE, CHECK_FAILED, NOT_FOUND, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130

# The first match counts: a subclass stands before its base.
_CODES: tuple[tuple[tuple[type[BaseException], ...], int], ...] = (
    ((UnknownExecution, UnknownSchedule, UnknownWorkflow), NOT_FOUND),
    ((StoreUnavailable,), UNREACHABLE),
    ((NonDeterminism,), CHECK_FAILED),
    ((ConfigError, MisuseError, ScheduleError), USAGE),
    ((TimeoutError,), TIMED_OUT),
    ((ReplayError,), FAILURE),
    ((ValueError,), USAGE),
)


def code_of(error: BaseException) -> int | None:
    """Return the exit code of an error that users know, None for any other."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), None)


def fail(message: str, code: int) -> NoReturn:
    """Print *message* to the error channel and exit with *code*."""
    click.echo(f"error: {safe_lines(message, '  ')}", err=True)
    sys.exit(code)
