"""Deterministic sources of a workflow: random streams, UUIDs and a logger that are the same on every replay."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from replay.core.context import Context
from replay.core.requests import Header
from replay.logs import SafeLogger

_log = logging.getLogger("replay.workflow")


class QuietLogger(SafeLogger):
    """A logger that is silent during replay, and adds execution and workflow to each record otherwise."""

    def __init__(self, extra: Mapping[str, object], quiet: Callable[[], bool]) -> None:
        super().__init__(_log, extra)
        self._quiet = quiet

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the standard library's name
        """Tell whether a record of *level* is made now."""
        return not self._quiet() and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the execution's fields to a record."""
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, kwargs


class ExecutionSources:
    """The deterministic sources of one execution, seeded by its id, its run and the stream's name alone."""

    def __init__(self, header: Header) -> None:
        self._seed = f"{header.id}/{header.run}"
        self._streams: dict[str, random.Random] = {}
        self._extra = {"execution_id": header.id, "workflow": header.workflow}

    def random(self, stream: str) -> random.Random:
        """See `Context.random`."""
        if stream not in self._streams:
            self._streams[stream] = random.Random(f"{self._seed}/{stream}")
        return self._streams[stream]

    def uuid(self) -> uuid.UUID:
        """See `Context.uuid`."""
        return uuid.UUID(int=self.random("__uuid").getrandbits(128), version=4)

    def log(self, quiet: Callable[[], bool]) -> QuietLogger:
        """See `Context.log`."""
        return QuietLogger(self._extra, quiet)


def make_context(header: Header, patched: Callable[[str], bool]) -> Context:
    """Return a new context for the execution of *header*."""
    return Context(header.id, ExecutionSources(header), patched, attempt=header.attempt, now=header.created_at)
