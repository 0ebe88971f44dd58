"""Which executions a command is about: the filters that all of them share, and what many executions have done to them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from replay.cli import shell
from replay.client.records import Execution, Page, Status
from replay.core.errors import ExecutionEnded, OperatorRefused, UnknownExecution
from replay.engine import Engine

PAGE = 500
"""Executions read at once by commands that go through all of them."""

Filters = dict[str, Any]
"""Arguments of `Engine.find_executions`: those that were given."""

_OPTIONS = (
    click.option(
        "--status", multiple=True, type=click.Choice([str(s) for s in Status]), help="Only these (repeatable)."
    ),
    click.option("--workflow", help="Only this workflow."),
    click.option("--parent", metavar="ID", help="Only children of this execution."),
    click.option("--id-prefix", help="Only ids that begin so."),
    click.option("--metadata", multiple=True, type=shell.PAIR, help="Only with this metadata (repeatable)."),
    click.option("--created-after", type=shell.SINCE, help="2026-01-31, 2026-01-31T08:00+01:00, 2h (ago)."),
    click.option("--created-before", type=shell.SINCE, help="The same."),
    click.option("--updated-after", type=shell.SINCE, help="The same, of the last change."),
    click.option("--updated-before", type=shell.SINCE, help="The same, of the last change."),
)
_NAMES = (
    "status", "workflow", "parent", "id_prefix", "metadata", "created_after", "created_before", "updated_after", "updated_before",
)  # fmt: skip


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the filters; the command gets those that were given as `filters`."""

    @functools.wraps(command)
    def filtered(**arguments: Any) -> Any:
        given = {name: arguments.pop(name) for name in _NAMES}
        filters = {name: value for name, value in given.items() if value not in (None, ())}
        if "metadata" in filters:
            filters["metadata"] = dict(filters["metadata"])
        return command(filters=filters, **arguments)

    found: Callable[..., Any] = filtered
    for option in reversed(_OPTIONS):
        found = option(found)
    return found


def pages(engine: Engine, filters: Filters) -> Iterator[Page[Execution]]:
    """Yield all executions that *filters* let through, newest first, page by page."""
    cursor: str | None = None
    while True:
        page = engine.find_executions(**filters, limit=PAGE, cursor=cursor)
        yield page
        cursor = page.cursor
        if cursor is None:
            return


def check_statuses(filters: Filters, takes: Sequence[str]) -> None:
    """Refuse statuses that the command does not take, before it counts what it would not touch.

    Raises:
        click.UsageError: There is one.
    """
    for status in filters.get("status", ()):
        if status not in takes:
            raise click.UsageError(f"--status {status} is none that this takes. Fix: choose from {', '.join(takes)}")


def one_or_many(
    engine: Engine,
    execution: str | None,
    filters: Filters,
    act: Callable[[str], Any],
    *,
    statuses: tuple[str, ...],
    done: str,
    yes: bool,
    as_json: bool,
    takes: tuple[str, ...] = (),
) -> int:
    """Have *act* done to one execution, or to all that match; without *yes* those are only counted. Returns the exit code.

    Args:
        engine: Where they are.
        execution: The one.
        filters: Or which.
        act: What to do with an id.
        statuses: Those that filters mean if they name none.
        done: What has then been done to them, in words.
        yes: Whether to do it to many.
        as_json: How to print.
        takes: What *act* takes; default: *statuses*.

    Raises:
        click.UsageError: Both an execution and filters were given, or neither, or a status that *act* does not take.
    """
    if (execution is None) == (not filters):
        raise click.UsageError(
            "pass an EXECUTION, or filters such as --workflow KEY for many. Fix: give one of the two"
        )
    if execution is not None:
        act(execution)
        shell.emit_done(execution, done, as_json=as_json)
        return shell.OK
    check_statuses(filters, takes or statuses)
    count = taken = 0
    with shell.bar(done if yes else "counting", None) as advance:
        for page in pages(engine, {"status": statuses, **filters}):
            for each in page:
                count += 1
                if yes:
                    taken += _act(act, each.id)
            advance(len(page))
    if as_json:
        shell.emit_json({"count": count, "done": taken, "yes": yes})
    elif yes:
        click.echo(f"{taken} of {count} executions: {done}")
    else:
        click.echo(f"{count} executions match; add --yes, and they will be: {done}")
    return shell.OK if taken == count or not yes else shell.FAILURE


def _act(act: Callable[[str], Any], id: str) -> bool:
    try:
        act(id)
    except (OperatorRefused, ExecutionEnded, UnknownExecution) as refusal:  # it went on since it was listed
        click.echo(f"{id}: {refusal}", err=True)
        return False
    return True
