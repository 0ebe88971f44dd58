"""Activations: the sessions in progress on a worker, and the events pending for each."""

from __future__ import annotations

import collections
import contextlib
import math
import threading
from collections.abc import Iterator

from replay.core import requests as r
from replay.core.effects import Returned, WakeUp
from replay.core.session import Session


class Activation:
    """A session in progress.

    Attributes:
        waiting: The session is suspended at a `Wait`.
        until: Due time of that wait (the store's clock); None: it waits for events alone.
        events: Outcomes of calls, not yet seen by the session.
        has_messages: The store may hold unseen messages for the execution.
        report_due: The session should report its progress.
        send: Sends a value into the session; returns its next effect.
        throw: Throws an error into the session; returns its next effect.
    """

    __slots__ = ("_gen", "events", "has_messages", "report_due", "send", "session", "throw", "until", "waiting")

    def __init__(self, session: Session, claimed: r.Claimed, now: float) -> None:
        self.session = session
        self._gen = session.run(claimed, now)
        self.send, self.throw = self._gen.send, self._gen.throw
        self.waiting = False
        self.until: float | None = None
        self.events: list[Returned] = []
        self.has_messages = False
        self.report_due = False

    @property
    def is_runnable(self) -> bool:
        """Whether the session has something to do before its wait is due."""
        return bool(self.events) or self.has_messages or self.report_due

    def drain(self, now: float, *, draining: bool) -> WakeUp:
        """Drain and return the pending events."""
        wake_up = WakeUp(now, tuple(self.events), self.has_messages, draining, self.report_due)
        self.events, self.has_messages, self.report_due = [], False, False
        return wake_up

    def suspend(self, until: float | None) -> None:
        """Leave the session at its `Wait`."""
        self.waiting, self.until = True, until

    def close(self) -> None:
        """Close the generators. The store is not notified."""
        self._gen.close()
        self.session.close()


class Activations:
    """The activations of one worker, by execution id. Reading is safe on any thread.

    Attributes:
        next_due: Earliest due time of a wait, or earlier; infinite without one.
    """

    def __init__(self) -> None:
        self.next_due = math.inf
        self._by_id: dict[str, Activation] = {}
        self._runnable: list[Activation] = []
        self._leases_renewed = False
        self._in_step_waits: collections.Counter[str] = collections.Counter()
        self._counting = threading.Lock()

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Activation]:
        return iter(list(self._by_id.values()))

    def get(self, id: str) -> Activation | None:
        """Return the activation of an execution, if there is one."""
        return self._by_id.get(id)

    def add(self, activation: Activation) -> None:
        """Add an activation, in place of an older one of the same execution."""
        self._by_id[activation.session.id] = activation

    def remove(self, activation: Activation) -> None:
        """Remove an activation, unless a newer one has taken its place."""
        if self._by_id.get(activation.session.id) is activation:
            del self._by_id[activation.session.id]

    def clear(self) -> None:
        """Remove all."""
        self._by_id.clear()

    # --- slots ----------------------------------------------------------------------------------------

    @property
    def occupied(self) -> int:
        """The number of activations that occupy a slot: all but those with a step that waits for an execution."""
        in_step_waits = self._in_step_waits
        return len(self._by_id) - (sum(id in self._by_id for id in tuple(in_step_waits)) if in_step_waits else 0)

    def count(self, queue: str) -> int:
        """Return the number of activations of a queue's executions that occupy a slot."""
        waiting = self._in_step_waits
        return sum(a.session.header.queue == queue and id not in waiting for id, a in self._by_id.items())

    @contextlib.contextmanager
    def step_waits(self, id: str) -> Iterator[None]:
        """Free an execution's slot while one of its steps waits for another execution. Any thread."""
        with self._counting:
            self._in_step_waits[id] += 1
        try:
            yield
        finally:
            with self._counting:
                self._in_step_waits[id] -= 1
                if not self._in_step_waits[id]:
                    del self._in_step_waits[id]

    # --- events ---------------------------------------------------------------------------------------

    def returned(self, event: Returned) -> None:
        """Add the outcome of a call to its execution's pending events. Abandoned calls are ignored."""
        activation = self._by_id.get(event.call.execution_id)
        if activation is not None and not event.call.abandoned:
            activation.events.append(event)
            self._runnable.append(activation)

    def new_messages(self, id: str) -> None:
        """Note that the store may hold unseen messages for an execution."""
        activation = self._by_id.get(id)
        if activation is not None:
            activation.has_messages = True
            self._runnable.append(activation)

    def suspend(self, activation: Activation, until: float | None) -> None:
        """Leave an activation waiting for events, or until its due time."""
        activation.suspend(until)
        if until is not None and until < self.next_due:
            self.next_due = until

    def runnable(self, now: float, *, draining: bool) -> Iterator[Activation]:
        """Yield waiting activations with pending events or a due wait.

        Scans all activations only when a wait is due, leases were renewed, or the worker drains.
        """
        candidates, self._runnable = self._runnable, []
        if draining or self._leases_renewed or self.next_due <= now:
            self._leases_renewed, self.next_due = False, math.inf
            candidates = list(self._by_id.values())
        for activation in candidates:
            if not activation.waiting:
                continue  # its events are delivered at its next `Wait`
            until = math.inf if activation.until is None else activation.until
            if activation.is_runnable or draining or until <= now:
                yield activation
            else:
                self.next_due = min(self.next_due, until)

    # --- leases ---------------------------------------------------------------------------------------

    def lease_refs(self) -> tuple[r.LeaseRef, ...]:
        """Return the leases that are held. Any thread."""
        sessions = [activation.session for activation in self]
        return tuple(r.LeaseRef(s.id, s.token, s.seen) for s in sessions if s.token)

    def request_reports(self) -> None:
        """Request a progress report of each session, after leases were renewed. Any thread."""
        for activation in self:
            activation.report_due = True
        self._leases_renewed = True
