"""Messages to executions (signals, cancels), and events and entries from them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from replay.client.base import ClientBase
from replay.client.handles import Handle, id_of
from replay.core import requests as r
from replay.core.entries import Fact
from replay.core.ids import check_id, check_key, defined_id, shortened
from replay.definition import Event, Signal, signal_id
from replay.observability.observers import Observer, notify

T = TypeVar("T")

DEDUPE_ID_LIMIT = 200
"""Characters of a `dedupe_id`, as of other ids."""


class Messaging(ClientBase):
    """Methods that send messages to executions, and that subscribe to theirs."""

    def signal(
        self,
        execution: str | Handle[Any],
        signal: Signal[T] | str,
        payload: T | None = None,
        *,
        dedupe_id: str | None = None,
        connection: Any = None,
    ) -> None:
        """Send a signal. It is stored when this returns, and received exactly once, in order.

        Args:
            dedupe_id: A second signal with the same id changes nothing (webhook retries).
            connection: As in `start`. A worker delivers the signal after the commit. If the execution ends before that,
                `ExecutionEnded` can no longer be raised: the worker logs the signal, and drops it.

        Raises:
            ValueError, TypeError: *dedupe_id* is empty, longer than 200 characters, no text, or no valid UTF-8.
            SignalRefused: The workflow does not take the signal, or the payload is of another type.
            UnknownExecution, ExecutionEnded: No execution can receive it.
        """
        request = self.make_signal(id_of(execution), signal, payload, dedupe_id=dedupe_id)
        if connection is not None:
            if (header := self.ask_within(connection, r.Get(request.id))) is not None:
                self.check_signal(header, request.name, payload)
            self.ask_within(connection, request)
            return
        if self.lists_signals:
            self.check_signal(self.header(request.id), request.name, payload)
        self.ask(request)

    def make_signal(
        self, id: str, signal: Signal[T] | str, payload: T | None = None, *, dedupe_id: str | None = None
    ) -> r.Deliver:
        """Return the request that `signal` sends. `check_signal` checks it against the execution's workflow."""
        name = signal_id(signal)
        if dedupe_id is not None:
            _check_dedupe_id(dedupe_id)
        if isinstance(signal, Signal):
            signal.check(cast("T", payload))
        data = self.encode(payload, f"the payload of signal {name!r}")
        return r.Deliver(id, dedupe_id or self.new_id(), "signal", name, data)

    @property
    def lists_signals(self) -> bool:
        """Whether a workflow known here lists the signals that it takes."""
        return any(w.signals is not None for w in self._workflows.values())

    def check_signal(self, header: r.Header, name: str, payload: Any) -> None:
        """Check a signal against the execution's workflow, if that is known here. Raises `SignalRefused`."""
        known = self._workflows.get((header.workflow, header.version))
        if known is not None:
            known.check_signal(name, payload)

    def make_cancel(self, id: str, reason: str | None = None) -> r.Deliver:
        """Return the request that `cancel` sends."""
        return r.Deliver(id, self.new_id(), "cancel", "", self.encode(reason, "the reason"))

    def cancel(self, execution: str | Handle[Any], reason: str | None = None) -> None:
        """Ask an execution to stop: `Cancelled` is thrown at its current yield. A second cancel changes nothing.

        Raises:
            UnknownExecution, ExecutionEnded: There is nothing to cancel.
            NotSerializable, PayloadTooLarge: The reason cannot be stored.
        """
        self.ask(self.make_cancel(id_of(execution), reason))

    def on(self, event: Event[T] | str, handler: Callable[[T], object]) -> Callable[[], None]:
        """Call `handler(payload)` for each *event* that an execution emits. Best effort.

        Returns:
            A function that unsubscribes the handler.
        """
        name = check_id(defined_id(event, "Event", "on"), "event")

        def hand(data: bytes) -> None:
            handler(self.codec.decode(data))

        return self._bus.subscribe(f"event:{name}", hand)

    # --- observers -------------------------------------------------------------------------------

    def on_entry(self, handler: Callable[[str, Fact], object]) -> Callable[[], None]:
        """Call `handler(execution_id, entry)` for each entry that this process's worker or operator commits.

        An audit hook: entries come once, in the log's order, and never during replay. Other processes call handlers of their
        own for their entries. The worker calls it on the loop's thread (the operator on the caller's), so it must be quick.
        An exception of the handler is logged and changes nothing.

        Returns:
            A function that removes the handler.
        """

        @functools.wraps(handler)
        def observer(header: r.Header, entry: Fact) -> object:
            return handler(header.id, entry)

        return self.observe(observer)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call *observer* like `on_entry` does, with the execution's header instead of its id."""
        self._observers.append(observer)

        def remove() -> None:
            if observer in self._observers:
                self._observers.remove(observer)

        return remove

    def notify_observers(self, header: r.Header, entries: Iterable[Fact]) -> None:
        """Call this process's observers with committed *entries*."""
        notify(self._observers, header, entries)


def _check_dedupe_id(id: str) -> None:
    if len(check_key(id, "dedupe_id")) > DEDUPE_ID_LIMIT:
        raise ValueError(
            f"dedupe_id {shortened(id)} is too long: {DEDUPE_ID_LIMIT} characters at most, for it is kept with the execution. "
            f"Fix: pass a digest of it"
        )
    try:
        id.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"dedupe_id {shortened(id)} cannot be written as UTF-8 ({error.reason}). Fix: pass proper text"
        ) from None
