"""The loop, which owns sessions and live generators, and writes all that a turn brings as one batch.

A `Worker` has no thread and waits for nothing: `turn()` does all that can be done now and says what to run and when to come
back. `replay.worker.runner` gives it threads; the simulator turns it by hand.
"""

from __future__ import annotations

import collections
import logging
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from replay.core import requests as r
from replay.core.effects import Call, CancelSteps, Publish, Returned, StartSteps, Wait, Warn
from replay.core.errors import Fenced, ReplayError, StoreUnavailable
from replay.core.session import Session
from replay.core.settings import SessionSettings
from replay.definition import Workflow
from replay.observability.metrics import Gauges, Metrics
from replay.observability.observers import Observer, committed
from replay.ports import Clock, Codec, Store
from replay.worker.activations import Activation, LeaseLost, NewMessages, Parked, TurnResult
from replay.worker.claiming import Claiming
from replay.worker.housekeeping import Housekeeping
from replay.worker.options import WorkerOptions
from replay.worker.sources import make_context
from replay.worker.steps import CancelFlag
from replay.worker.store_link import StoreLink

log = logging.getLogger("replay.worker")

MAX_ROUNDS = 16
"""Batches in one turn: a stream of executions that run no steps must not keep the loop, and the steps of others, for ever."""


