"""Results: wait for an execution to end, and print its result or its error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from replay.cli import exit_codes
from replay.cli.output import emit_json
from replay.cli.text import safe
from replay.core.errors import ExecutionCancelled, ExecutionFailed, Undecodable
from replay.engine import Engine


def print_result(engine: Engine, id: str, timeout: float | None, *, as_json: bool) -> None:
    """Wait for an execution and print its result; a failed or cancelled one ends the process with exit code 1.

    Raises:
        TimeoutError: The execution has not ended within *timeout* seconds.
    """
    try:
        with _naming_the_app():
            result = engine.wait(id, timeout)
    except (ExecutionFailed, ExecutionCancelled) as error:
        if as_json:
            emit_json({"id": id, "error": error})
        exit_codes.fail(safe(error), exit_codes.FAILURE)
    if as_json:
        emit_json({"id": id, "result": result})
    else:
        click.echo(safe(result))


@contextlib.contextmanager
def _naming_the_app() -> Iterator[None]:
    """Add `--app` to the remedy of an undecodable result."""
    try:
        yield
    except Undecodable as error:
        raise Undecodable(f"it ended, but {error}. Fix: --app MODULE:OBJECT, so that the classes are known") from error
