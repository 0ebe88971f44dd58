"""Queries about executions: one, a page by filters, counts, steps and audit trail, children. Read-only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from replay.client.base import ClientBase
from replay.client.handles import Handle, id_of
from replay.client.records import Detail, Execution, Page, Status, Tree, WaitingMessage, execution_of, steps_of
from replay.codec.log_rows import decoded, inspected
from replay.core import requests as r
from replay.core.times import instant
from replay.definition import Workflow, check_metadata


class Inspection(ClientBase):
    """Queries about executions."""

    def get_execution(self, execution: str | Handle[Any]) -> Execution:
        """Return the current state of an execution.

        Raises:
            UnknownExecution: There is no such execution.
        """
        return execution_of(self.header(id_of(execution)), self.codec)

    def find_executions(
        self,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        status: str | Iterable[str] | None = None,
        created_after: Any = None,
        created_before: Any = None,
        updated_after: Any = None,
        updated_before: Any = None,
        parent: str | Handle[Any] | None = None,
        id_prefix: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Execution]:
        """Return a page of executions that match all given filters, newest first. Instants are datetimes or seconds.

        Several statuses are OR-ed. An empty iterable matches nothing.

        Raises:
            TypeError, ValueError: A filter is of another type, no status or no instant, or the cursor is not from a page.
        """
        if type(limit) is not int or not 1 <= limit <= 10_000:
            raise ValueError(f"limit is a whole number from 1 to 10,000, not {limit!r}")
        statuses = () if status is None else (status,) if isinstance(status, str) else tuple(status)
        for each in statuses:
            Status(each)

        wanted = check_metadata(metadata, "find_executions")

        def moment(value: Any) -> float | None:
            return None if value is None else instant(value, "find_executions")

        query = r.Find(
            statuses=tuple(str(each) for each in statuses),
            workflow=_key_of(workflow),
            parent_id=None if parent is None else id_of(parent),
            id_prefix=_text(id_prefix, "id_prefix"),
            created_after=moment(created_after),
            created_before=moment(created_before),
            updated_after=moment(updated_after),
            updated_before=moment(updated_before),
            metadata=tuple((key, json.dumps(value).encode()) for key, value in wanted.items()),
            limit=limit,
            cursor=_text(cursor, "cursor"),
        )
        if status is not None and not statuses:
            return Page(())
        found = self.ask(query)
        return Page(tuple(execution_of(header, self.codec) for header in found.headers), found.cursor)

    def count_executions(self, *, workflow: Workflow[Any, Any] | str | None = None) -> dict[Status, int]:
        """Return the number of executions by status."""
        return {Status(status): count for status, count in sorted(self.ask(r.Count(_key_of(workflow))).items())}

    def detail(self, execution: str | Handle[Any]) -> Detail:
        """Return an execution with its steps, audit trail and inbox. See `Detail` for values that cannot be read here."""
        header = self.header(id_of(execution))
        audit = inspected(self.ask(r.Load(header.id, inspect=True)), self.codec)
        inbox = tuple(
            WaitingMessage(message.kind, message.name, decoded(self.codec, message.payload), message.at)
            for message in self.ask(r.Inbox(header.id))
        )
        return Detail(execution_of(header, self.codec), steps_of(audit), audit, inbox)

    def execution_tree(self, execution: str | Handle[Any]) -> Tree:
        """Return an execution with all its descendants."""
        found = self.get_execution(execution)
        children: list[Execution] = []
        cursor = None
        while True:
            page = self.find_executions(parent=found.id, limit=1000, cursor=cursor)
            children.extend(page.items)
            cursor = page.cursor
            if cursor is None:
                break
        return Tree(found, tuple(self.execution_tree(child.id) for child in reversed(children)))


def _key_of(workflow: Workflow[Any, Any] | str | None) -> str | None:
    """Return the key of a workflow given as such or by its key; refuse any other value, which would match nothing."""
    if workflow is None or isinstance(workflow, str):
        return workflow
    if not isinstance(workflow, Workflow):
        raise TypeError(f"pass a workflow (decorated with @workflow) or its key, not {workflow!r}")
    return workflow.key


def _text(value: str | None, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{name} is a text, not {value!r}")