class Worker:
    """Advances executions. All methods but `post`, `hint`, `drain` and `beat` belong to whoever holds the loop.

    Args:
        store: Where executions are.
        workflows: What it can run.
        publish: Sends `(channel, message)` on the bus.
        announce: Hints that a queue has work for other workers.
        tick: Answers a due schedule with the requests that advance it.
        entropy: Random source for nonces and jitter (seeded by the simulator).
        observers: Told of each entry that was committed here (a live list: it may grow and shrink).
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
        tick: Callable[[r.Schedule, float], Sequence[r.Request[Any]]] | None = None,
        entropy: random.Random | None = None,
        info: dict[str, Any] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.options = options
        self.mail: collections.deque[Any] = collections.deque()
        self.metrics = Metrics()
        self.workflows = {(w.key, w.version): w for w in workflows}
        self._store = store
        self._clock = clock
        self._offset = 0.0
        self._publish = publish
        self._announce = announce
        self._tick = tick
        entropy = entropy or random.SystemRandom()
        self.reach = StoreLink(store, self.metrics, entropy, self.now)
        self._claiming = Claiming(options, self.workflows, entropy)
        self._upkeep = Housekeeping(options, self.workflows, info or {})
        self._observers = observers
        self._codec = codec
        self._settings = SessionSettings(
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
        self._visits: dict[str, Activation] = {}
        self._stirred: list[Activation] = []  # those for which something has come
        self._next_until = math.inf  # when one of them must be woken by itself, at the earliest
        self._beaten = False  # leases were renewed: a moment for all to say where they are
        self._parked = Parked(options.cache_size)
        self._outbox: list[tuple[Activation | None, r.Request[Any]]] = []
        self._calls: list[Call] = []
        self._abandoned: list[Call] = []
        self._draining = False
        self._unfired: dict[str, int] = {}  # schedules that cannot be fired here, by version: each is named once

    # --- from other threads ---------------------------------------------------------------------------

    def post(self, mail: Returned | NewMessages | LeaseLost) -> None:
        """Leave something for the next turn. Any thread."""
        self.mail.append(mail)

    def hint(self) -> None:
        """Say that there may be work. Any thread."""
        self._claiming.hinted = True

    def drain(self) -> None:
        """Stop claiming; let running steps end and hand leases back. Any thread."""
        self._draining = True

    @property
    def hinted(self) -> bool:
        """Whether a hint came that no claim has answered."""
        return self._claiming.hinted and not self.full and not self.exhausted and not self.reach.away

    @property
    def looked(self) -> bool:
        """Whether the last claim found nothing."""
        return self._claiming.looked

    @property
    def full(self) -> bool:
        """Whether it has no free slot. Any thread."""
        return len(self._visits) >= self.options.concurrency or self._draining

    def parked(self, id: str) -> Session | None:
        """Return the live session of a parked execution, if it is kept here."""
        return self._parked.get(id)

    def sessions(self) -> list[Session]:
        """Return the sessions under way, for displays."""
        return [visit.session for visit in self._visits.values()]

    @property
    def active(self) -> int:
        """How many executions are under way."""
        return len(self._visits)

    @property
    def drained(self) -> bool:
        """Whether nothing is under way any more after `drain`."""
        return self._draining and not self._visits

    @property
    def exhausted(self) -> bool:
        """Whether `max_executions` have been claimed."""
        return self.options.max_executions is not None and self.metrics.claimed >= self.options.max_executions

    def gauges(self) -> Gauges:
        """Return what is so at this moment. Any thread."""
        ready = not self._draining and not self.reach.away
        return Gauges(len(self._visits), self.options.concurrency, len(self._parked), ready)

    def now(self) -> float:
        """Return the store's time, as far as this worker knows."""
        return self._clock.now() + self._offset

    def beat(self) -> None:
        """Renew all leases. Any thread (the heartbeat's, so that a busy loop loses no lease).

        Raises:
            StoreUnavailable: The store cannot be reached (which was logged, once for all threads); try again soon.
        """
        held = [
            r.LeaseRef(v.session.id, v.session.token, v.session.seen)
            for v in list(self._visits.values())
            if v.session.token
        ]
        if not held:
            return
        reply = self.reach.beside(r.RenewLeases(tuple(held), self.options.lease))
        tokens = {h.id: h.token for h in held}
        for id in reply.lost:
            self.post(LeaseLost(id, tokens[id]))
        for id in reply.news:
            self.post(NewMessages(id))
        for visit in list(self._visits.values()):
            visit.report = True
        self._beaten = True

    # --- the turn -----------------------------------------------------------------------------------------

    def turn(self) -> TurnResult:
        """Do all that can be done now."""
        self._calls, self._abandoned = [], []
        if self._outbox and self.now() < self.reach.retry_at:
            return self._turned(self.reach.retry_at)
        for _ in range(MAX_ROUNDS):
            self._take_mail()
            now = self.now()
            self._outbox.extend((None, each) for each in self._upkeep.requests(now, len(self._visits)))
            self._wake_due(now)
            self._claim(now)
            if not self._outbox:
                return self._turned(self._wake_at())
            if not self._ask():
                return self._turned(self.reach.retry_at)
            if self._calls and self._outbox:
                break  # steps must not wait until others have nothing more to ask
            if self._calls and not self.mail and (wake_at := self._wake_at()) > self.now():
                return self._turned(wake_at)  # another round would find nothing
        return self._turned(self.now(), again=True)

    def _turned(self, wake_at: float, *, again: bool = False) -> TurnResult:
        return TurnResult(self._calls, self._abandoned, wake_at - self._offset, again)

    def _take_mail(self) -> None:
        while self.mail:
            mail = self.mail.popleft()
            match mail:
                case Returned(call=call):
                    self.metrics.steps["completed" if mail.error is None else "failed"] += 1
                    self.metrics.step_seconds.observe(mail.seconds)
                    visit = self._visits.get(call.execution_id)
                    if visit is not None and not call.abandoned:
                        visit.events.append(mail)
                        self._stirred.append(visit)
                case NewMessages(id=id):
                    visit = self._visits.get(id)
                    if visit is not None:
                        visit.news = True
                        self._stirred.append(visit)
                case LeaseLost(id=id, token=token):
                    visit = self._visits.get(id)
                    if visit is not None and visit.session.token == token and visit.waiting:
                        self._step(visit, error=Fenced(f"execution {id!r}: the lease was lost"))

    def _wake_due(self, now: float) -> None:
        """Resume the waiting sessions for which something happened; all are looked at only when time or a beat may be it."""
        stirred, self._stirred = self._stirred, []
        if self._draining or self._beaten or self._next_until <= now:
            self._beaten, self._next_until = False, math.inf
            stirred = list(self._visits.values())
        for visit in stirred:
            if not visit.waiting:
                continue  # what it has got is given to it when it waits again
            until = math.inf if visit.until is None else visit.until
            if visit.events or visit.news or visit.report or self._draining or until <= now:
                self._step(visit, visit.woken(now, draining=self._draining))
            else:
                self._next_until = min(self._next_until, until)

    def _claim(self, now: float) -> None:
        if self._draining or not self._claiming.due(now):
            return
        free = self._free()
        if free > 0:
            self._outbox.extend((None, claim) for claim in self._claiming.claims(now, free, self._active_in))

    def _free(self) -> int:
        """Return how many executions more it may take."""
        free = self.options.concurrency - len(self._visits)
        if self.options.max_executions is not None:
            free = min(free, self.options.max_executions - self.metrics.claimed)
        return free

    def _active_in(self, queue: str) -> int:
        return sum(visit.session.header.queue == queue for visit in self._visits.values())

    def _ask(self) -> bool:
        """Send the batch; False if the store cannot be reached (the same batch is sent again later)."""
        batch = self._outbox
        replies = self.reach.batch([request for _, request in batch])
        if replies is None:
            return False
        self._outbox = []
        for (visit, request), reply in zip(batch, replies, strict=True):
            self._answer(visit, request, reply)
        return True

    def _answer(self, visit: Activation | None, request: r.Request[Any], reply: Any) -> None:
        now = getattr(reply, "now", None)
        if now is not None:
            self._offset = now - self._clock.now()
        for queue in getattr(reply, "woken", ()):
            self._woke(queue)
        if isinstance(request, r.Claim):
            self._claims(request, reply)
        elif visit is not None:
            if isinstance(request, r.Commit) and isinstance(reply, r.Committed):
                self._committed(visit.session.header, request, reply)
            if isinstance(reply, Exception):
                self._step(visit, error=reply)
            else:
                self._step(visit, reply)
        elif isinstance(request, r.Purge):
            self._upkeep.purged(request, reply, self.now())
        elif isinstance(request, r.Deliver | r.Watch | r.Create) and type(reply) is not ReplayError:
            self._outbox.append((None, r.Forget(request)))  # type: ignore[arg-type]

    def _committed(self, header: r.Header, request: r.Commit, reply: r.Committed) -> None:
        committed(self._observers, header, request.entries, self._codec)
        match request.then:
            case r.End(status=status):
                self.metrics.ended[status] += 1
                self._publish(f"ended:{request.id}", b"")
            case r.Suspend(wake_at=wake_at) if reply.parked and wake_at is not None:
                self._claiming.no_later_than(wake_at)
            case _:
                pass

    def _woke(self, queue: str) -> None:
        if queue in self.options.queues:
            self._claiming.hinted = True
            if len(self._visits) < self.options.concurrency:
                return
        self._announce(queue)

    def _claims(self, request: r.Claim, reply: r.Claims) -> None:
        if isinstance(reply, ReplayError):
            raise reply
        for claimed in reply.claimed:
            self._begin(claimed, reply.now)
        self.metrics.claimed += len(reply.claimed)
        more = self._claiming.learn(request, reply)
        if more and len(self._visits) >= self.options.concurrency and self._claiming.may_pass_on(reply.now):
            for queue in request.queues:
                self._publish(f"ready:{queue}", b"")
        for schedule in reply.schedules:
            self._fire(schedule, reply.now)
        self._outbox.extend((None, item) for item in reply.outbox)

    def _fire(self, schedule: r.Schedule, now: float) -> None:
        """Advance a due schedule. One that cannot be advanced here stays due, for others, and holds up nothing else."""
        if self._tick is None:
            return
        try:
            requests = self._tick(schedule, now)
        except StoreUnavailable:
            return  # the next claim finds it again
        except Exception as error:
            if self._unfired.get(schedule.id) != schedule.version:
                self._unfired[schedule.id] = schedule.version
                log.error(
                    "schedule %r cannot be fired here: %s", schedule.id, error, extra={"schedule_id": schedule.id}
                )
            return
        self._outbox.extend((None, each) for each in requests)
        self._claiming.hinted = True

    def _begin(self, claimed: r.Claimed, now: float) -> None:
        id = claimed.header.id
        if id in self._visits:  # our own lease ran out and came back to us: the older visit is fenced
            self._step(self._visits[id], error=Fenced(f"execution {id!r}: the lease ran out"))
        session = self._parked.take(claimed)
        if session is not None:
            self.metrics.cache_hits += 1
        else:
            self.metrics.replays += bool(claimed.header.length)
            workflow = self.workflows[claimed.header.workflow, claimed.header.version]
            session = Session(claimed, workflow, self._settings)
        visit = self._visits[id] = Activation(session, claimed, now)
        self._step(visit)

    def _step(self, visit: Activation, value: Any = None, error: BaseException | None = None) -> None:
        """Run a session to its next request or wait."""
        visit.waiting = False
        self.metrics.leases_lost += isinstance(error, Fenced)
        try:
            while True:
                effect = visit.gen.send(value) if error is None else visit.gen.throw(error)
                value = error = None
                match effect:
                    case r.Request():
                        self._outbox.append((visit, effect))
                        return
                    case StartSteps(calls):
                        for call in calls:
                            call.cancelled = CancelFlag()
                        self._calls.extend(calls)
                    case CancelSteps(calls, abandon):
                        self._stop(calls, abandon=abandon)
                    case Publish(event, payload):
                        self._publish(f"event:{event}", payload)
                    case Warn(text):
                        log.warning("%s", text, extra={"execution_id": visit.session.id})
                    case Wait(until):
                        if visit.events or visit.news:
                            value = visit.woken(self.now(), draining=self._draining)
                            continue
                        visit.waiting, visit.until = True, until
                        if until is not None and until < self._next_until:
                            self._next_until = until
                        return
        except StopIteration:
            self._left(visit)
        except Exception as failure:
            log.exception("execution %r: the engine failed; another visit will try again", visit.session.id)
            self._left(visit)
            visit.session.close()
            visit.session.parked = False
            self._parked.forget(visit.session.id)
            self._outbox.append((None, visit.session.give_up(failure)))

    def _stop(self, calls: Iterable[Call], *, abandon: bool) -> None:
        for call in calls:
            call.abandoned = call.abandoned or abandon
            if call.cancelled is not None:
                call.cancelled.set()
            if abandon and call in self._calls:
                self._calls.remove(call)
            elif abandon:
                self._abandoned.append(call)

    def _left(self, visit: Activation) -> None:
        session = visit.session
        if self._visits.get(session.id) is visit:
            del self._visits[session.id]
        if session.header.queue in self.options.queue_limits:
            self._claiming.hinted = True  # its place is free
        if session.parked:
            self._parked.keep(session)

    def _wake_at(self) -> float:
        """Return the store's time at which there is something to do by itself."""
        wake_at = min(self._upkeep.wake_at(), self._next_until)
        if not self._draining and self._free() > 0:
            wake_at = min(wake_at, self._claiming.wake_at(self.now()))
        return wake_at

    # --- leaving ----------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Leave the store: leases are handed back, outcomes of running steps are refused, `replay workers` forgets us."""
        requests: list[r.Request[Any]] = []
        for visit in list(self._visits.values()):
            requests.append(visit.session.give_back())
            visit.close()
        self._visits.clear()
        leases = len(requests)
        if not self.reach.away:
            requests += self._upkeep.farewell()
        if requests:
            try:
                self._store.apply(requests)
            except StoreUnavailable:
                log.warning("could not hand back %d leases; they will run out by themselves", leases)

    def close(self) -> None:
        """Close all live generators, without a word to the store."""
        for visit in self._visits.values():
            visit.close()
        self._visits.clear()
        self._parked.close()
