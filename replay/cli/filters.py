"""Filters: the options that select executions, and the pages of matches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from replay.cli.values import PAIR, SINCE
from replay.client.records import Execution, Page, Status
from replay.engine import Engine

PAGE = 500
"""Executions per page, for commands that read all pages."""

Filters = dict[str, Any]
"""Arguments of `Engine.find_executions`, without those that were not given."""

_OPTIONS = (
    click.option(
        "--status", multiple=True, type=click.Choice([str(s) for s in Status]), help="Only this status (repeatable)."
    ),
    click.option("--workflow", help="Only this workflow."),
    click.option("--parent", metavar="ID", help="Only children of this execution."),
    click.option("--id-prefix", help="Only ids with this prefix."),
    click.option("--metadata", multiple=True, type=PAIR, help="Only with this metadata (repeatable)."),
    click.option("--created-after", type=SINCE, help="Time of creation: 2026-01-31, 2026-01-31T08:00+01:00, 2h (ago)."),
    click.option("--created-before", type=SINCE, help="Time of creation, in the same formats."),
    click.option("--updated-after", type=SINCE, help="Time of the last change, in the same formats."),
    click.option("--updated-before", type=SINCE, help="Time of the last change, in the same formats."),
)
_NAMES = (
    "status", "workflow", "parent", "id_prefix", "metadata", "created_after", "created_before", "updated_after", "updated_before",
)  # fmt: skip


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the filters; the command receives the given ones as `filters`."""

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
    """Yield all matching executions, newest first, page by page."""
    cursor: str | None = None
    while True:
        page = engine.find_executions(**filters, limit=PAGE, cursor=cursor)
        yield page
        cursor = page.cursor
        if cursor is None:
            return


def check_statuses(filters: Filters, accepted: Sequence[str]) -> None:
    """Check that the command accepts each `--status`, before it counts anything.

    Raises:
        click.UsageError: A status is not accepted.
    """
    for status in filters.get("status", ()):
        if status not in accepted:
            raise click.UsageError(f"--status {status} is none that this takes. Fix: choose from {', '.join(accepted)}")
