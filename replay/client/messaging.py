"""Messages to executions (signals, cancels), and events and entries from them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from replay.client.base import ClientBase
from replay.client.handles import Handle, id_of
from replay.core import requests as r
from replay.core.entries import Fact
from replay.core.ids import check_id, check_key, defined_id
from replay.definition import Event, Signal, signal_id
from replay.observability.observers import Observer, notify

T = TypeVar("T")


class Messaging(ClientBase):
    """Methods that send messages to executions, and that subscribe to theirs."""

    def signal(
        self,
        execution: str | Handle[Any],
        signal: Signal[T] | str,
        payload: T | None = None,
        *,
        dedupe_id: str | None = None,
    ) -> None:
        """Send a signal. It is stored when this returns, and received exactly once, in order.

        Args:
            dedupe_id: A second signal with the same id changes nothing (webhook retries).

        Raises:
            ValueError, TypeError: *dedupe_id* is empty, no text, or no valid UTF-8.
            SignalRefused: The workflow does not take the signal, or the payload is of another type.
            UnknownExecution, ExecutionEnded: No execution can receive it.
        """
        id = id_of(execution)
        name, data = self._signal_data(signal, payload, dedupe_id)
        if self._checks_signals():
            self._check_signal(self.header(id), name, payload)
        self._deliver(self._signal_request(id, name, data, dedupe_id))

    def _signal_data(self, signal: Signal[T] | str, payload: T | None, dedupe_id: str | None) -> tuple[str, bytes]:
        """Check the arguments of a signal; return its id and the encoded payload."""
        name = signal_id(signal)
        if dedupe_id is not None:
            _check_dedupe_id(dedupe_id)
        if isinstance(signal, Signal):
            signal.check(cast("T", payload))
        return name, self.encode(payload, f"the payload of signal {name!r}")

    def _checks_signals(self) -> bool:
        """Tell whether a workflow known here lists the signals that it takes."""
        return any(w.signals is not None for w in self._workflows.values())

    def _check_signal(self, header: r.Header, name: str, payload: Any) -> None:
        """Check a signal against the execution's workflow, if that is known here. Raises `SignalRefused`."""
        known = self._workflows.get((header.workflow, header.version))
        if known is not None:
            known.check_signal(name, payload)

    def _signal_request(self, id: str, name: str, data: bytes, dedupe_id: str | None) -> r.Deliver:
        return r.Deliver(id, dedupe_id or self.new_id(), "signal", name, data)

    def _cancel_request(self, id: str, reason: bytes) -> r.Deliver:
        return r.Deliver(id, self.new_id(), "cancel", "", reason)

    def cancel(self, execution: str | Handle[Any], reason: str | None = None) -> None:
        """Ask an execution to stop: `Cancelled` is thrown at its current yield. A second cancel changes nothing.

        Raises:
            UnknownExecution, ExecutionEnded: There is nothing to cancel.
            NotSerializable, PayloadTooLarge: The reason cannot be stored.
        """
        id = id_of(execution)
        self._deliver(self._cancel_request(id, self.encode(reason, "the reason")))
        self.announce_end(id)

    def _deliver(self, request: r.Deliver) -> None:
        """Deliver a message. If the execution is running, notify its worker."""
        if not self.ask(request).woken:
            self._tell_news(request.id)

    def _tell_news(self, id: str) -> None:
        self._bus.publish("news", id.encode())

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
    try:
        check_key(id, "dedupe_id").encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"dedupe_id {id!r} cannot be written as UTF-8 ({error.reason}). Fix: pass proper text"
        ) from None
