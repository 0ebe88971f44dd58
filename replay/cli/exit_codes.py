"""Running a command: the documented exit codes, and errors in a line instead of a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

import click
from click.core import ParameterSource

from replay.cli import config_file as configuring
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

# The first that fits: what is more special stands before what is more general.
_CODES: tuple[tuple[tuple[type[BaseException], ...], int], ...] = (
    ((UnknownExecution, UnknownSchedule, UnknownWorkflow), NOT_FOUND),
    ((StoreUnavailable,), UNREACHABLE),
    ((NonDeterminism,), CHECK_FAILED),
    ((ConfigError, MisuseError, ScheduleError), USAGE),
    ((TimeoutError,), TIMED_OUT),
    ((ReplayError,), FAILURE),
    ((ValueError,), USAGE),
)


class ReaderGone(Exception):
    """Who reads the output has closed it (`replay list | head`). Click would take a `BrokenPipeError` for a failure."""


def run(command: click.Command, name: str) -> NoReturn:
    """Run *command* and exit with the documented code; `--traceback` shows what is behind an error."""
    sys.path.insert(0, os.getcwd())
    tracing: list[bool] = []
    try:
        if not isinstance(command, click.Group):
            configuring.configure(command, (command.name or name,), configuring.read())
        code = command.main(prog_name=name, standalone_mode=False, obj=tracing)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else OK)
    except (KeyboardInterrupt, click.exceptions.Abort):
        fail("interrupted", INTERRUPTED)
    except (BrokenPipeError, ReaderGone):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OK)
    except Exception as error:  # whatever it is, a person reads it
        if tracing:
            traceback.print_exc()
        _report(error)


def fail(message: str, code: int) -> NoReturn:
    """Say *message* on the error channel and exit with *code*."""
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


def _report(error: Exception) -> NoReturn:
    if isinstance(error, click.ClickException):
        error.show()
        if isinstance(error, click.UsageError):
            _say_whence(error)
            sys.exit(USAGE)
        sys.exit(error.exit_code)
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            fail(str(error), code)
    if isinstance(error, OSError) and error.filename is not None:
        fail(
            f"{error.filename}: {error.strerror}. Fix: name a file that exists or can be made, and may be used", FAILURE
        )
    fail(f"{type(error).__name__}: {error}. Fix: see where with --traceback (or REPLAY_TRACEBACK=1)", FAILURE)


def _say_whence(error: click.UsageError) -> None:
    """Say from where a wrong value comes, if not from the command line, and where a missing one may stand."""
    option = getattr(error, "param", None)
    if not isinstance(option, click.Option) or error.ctx is None or option.name is None:
        return
    if isinstance(error, click.MissingParameter):
        flag, *_ = configuring.flags_of(option)
        click.echo(
            f"Fix: pass --{flag}, set {configuring.variable((), flag)}, or write {flag} = ... into {configuring.FILES}",
            err=True,
        )
        return
    source = error.ctx.get_parameter_source(option.name)
    if source is ParameterSource.ENVIRONMENT:
        click.echo(f"Fix: this value comes from the variable {configuring.variable_set(option)}", err=True)
    elif source is ParameterSource.DEFAULT_MAP:
        click.echo(f"Fix: this value comes from {configuring.read().file}", err=True)
