"""Bulk actions: the same action on one execution, or on all that match the filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import click

from replay.cli import exit_codes, output
from replay.cli.filters import Filters, check_statuses, pages
from replay.cli.text import safe
from replay.core.errors import ExecutionEnded, OperatorRefused, ReplayError, UnknownExecution
from replay.engine import Engine


@attrs.frozen
class Action:
    """An action on executions.

    Attributes:
        act: Acts on the execution with this id.
        done: The outcome in words, such as `cancel requested`.
        statuses: Statuses of the matches, unless `--status` names others.
        accepted: Statuses that `--status` may name; the same as `statuses` by default.
        act_on_all: Acts on many ids at once and returns the refusals by id; None: one after the other.
    """

    act: Callable[[str], Any]
    done: str
    statuses: tuple[str, ...]
    accepted: tuple[str, ...] = attrs.field(default=attrs.Factory(lambda self: self.statuses, takes_self=True))
    act_on_all: Callable[[list[str]], Mapping[str, ReplayError]] | None = None


def one_or_many(
    engine: Engine, action: Action, execution: str | None, filters: Filters, *, yes: bool, as_json: bool
) -> int:
    """Apply *action* to one execution, or to all matches; without *yes* matches are only counted. Return the exit code.

    Raises:
        click.UsageError: Both an execution and filters were given, or neither, or a status that the action does not accept.
    """
    if (execution is None) == (not filters):
        raise click.UsageError(
            "pass an EXECUTION, or filters such as --workflow KEY for many. Fix: give one of the two"
        )
    if execution is not None:
        action.act(execution)
        output.emit_done(execution, action.done, as_json=as_json)
        return exit_codes.OK
    check_statuses(filters, action.accepted)
    return _many(engine, action, {"status": action.statuses, **filters}, yes=yes, as_json=as_json)


def _many(engine: Engine, action: Action, filters: Filters, *, yes: bool, as_json: bool) -> int:
    count = done = 0
    with output.bar(action.done if yes else "counting", None) as advance:
        for page in pages(engine, filters):
            ids = [each.id for each in page]
            count += len(ids)
            if yes:
                done += _accepted(action, ids)
            advance(len(ids))
    if as_json:
        output.emit_json({"count": count, "done": done, "yes": yes})
    elif yes:
        click.echo(f"{done} of {count} executions: {action.done}")
    else:
        click.echo(f"{count} executions match; add --yes, and they will be: {action.done}")
    return exit_codes.OK if done == count or not yes else exit_codes.FAILURE


def _accepted(action: Action, ids: list[str]) -> int:
    """Apply *action* to *ids*, print the refusals, and return the number of the others."""
    refused = _one_by_one(action, ids) if action.act_on_all is None else action.act_on_all(ids)
    for id, refusal in refused.items():
        click.echo(f"{safe(id)}: {safe(refusal)}", err=True)
    return len(ids) - len(refused)


def _one_by_one(action: Action, ids: list[str]) -> dict[str, ReplayError]:
    refused: dict[str, ReplayError] = {}
    for id in ids:
        try:
            action.act(id)
        except (OperatorRefused, ExecutionEnded, UnknownExecution) as refusal:  # it changed since it was listed
            refused[id] = refusal
    return refused
