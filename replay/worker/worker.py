"""The loop: owns sessions and live generators, and writes the requests of a turn as one batch.

A `Worker` has no thread and never blocks: `turn()` does everything that can be done now, and returns the calls to run and
the instant of the next turn. `replay.worker.runner` gives it threads; the simulator calls `turn()` itself.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from replay.core import requests as r
from replay.core.effects import Returned
from replay.core.errors import Fenced, ReplayError, StoreUnavailable
from replay.core.session import Session
from replay.core.settings import SessionSettings
from replay.definition import Workflow
from replay.logs import get_logger
from replay.observability.metrics import Gauges, Metrics
from replay.observability.observers import Observer, notify_committed
from replay.ports import Clock, Codec, Store
from replay.worker.activations import Activation
from replay.worker.claiming import Claiming
from replay.worker.housekeeping import Housekeeping
from replay.worker.options import WorkerOptions
from replay.worker.session_runner import SessionRunner
from replay.worker.sources import make_context
from replay.worker.store_link import StoreLink
from replay.worker.ticking import Tick, Ticking
from replay.worker.turns import LeaseLost, Message, NewMessages, TurnResult

log = get_logger("replay.worker")

MAX_ROUNDS = 16
"""Batches in one turn: a stream of executions without steps must not keep the loop, and the steps of others, for ever."""


class Worker:
    """Advances executions. All methods belong to the holder of the loop, except those marked "Any thread".

    Args:
        store: The store.
        workflows: The workflows that it runs.
        publish: Sends `(channel, message)` on the bus.
        announce: Hints that a queue has work for other workers.
        tick: Makes the requests that advance a due schedule.
        entropy: Random source for nonces and jitter (seeded by the simulator).
        info: Further facts for `replay workers`.
        observers: Called with each committed entry (a live list: it may grow and shrink).

    Attributes:
        inbox: Messages for the next turn.
    """

    def __init__(
        self,
        store: Store,
        workflows: Iterable[Workflow[Any, Any]],
        options: WorkerOptions,
        *,
        codec: Codec,
        clock: Clock,
        publish: Callable[[str, bytes], None] = lambda channel, message: None,
        announce: Callable[[str], None] = lambda queue: None,
        tick: Tick | None = None,
        entropy: random.Random | None = None,
        info: dict[str, Any] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        entropy = entropy or random.SystemRandom()
        self.options = options
        self.inbox: collections.deque[Message] = collections.deque()
        self.metrics = Metrics()
        self.workflows = {(w.key, w.version): w for w in workflows}
        self.store_link = StoreLink(store, self.metrics, entropy, self.now)
        self._store = store
        self._clock = clock
        self._offset = 0.0  # of the store's clock
        self._publish = publish
        self._announce = announce
        self._claiming = Claiming(options, self.workflows, entropy)
        self._housekeeping = Housekeeping(options, self.workflows, info or {})
        self._ticking = Ticking(tick)
        self._observers = observers
        self._codec = codec
        settings = SessionSettings(
            codec,
            make_context,
            entropy.random,
            options.name,
            options.lease,
            options.payload_limit,
            options.log_limit,
            options.argument_policy,
            options.cancel_grace,
        )
        self._sessions = SessionRunner(
            self.workflows,
            settings,
            options.cache_size,
            metrics=self.metrics,
            publish=publish,
            now=self.now,
            on_slot_free=self._on_slot_free,
        )
        self._activations = self._sessions.activations
        self._batch = self._sessions.batch

    # --- from other threads ---------------------------------------------------------------------------

    def post(self, message: Message) -> None:
        """Leave a message for the next turn. Any thread."""
        self.inbox.append(message)

    def hint(self) -> None:
        """Note that there may be work. Any thread."""
        self._claiming.has_hint = True

    def drain(self) -> None:
        """Stop claiming; let running steps end and hand leases back. Any thread."""
        self._sessions.drain()

    def renew_leases(self) -> None:
        """Renew all leases. Any thread (the heartbeat's, so that a busy loop loses no lease).

        Raises:
            StoreUnavailable: The store cannot be reached (which was logged, once for all threads); try again soon.
        """
        leases = self._activations.lease_refs()
        if not leases:
            return
        reply = self.store_link.call(r.RenewLeases(leases, self.options.lease))
        tokens = {lease.id: lease.token for lease in leases}
        for id in reply.lost:
            self.post(LeaseLost(id, tokens[id]))
        for id in reply.news:
            self.post(NewMessages(id))
        self._activations.request_reports()

    def step_waits(self, id: str) -> AbstractContextManager[None]:
        """Free the slot of execution *id* while one of its steps waits for another execution. Any thread."""
        return self._activations.step_waits(id)

    # --- state ----------------------------------------------------------------------------------------

    @property
    def has_hint(self) -> bool:
        """Whether a hint arrived after the last claim, and this worker can claim."""
        return self._claiming.has_hint and not self.full and not self.exhausted and not self.store_link.unreachable

    @property
    def last_claim_empty(self) -> bool:
        """Whether the last claim found nothing."""
        return self._claiming.last_claim_empty

    @property
    def full(self) -> bool:
        """Whether it has no free slot. Any thread."""
        return self._activations.occupied >= self.options.concurrency or self._sessions.draining

    @property
    def active(self) -> int:
        """The number of executions in progress."""
        return len(self._activations)

    @property
    def drained(self) -> bool:
        """Whether nothing is in progress any more after `drain`."""
        return self._sessions.draining and not self._activations

    @property
    def exhausted(self) -> bool:
        """Whether `max_executions` have been claimed."""
        return self.options.max_executions is not None and self.metrics.claimed >= self.options.max_executions

    def parked(self, id: str) -> Session | None:
        """Return the cached session of a parked execution, if there is one."""
        return self._sessions.parked.get(id)

    def sessions(self) -> list[Session]:
        """Return the sessions in progress, for displays."""
        return [activation.session for activation in self._activations]

    def gauges(self) -> Gauges:
        """Return current gauge values. Any thread."""
        ready = not self._sessions.draining and not self.store_link.unreachable
        return Gauges(len(self._activations), self.options.concurrency, len(self._sessions.parked), ready)

    def now(self) -> float:
        """Return the store's time, as of its last reply."""
        return self._clock.now() + self._offset

    # --- the turn -----------------------------------------------------------------------------------------

    def turn(self) -> TurnResult:
        """Do everything that can be done now."""
        self._sessions.new_turn()
        if self._batch and self.now() < self.store_link.retry_at:
            return self._result(self.store_link.retry_at)
        for _ in range(MAX_ROUNDS):
            self._read_inbox()
            now = self.now()
            self._batch.add(*self._housekeeping.requests(now, len(self._activations)))
            self._sessions.resume_runnable(now)
            self._claim(now)
            if not self._batch:
                return self._result(self._wake_at())
            if not self._send():
                return self._result(self.store_link.retry_at)
            if self._sessions.calls.started and self._batch:
                break  # steps must not wait for further batches
            if self._sessions.calls.started and not self.inbox and (wake_at := self._wake_at()) > self.now():
                return self._result(wake_at)  # another round would find nothing
        return self._result(self.now(), again=True)

    def _result(self, wake_at: float, *, again: bool = False) -> TurnResult:
        calls = self._sessions.calls
        return TurnResult(calls.started, calls.abandoned, wake_at - self._offset, again)

    def _read_inbox(self) -> None:
        while self.inbox:
            message = self.inbox.popleft()
            match message:
                case Returned():
                    self.metrics.steps["completed" if message.error is None else "failed"] += 1
                    self.metrics.step_seconds.observe(message.seconds)
                    self._activations.returned(message)
                case NewMessages(id=id):
                    self._activations.new_messages(id)
                case LeaseLost(id=id, token=token):
                    activation = self._activations.get(id)
                    if activation is not None and activation.session.token == token and activation.waiting:
                        self._sessions.resume(activation, error=Fenced(f"execution {id!r}: the lease was lost"))

    def _claim(self, now: float) -> None:
        if not self._sessions.draining and self._claiming.due(now) and (free := self._free_slots()) > 0:
            self._batch.add(*self._claiming.claims(now, free, self._activations.count))

    def _free_slots(self) -> int:
        """Return how many more executions may be claimed."""
        free = self.options.concurrency - self._activations.occupied
        if self.options.max_executions is not None:
            free = min(free, self.options.max_executions - self.metrics.claimed)
        return free

    def _wake_at(self) -> float:
        """Return the store's time at which the next turn is due without any event."""
        wake_at = min(self._housekeeping.wake_at(), self._activations.next_due)
        if not self._sessions.draining and self._free_slots() > 0:
            wake_at = min(wake_at, self._claiming.wake_at(self.now()))
        return wake_at

    # --- replies ------------------------------------------------------------------------------------------

    def _send(self) -> bool:
        """Send the batch; False if the store is unreachable (the same batch is sent again later)."""
        replies = self.store_link.batch(self._batch.requests())
        if replies is None:
            return False
        for (activation, request), reply in zip(self._batch.take(), replies, strict=True):
            self._on_reply(activation, request, reply)
        return True

    def _on_reply(self, activation: Activation | None, request: r.Request[Any], reply: Any) -> None:
        now = getattr(reply, "now", None)
        if now is not None:
            self._offset = now - self._clock.now()
        for queue in getattr(reply, "woken", ()):
            self._work_ready(queue)
        if isinstance(request, r.Claim):
            self._on_claims(request, reply)
        elif activation is not None:
            if isinstance(request, r.Commit) and isinstance(reply, r.Committed):
                self._on_committed(activation.session.header, request, reply)
            if isinstance(reply, Exception):
                self._sessions.resume(activation, error=reply)
            else:
                self._sessions.resume(activation, reply)
        elif isinstance(request, r.Purge):
            self._housekeeping.purged(request, reply, self.now())
        elif isinstance(request, r.Deliver | r.Watch | r.Create) and type(reply) is not ReplayError:
            self._batch.add(r.Forget(request))  # type: ignore[arg-type]
            if isinstance(request, r.Deliver) and request.kind == "signal":
                self._on_sent(request, reply)

    def _on_sent(self, request: r.Deliver, reply: r.Delivered | ReplayError) -> None:
        """Wake the holder of a signal's execution, or log that nobody takes the signal: its sender committed and went on."""
        if isinstance(reply, ReplayError):
            log.error(
                "signal %r for execution %r, sent within a transaction, is dropped: %s", request.name, request.id, reply,
                extra={"execution_id": request.id},
            )  # fmt: skip
        elif not reply.woken:
            self._publish("news", request.id.encode())

    def _on_committed(self, header: r.Header, request: r.Commit, reply: r.Committed) -> None:
        notify_committed(self._observers, header, request.entries, self._codec)
        match request.then:
            case r.End(status=status):
                self.metrics.ended[status] += 1
                self._publish(f"ended:{request.id}", b"")
            case r.Suspend(wake_at=wake_at) if reply.parked and wake_at is not None:
                self._claiming.no_later_than(wake_at)
            case _:
                pass

    def _work_ready(self, queue: str) -> None:
        """Claim soon from a queue that has work; pass the hint to others if this worker cannot."""
        if queue in self.options.queues:
            self._claiming.has_hint = True
            if self._activations.occupied < self.options.concurrency:
                return
        self._announce(queue)

    def _on_claims(self, request: r.Claim, reply: r.Claims) -> None:
        if isinstance(reply, ReplayError):
            raise reply
        for id, why in reply.damaged:
            log.error(
                "execution %r is damaged and was set aside: %s. Fix: `replay delete %s` (or force-fail it)", id, why, id,
                extra={"execution_id": id},
            )  # fmt: skip
        for claimed in reply.claimed:
            self._sessions.begin(claimed, reply.now)
        self.metrics.claimed += len(reply.claimed)
        more = self._claiming.on_reply(request, reply)
        if more and self._activations.occupied >= self.options.concurrency:
            self._forward_hint(request.queues, reply.now)
        for schedule in reply.schedules:
            if requests := self._ticking.fire(schedule, reply.now):
                self._batch.add(*requests)
                self._claiming.has_hint = True
        self._batch.add(*reply.outbox)

    def _on_slot_free(self, queue: str) -> None:
        """Claim soon from a queue whose own limit was reached."""
        if queue in self.options.queue_limits:
            self._claiming.has_hint = True

    def _forward_hint(self, queues: Iterable[str], now: float) -> None:
        """Hint other workers at queues with more work than this worker can take."""
        if self._claiming.may_forward_hint(now):
            for queue in queues:
                self._publish(f"ready:{queue}", b"")

    # --- leaving ----------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Leave the store: hand leases back, refuse the outcomes of running steps, deregister."""
        requests = self._sessions.give_back()
        leases = len(requests)
        if not self.store_link.unreachable:
            requests += self._housekeeping.deregister()
        if requests:
            try:
                self._store.apply(requests)
            except StoreUnavailable:
                log.warning("could not hand back %d leases; they will run out by themselves", leases)

    def close(self) -> None:
        """Close all live generators. The store is not notified."""
        self._sessions.close()
