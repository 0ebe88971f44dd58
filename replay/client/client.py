"""The client: starts, signals and waits for executions, and inspects them. It never executes workflow code."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from replay.client.groups import Groups
from replay.client.handles import WorkflowInfo
from replay.client.inspection import Inspection
from replay.client.waiting import Waiting
from replay.codec import TaggedJson
from replay.core.ids import check_id
from replay.core.settings import PAYLOAD_LIMIT
from replay.definition import Workflow
from replay.urls import open_parts

if TYPE_CHECKING:
    from replay.describe import Description


class Client(Groups, Waiting, Inspection):
    """The methods of an `Engine` that need no worker."""

    @classmethod
    def open(cls, url: str, *, namespace: str = "default") -> Client:
        """Open a client of the store at *url*, without workflows.

        Raises:
            ConfigError: The URL is wrong.
            StoreUnavailable: Nothing answers there.
        """
        found = open_parts(url, None, None, namespace=check_id(namespace, "namespace"), clock=None)
        return Client(
            found.store,
            found.bus,
            found.queue,
            bus_is_shared=found.bus_is_shared,
            workflows={},
            namespace=namespace,
            codec=TaggedJson(),
            payload_limit=PAYLOAD_LIMIT,
            retention=None,
            entropy=random.SystemRandom(),
            opened=found.stack,
        )

    def workflows(self) -> tuple[WorkflowInfo, ...]:
        """Return the registered workflows, in order of key."""
        return tuple(
            WorkflowInfo(
                w.key,
                w.version,
                w.category,
                None if w.signals is None else tuple(signal.id for signal in w.signals),
                w.queue,
                dict(w.metadata),
                w.fn.__doc__,
            )
            for _, w in sorted(self._workflows.items())
        )

    def describe(self, workflow: Workflow[Any, Any] | str, input: Any = None) -> Description:
        """Return a workflow's shape (`.nodes`, `.edges`, `.mermaid()`, `.unexplored`) without executing anything."""
        from replay.describe import describe

        return describe(self.workflow(workflow), input)
