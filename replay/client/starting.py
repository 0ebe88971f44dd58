"""Starting executions: now, later, and with the wait for their result."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from replay.client.base import ClientBase
from replay.client.handles import Handle, StartResult
from replay.core import requests as r
from replay.core.ids import check_id, check_key, keyed_id
from replay.core.times import duration, instant, time_limit
from replay.definition import Workflow, check_metadata, check_priority
from replay.logs import get_logger

if TYPE_CHECKING:
    from replay.client.port import ClientPort

log = get_logger("replay.engine")
In = TypeVar("In")
Out = TypeVar("Out")


class Starting(ClientBase):
    """Methods that start executions."""

    def _runs_executions(self) -> bool:
        """Tell whether executions run in this process."""
        return False

    def start(
        self,
        workflow: Workflow[In, Out] | str,
        input: In | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: Any = None,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int | None = None,
        connection: Any = None,
    ) -> Handle[Out]:
        """Start an execution. It is durable when this returns, with *connection* when its transaction commits.

        Args:
            workflow: The workflow or its key.
            input: Its input.
            idempotency_key: A second start with the same key gives the same execution.
            timeout: Seconds (or `timedelta`) within which it must end; default: the workflow's.
            id: The execution's id (default: random); a second start with the same id gives the same execution.
            metadata: Searchable JSON values, added to the workflow's own.
            priority: 0 to 9; default: the workflow's.
            connection: Your own connection to the database of a PostgreSQL store (psycopg 3, SQLAlchemy, Django). The execution
                begins if and when its transaction commits; `handle.result()` waits for that, too. Without a transaction
                (autocommit) it is a plain start. A second start with the same key elsewhere waits until yours ends.

        Raises:
            ConfigError: The store or *connection* cannot do that.
            NotSerializable, PayloadTooLarge: The input or the metadata cannot be stored.
            ValueError, TypeError: *idempotency_key* is empty or no text, or another argument is wrong.
            UnknownWorkflow: The key is not registered here.
            StoreUnavailable: The store cannot be reached; with a key or id a second start is safe.
        """
        create = self.make_create(
            workflow,
            input,
            idempotency_key=idempotency_key,
            timeout=timeout,
            id=id,
            metadata=metadata,
            priority=priority,
        )
        return self._start(create, connection)

    def _start(self, create: r.Create, connection: Any = None) -> Handle[Any]:
        created = self.ask(create) if connection is None else self.ask_within(connection, create)
        self.check_created(create, created)
        return Handle(cast("ClientPort", self), create.id)

    def check_created(self, create: r.Create, created: r.Created | Exception) -> None:
        """Check that the execution under the id of *create* is the one that was asked for.

        Raises:
            ValueError: The id belongs to an execution of another workflow.
        """
        if isinstance(created, Exception):
            raise created
        if created.fresh:
            return
        if created.header.workflow != create.workflow:
            raise ValueError(
                f"execution id {create.id!r} belongs to workflow {created.header.workflow!r}, not {create.workflow!r}"
            )
        if created.header.input != create.input:
            log.warning(
                "execution %r was started before with another input; it keeps that one",
                create.id,
                extra={"execution_id": create.id},
            )

    def make_create(
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any = None,
        *,
        idempotency_key: str | None = None,
        timeout: Any = None,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int | None = None,
        at: float | None = None,
    ) -> r.Create:
        """Return the request that `start` sends."""
        definition: Workflow[Any, Any] = self.workflow(workflow)
        if id is not None and idempotency_key is not None:
            raise ValueError("pass id or idempotency_key, not both: the key becomes part of the id")
        if id is not None:
            id = check_id(id, "execution id")
        elif idempotency_key is not None:
            id = keyed_id(definition.key, check_key(idempotency_key, "idempotency_key"))
        else:
            id = self.new_id()
        metadata = definition.metadata | check_metadata(metadata, "start")
        limit = definition.timeout if timeout is None else time_limit(timeout, "timeout")
        keep = definition.retention if definition.retention is not None else self._retention
        data = self.encode(definition.input_value(input), f"the input of {definition.key!r}")
        if b'"__main__:' in data and not self._runs_executions():
            _warn_of_main(data)
        return r.Create(
            id,
            definition.key,
            data,
            definition.version,
            definition.queue,
            at,
            limit,
            metadata=self._limited(json.dumps(metadata).encode(), f"the metadata of {definition.key!r}"),
            priority=definition.priority if priority is None else check_priority(priority),
            retention=keep,
        )

    def start_and_wait(
        self,
        workflow: Workflow[In, Out] | str,
        input: In | None = None,
        *,
        timeout: Any = None,
        wait_timeout: Any = None,
        **options: Any,
    ) -> StartResult[Out]:
        """Start an execution and wait up to *wait_timeout* for its result; *timeout* and *options* as in `start`.

        Raises:
            TimeoutError: It did not end within *wait_timeout*; it runs on.
            ExecutionFailed, ExecutionCancelled: It ended without a result.
        """
        handle = self.start(workflow, input, timeout=timeout, **options)
        return StartResult(handle.id, handle.result(wait_timeout))

    def schedule(
        self,
        workflow: Workflow[In, Out] | str,
        input: In | None = None,
        *,
        at: Any = None,
        delay: Any = None,
        connection: Any = None,
        **options: Any,
    ) -> Handle[Out]:
        """Start an execution at an instant (*at*) or after a duration (*delay*). The handle's id is the execution's.

        *connection* and *options* are those of `start`.

        Raises:
            ValueError: Not exactly one of *at* and *delay* was given.
        """
        wait = begins_after(at, delay)
        when = instant(at, "schedule(at=)") if wait is None else self.ask(r.Ping()) + wait
        return self._start(self.make_create(workflow, input, at=when, **options), connection)


def begins_after(at: Any, delay: Any) -> float | None:
    """Return *delay* as seconds, None where *at* says when to begin.

    Raises:
        ValueError: Not exactly one of *at* and *delay* was given.
    """
    if (at is None) == (delay is None):
        raise ValueError("pass exactly one of at= (aware datetime or epoch seconds) and delay= (seconds or timedelta)")
    return None if delay is None else duration(delay, "schedule(delay=)")


_MAIN = re.compile(rb'"__main__:([^"]*)"')


def _warn_of_main(data: bytes) -> None:
    """Warn of an input whose class only this script can find."""
    found = _MAIN.search(data)
    name = "?" if found is None else found.group(1).decode()
    log.warning(
        "the input holds a %s, a class of the script that runs here (`__main__`): workers run another script, cannot rebuild it, "
        "and leave the execution stuck. Fix: move the class into a module that both import",
        name,
    )
