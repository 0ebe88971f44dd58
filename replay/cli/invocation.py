"""Invocation of a command: a documented exit code, and an error as one line instead of a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

import click
from click.core import ParameterSource

from replay.cli import config_file
from replay.cli.configuration import configure
from replay.cli.exit_codes import FAILURE, INTERRUPTED, OK, USAGE, code_of, fail
from replay.cli.flags import flags_of, variable, variable_set
from replay.cli.streams import open_streams


class ReaderGone(Exception):
    """The reader of the output has closed it (`replay list | head`). Click reports a `BrokenPipeError` as a failure."""


def run(command: click.Command, name: str) -> NoReturn:
    """Run *command* and exit with the documented code; `--traceback` shows the traceback behind an error."""
    open_streams()
    tracebacks: list[bool] = []
    try:
        if not isinstance(command, click.Group):
            configure(command, (command.name or name,), config_file.read())
        code = command.main(prog_name=name, standalone_mode=False, obj=tracebacks)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else OK)
    except (KeyboardInterrupt, click.exceptions.Abort):
        fail("interrupted", INTERRUPTED)
    except (BrokenPipeError, ReaderGone):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OK)
    except Exception as error:  # whatever it is, a person reads it
        if tracebacks:
            traceback.print_exc()
        _report(error)


def _report(error: Exception) -> NoReturn:
    if isinstance(error, click.ClickException):
        error.show()
        if isinstance(error, click.UsageError):
            _show_source(error)
            sys.exit(USAGE)
        sys.exit(error.exit_code)
    code = code_of(error)
    if code is not None:
        fail(str(error), code)
    if isinstance(error, OSError) and error.filename is not None:
        fail(
            f"{error.filename}: {error.strerror}. Fix: name a file that exists or can be made, and may be used", FAILURE
        )
    fail(f"{type(error).__name__}: {error}. Fix: see where with --traceback (or REPLAY_TRACEBACK=1)", FAILURE)


def _show_source(error: click.UsageError) -> None:
    """Print the source of a wrong value that is not on the command line, and the places for a missing one."""
    option = getattr(error, "param", None)
    if not isinstance(option, click.Option) or error.ctx is None or option.name is None:
        return
    if isinstance(error, click.MissingParameter):
        flag, *_ = flags_of(option)
        click.echo(
            f"Fix: pass --{flag}, set {variable((), flag)}, or write {flag} = ... into {config_file.FILES}",
            err=True,
        )
        return
    source = error.ctx.get_parameter_source(option.name)
    if source is ParameterSource.ENVIRONMENT:
        click.echo(f"Fix: this value comes from the variable {variable_set(option)}", err=True)
    elif source is ParameterSource.DEFAULT_MAP:
        click.echo(f"Fix: this value comes from {config_file.read().name}", err=True)
