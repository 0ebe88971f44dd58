"""Waiting for executions to end: by messages of the bus, with polling as a fallback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from replay.client.base import ClientBase
from replay.client.handles import Handle, id_of
from replay.codec.log_rows import decoded
from replay.core import requests as r
from replay.core.errors import ExecutionCancelled, ExecutionFailed, StoreUnavailable, Undecodable, text_of
from replay.core.times import duration
from replay.logs import get_logger
from replay.worker.steps import waiting_for

log = get_logger("replay.engine")
T = TypeVar("T")

WAIT_POLL = 0.5
"""Longest pause between two polls of a waiting caller, seconds; a lost wake-up costs no more than this."""

LOCAL_POLL_INTERVAL = 0.1
"""The same where completion events do not reach this process (SQLite with workers in other processes)."""

FIRST_POLL = 0.02
"""First pause between two polls there, seconds."""


class Waiting(ClientBase):
    """Methods that wait for executions."""

    def wait(self, execution: str | Handle[T], timeout: Any = None) -> Any:
        """Wait until an execution ends and return its result. Completion events wake the wait; polling is the fallback.

        Raises:
            TimeoutError: It did not end within *timeout* (seconds or `timedelta`); it runs on.
            ExecutionFailed, ExecutionCancelled: It ended without a result.
            UnknownExecution: There is no such execution.
            StoreUnavailable: The store cannot be reached when the wait begins, or this engine was closed during it.
            Undecodable: Its result is of a class that is not known in this process.
            RuntimeError: The caller is an async step, on the event loop that all of them share.
        """
        id = id_of(execution)
        limit = None if timeout is None else duration(timeout, "wait(timeout=)")
        header = self._poll_end(id, limit)
        if header is None:
            raise TimeoutError(f"execution {id!r} did not end within {limit:g} s; it runs on. Wait again, or cancel it")
        return self.result_of(header)

    def _poll_end(self, id: str, limit: float | None) -> r.Header | None:
        """Return the header of an execution that has ended; None if it did not within *limit* seconds."""
        deadline = None if limit is None else time.monotonic() + limit
        header = self.header(id)
        if header.ended_at is not None:
            return header
        with waiting_for(id):
            return self._await_end(header, deadline)

    def _await_end(self, header: r.Header, deadline: float | None) -> r.Header | None:
        id = header.id
        woken = threading.Event()
        unsubscribe = self.on_end(id, woken.set)
        try:
            most = self.longest_poll
            pause = most if self._receives_events() else FIRST_POLL
            while True:
                try:
                    header = self.header(id)
                except StoreUnavailable:
                    log.debug("waiting for %r: the store cannot be reached, trying again", id)
                if header.ended_at is not None:
                    return header
                self.check_alive()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                woken.wait(pause if left is None else min(pause, left))
                woken.clear()
                pause = min(most, pause * 1.5)
        finally:
            unsubscribe()

    def _receives_events(self) -> bool:
        """Tell whether completion events reach this process, so that polling is only a fallback."""
        return self._bus_is_shared

    def check_alive(self) -> None:
        """Raise if the wait is pointless, because the worker in this process has failed."""

    def on_end(self, id: str, call: Callable[[], None]) -> Callable[[], None]:
        """Call *call* when an execution has ended, from a thread of the bus. Best effort. Return what unsubscribes it."""
        return self._bus.subscribe(f"ended:{id}", lambda _: call())

    @property
    def longest_poll(self) -> float:
        """Longest pause between two polls of a waiting caller, seconds."""
        return WAIT_POLL if self._receives_events() else LOCAL_POLL_INTERVAL

    def result_of(self, header: r.Header) -> Any:
        """Return the result of an execution that has ended, or raise as `wait` does."""
        if header.status == "completed":
            try:
                return self.codec.decode(header.result or b"null")
            except Undecodable as unknown:
                raise Undecodable(
                    f"execution {header.id!r} completed, but its result cannot be rebuilt in this process: {unknown}. "
                    f"To look at it all the same: get_execution({header.id!r}).result"
                ) from unknown
        error = decoded(self.codec, header.error)
        if header.status == "cancelled":
            reason = text_of(error) if isinstance(error, BaseException) else error
            raise ExecutionCancelled(header.id, None if reason is None else str(reason))
        cause = error if issubclass(type(error), BaseException) else None
        raise ExecutionFailed(header.id, cause, status=header.status)
