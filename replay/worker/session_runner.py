"""Sessions on a worker: each is run to its next request or wait, and its effects are performed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from replay.core import requests as r
from replay.core.effects import CancelSteps, Publish, StartSteps, Wait, Warn
from replay.core.errors import Fenced
from replay.core.interrupts import ends_the_process
from replay.core.session import Session
from replay.core.settings import SessionSettings
from replay.definition import Workflow
from replay.logs import get_logger
from replay.observability.metrics import Metrics
from replay.worker.activations import Activation, Activations
from replay.worker.parked import ParkedSessions
from replay.worker.turns import TurnCalls

log = get_logger("replay.worker")


class Batch(list[tuple[Activation | None, r.Request[Any]]]):
    """The requests of the next batch, each with the activation that waits for its reply (None: nobody waits)."""

    __slots__ = ()

    def add(self, *requests: r.Request[Any]) -> None:
        """Append requests for whose replies nobody waits."""
        for request in requests:
            self.append((None, request))

    def requests(self) -> list[r.Request[Any]]:
        """Return the requests in order."""
        return [request for _, request in self]

    def take(self) -> list[tuple[Activation | None, r.Request[Any]]]:
        """Empty the batch and return its items."""
        items = self[:]
        self.clear()
        return items


class SessionRunner:
    """Begins, resumes and ends sessions.

    Args:
        workflows: Definitions by key and version.
        settings: Settings of new sessions.
        cache_size: Most parked sessions kept.
        metrics: Counts replays, cache hits and lost leases.
        publish: Sends `(channel, message)` on the bus.
        now: The store's time.
        on_slot_free: Called with the queue of an execution whose session has ended.

    Attributes:
        activations: The sessions in progress.
        parked: The cache of parked sessions.
        batch: Requests of sessions, to be sent.
        calls: Calls that sessions started and abandoned since `new_turn`.
        draining: Sessions start nothing more and give their leases back.
    """

    def __init__(
        self,
        workflows: Mapping[tuple[str, str], Workflow[Any, Any]],
        settings: SessionSettings,
        cache_size: int,
        *,
        metrics: Metrics,
        publish: Callable[[str, bytes], None],
        now: Callable[[], float],
        on_slot_free: Callable[[str], None],
    ) -> None:
        self.activations = Activations()
        self.parked = ParkedSessions(cache_size)
        self.batch = Batch()
        self.calls = TurnCalls()
        self.draining = False
        self._workflows = workflows
        self._settings = settings
        self._metrics = metrics
        self._publish = publish
        self._now = now
        self._on_slot_free = on_slot_free

    def new_turn(self) -> None:
        """Forget the calls of the last turn."""
        self.calls = TurnCalls()

    def drain(self) -> None:
        """Set `draining`. Any thread."""
        self.draining = True

    def begin(self, claimed: r.Claimed, now: float) -> None:
        """Begin the session of a claimed execution."""
        id = claimed.header.id
        older = self.activations.get(id)
        if older is not None:  # our own lease expired, and we claimed the execution again: the older session is fenced
            self.resume(older, error=Fenced(f"execution {id!r}: the lease ran out"))
        session = self.parked.take(claimed)
        if session is not None:
            self._metrics.cache_hits += 1
        else:
            self._metrics.replays += bool(claimed.header.length)
            workflow = self._workflows[claimed.header.workflow, claimed.header.version]
            session = Session(claimed, workflow, self._settings)
        activation = Activation(session, claimed, now)
        self.activations.add(activation)
        self.resume(activation)

    def resume_runnable(self, now: float) -> None:
        """Resume sessions with pending events or a due wait."""
        for activation in self.activations.runnable(now, draining=self.draining):
            self.resume(activation, activation.drain(now, draining=self.draining))

    def resume(self, activation: Activation, value: Any = None, error: BaseException | None = None) -> None:
        """Run a session to its next request or wait."""
        self._metrics.leases_lost += isinstance(error, Fenced)
        try:
            while True:
                activation.waiting = False
                effect = activation.send(value) if error is None else activation.throw(error)
                value = error = None
                match effect:
                    case r.Request():
                        self.batch.append((activation, effect))
                        return
                    case StartSteps(calls):
                        self.calls.start(calls)
                    case CancelSteps(calls, abandon):
                        self.calls.cancel(calls, abandon=abandon)
                    case Publish(event, payload):
                        self._publish(f"event:{event}", payload)
                    case Warn(text):
                        log.warning("%s", text, extra={"execution_id": activation.session.id})
                    case Wait(until):
                        if activation.events or activation.has_messages:
                            value = activation.drain(self._now(), draining=self.draining)
                            continue
                        self.activations.suspend(activation, until)
                        return
        except StopIteration:
            self._finish(activation)
        except Exception as failure:
            if ends_the_process(failure):
                raise
            self._abort(activation, failure)

    def _finish(self, activation: Activation) -> None:
        """Remove an activation; cache its session if the execution is parked."""
        session = activation.session
        self.activations.remove(activation)
        self._on_slot_free(session.header.queue)
        if session.parked:
            self.parked.add(session)

    def _abort(self, activation: Activation, failure: Exception) -> None:
        """End a session after an error of the engine itself: its execution is stuck until another visit."""
        session = activation.session
        log.exception("execution %r: the engine failed; another visit will try again", session.id)
        self._finish(activation)
        session.close()
        session.parked = False
        self.parked.discard(session.id)
        self.batch.add(session.give_up(failure))

    def give_back(self) -> list[r.Request[Any]]:
        """End all sessions in progress; return the requests that hand their leases back."""
        requests: list[r.Request[Any]] = []
        for activation in self.activations:
            requests.append(activation.session.give_back())
            activation.close()
        self.activations.clear()
        return requests

    def close(self) -> None:
        """Close all live generators. The store is not notified."""
        for activation in self.activations:
            activation.close()
        self.activations.clear()
        self.parked.close()
