"""Looking at executions: one, a page of many by filters, counts, the trail of one, its children. Nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from replay.client.handles import Handle, id_of
from replay.client.records import Detail, Execution, Page, Status, Tree, execution_of, steps_of
from replay.codec.log_rows import inspected
from replay.core import requests as r
from replay.core.errors import UnknownExecution
from replay.core.times import instant
from replay.definition import Workflow, check_metadata
from replay.ports import Codec

T = TypeVar("T")


class Inspection:
    """What an `Engine` and its client tell of executions."""

    codec: Codec
    namespace: str

    def ask(self, request: r.Request[T]) -> T:
        """Put one request to the store and return its reply, raising its refusal."""
        raise NotImplementedError

    def header(self, id: str) -> r.Header:
        """Return the header of an execution. Raises `UnknownExecution`."""
        header = self.ask(r.Get(id))
        if header is None:
            raise UnknownExecution(
                f"no execution {id!r} in namespace {self.namespace!r}. Fix: check the id, the store and the namespace"
            )
        return header

    def get_execution(self, execution: str | Handle[Any]) -> Execution:
        """Return an execution as it stands now.

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
        """Return a page of executions, newest first, for which all given filters hold; instants are datetimes or seconds.

        Of several statuses one must hold; of none, none can.

        Raises:
            TypeError, ValueError: A filter is of another type, no status or instant, or the cursor is not from a page.
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
        """Return how many executions there are in each status."""
        return {Status(status): count for status, count in sorted(self.ask(r.Count(_key_of(workflow))).items())}

    def detail(self, execution: str | Handle[Any]) -> Detail:
        """Return an execution with its steps and its audit trail, as far as they can be read here (see `Detail`)."""
        header = self.header(id_of(execution))
        audit = inspected(self.ask(r.Load(header.id, inspect=True)), self.codec)
        return Detail(execution_of(header, self.codec), steps_of(audit), audit)

    def execution_tree(self, execution: str | Handle[Any]) -> Tree:
        """Return an execution with its children, their children, and so on."""
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
    """Return the key to look for; what is neither a workflow nor a key would be found nowhere, without a word."""
    if workflow is None or isinstance(workflow, str):
        return workflow
    if not isinstance(workflow, Workflow):
        raise TypeError(f"pass a workflow (decorated with @workflow) or its key, not {workflow!r}")
    return workflow.key


def _text(value: str | None, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{name} is a text, not {value!r}")
