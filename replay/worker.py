"""The worker: one loop that owns sessions and live generators, and writes all that a turn brings as one batch.

A `Worker` has no thread and waits for nothing: `turn()` does all that can be done now and says what to run and when to come
back. `replay.runner` gives it threads; the simulator turns it by hand.
"""

from __future__ import annotations

import collections
import json
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from replay.core import requests as r
from replay.core.effects import AskToStop, Await, Call, Launch, Publish, Returned, Warn, Woken
from replay.core.errors import Fenced, ReplayError, StoreUnavailable
from replay.core.session import Session
from replay.core.settings import Settings
from replay.definition import Workflow
from replay.determinism import make_context
from replay.metrics import Gauges, Metrics
from replay.observing import Observer, committed
from replay.options import Options
from replay.ports import Clock, Codec, Store
from replay.steps import Flag

log = logging.getLogger("replay.worker")

MAX_ROUNDS = 16
"""Batches in one turn: a stream of executions that run no steps must not keep the loop, and the steps of others, for ever."""

PURGE_EVERY = 0.05
"""Seconds between purges while there is more to remove: in small portions, so that others need not wait for them."""

PASS_EVERY = 0.05
"""Seconds between words to other workers that there is more to do than this one can take."""

LONGEST_BACKOFF = 5.0
"""Longest pause between attempts to reach an unreachable store, seconds."""


@attrs.frozen
class Turn:
    """What a turn leaves to do.

    Attributes:
        calls: To run.
        abandoned: Calls whose outcomes are refused from now on, wherever they are; their threads may never come back.
        wake_at: When to come back at the latest (the worker's clock); `again`: at once.
    """

    calls: list[Call]
    abandoned: list[Call]
    wake_at: float
    again: bool = False


class _Visit:
    """A session under way."""

    __slots__ = ("events", "gen", "news", "report", "session", "until", "waiting")

    def __init__(self, session: Session, gen: Any) -> None:
        self.session = session
        self.gen = gen
        self.waiting = False
        self.until: float | None = None
        self.events: list[Returned] = []
        self.news = False
        self.report = False


@attrs.frozen
class News:
    """Mail: execution `id` may have unseen messages."""

    id: str


@attrs.frozen
class Lost:
    """Mail: the lease under `token` is lost."""

    id: str
    token: str


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
        options: Options,
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
        self._entropy = entropy or random.SystemRandom()
        self._info = info or {}
        self._observers = observers
        self._codec = codec
        self._settings = Settings(
            codec,
            make_context,
            self._entropy.random,
            options.name,
            options.lease,
            options.payload_limit,
            options.log_limit,
            options.argument_policy,
            options.cancel_grace,
        )
        self._visits: dict[str, _Visit] = {}
        self._stirred: list[_Visit] = []  # those for which something has come
        self._next_until = math.inf  # when one of them must be woken by itself, at the earliest
        self._beaten = False  # leases were renewed: a moment for all to say where they are
        self._parked: collections.OrderedDict[str, Session] = collections.OrderedDict()
        self._outbox: list[tuple[_Visit | None, r.Request[Any]]] = []
        self._calls: list[Call] = []
        self._abandoned: list[Call] = []
        self._hinted = True
        self._claiming = 0  # claims without an answer yet
        self._found = 0  # executions that the claims of this round gave
        self._draining = False
        self._revive = True
        self._next_claim = 0.0
        self._next_housekeeping = 0.0
        self._next_purge = 0.0
        self._backoff = 0.0
        self._retry_at = 0.0
        self._next_pass = 0.0
        self._first_lane = 0
        self._unfired: dict[str, int] = {}  # schedules that cannot be fired here, by version: each is named once
        self._registered = False
        self._telling = threading.Lock()
        self._told_away = False
        self.unreachable = False  # the loop's last batch waits to be sent again
        self.asking = False  # the loop waits for the store, not for workflow code
        self.answered = 0.0  # when the store last let the loop go on (`time.monotonic`)
        self.looked = False  # the last claim found nothing

    # --- from other threads ---------------------------------------------------------------------------

    def post(self, mail: Returned | News | Lost) -> None:
        """Leave something for the next turn. Any thread."""
        self.mail.append(mail)

    def hint(self) -> None:
        """Say that there may be work. Any thread."""
        self._hinted = True

    def drain(self) -> None:
        """Stop claiming; let running steps end and hand leases back. Any thread."""
        self._draining = True

    @property
    def hinted(self) -> bool:
        """Whether a hint came that no claim has answered."""
        free = len(self._visits) < self.options.concurrency and not self.exhausted
        return self._hinted and free and not self._draining and not self.unreachable

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
        ready = not self._draining and not self.unreachable
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
            r.Held(v.session.id, v.session.token, v.session.seen)
            for v in list(self._visits.values())
            if v.session.token
        ]
        if not held:
            return
        try:
            (reply,) = self._store.apply([r.Beat(tuple(held), self.options.lease)])
        except StoreUnavailable as error:
            self._tell(error)
            raise
        self._tell()
        tokens = {h.id: h.token for h in held}
        for id in reply.lost:
            self.post(Lost(id, tokens[id]))
        for id in reply.news:
            self.post(News(id))
        for visit in list(self._visits.values()):
            visit.report = True
        self._beaten = True

    # --- the turn -----------------------------------------------------------------------------------------

    def turn(self) -> Turn:
        """Do all that can be done now."""
        self._calls, self._abandoned = [], []
        if self._outbox and self.now() < self._retry_at:
            return self._turned(self._retry_at)
        for _ in range(MAX_ROUNDS):
            self._take_mail()
            now = self.now()
            self._housekeep(now)
            self._wake_due(now)
            self._claim(now)
            if not self._outbox:
                return self._turned(self._wake_at())
            if not self._ask():
                return self._turned(self._retry_at)
            if self._calls and self._outbox:
                break  # steps must not wait until others have nothing more to ask
            if self._calls and not self.mail and (wake_at := self._wake_at()) > self.now():
                return self._turned(wake_at)  # another round would find nothing
        return self._turned(self.now(), again=True)

    def _turned(self, wake_at: float, *, again: bool = False) -> Turn:
        return Turn(self._calls, self._abandoned, wake_at - self._offset, again)

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
                case News(id=id):
                    visit = self._visits.get(id)
                    if visit is not None:
                        visit.news = True
                        self._stirred.append(visit)
                case Lost(id=id, token=token):
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
                self._step(visit, self._woken(visit, now))
            else:
                self._next_until = min(self._next_until, until)

    def _woken(self, visit: _Visit, now: float) -> Woken:
        woken = Woken(now, tuple(visit.events), visit.news, self._draining, visit.report)
        visit.events, visit.news, visit.report = [], False, False
        return woken

    def _claim(self, now: float) -> None:
        if self._draining or self.exhausted or self._claiming or not self.workflows:
            return
        free = self.options.concurrency - len(self._visits)
        if self.options.max_executions is not None:
            free = min(free, self.options.max_executions - self.metrics.claimed)
        if free <= 0 or not (self._hinted or now >= self._next_claim):
            return
        self._hinted = False
        self._found, self._next_claim = 0, now + self.options.poll_interval
        for queues, limit in self._lanes(free):
            nonce = f"{self._entropy.getrandbits(96):024x}"
            claim = r.Claim(
                nonce, self.options.name, queues, tuple(self.workflows), limit, self.options.lease, self._revive
            )
            self._outbox.append((None, claim))
            self._claiming += 1
        self._revive = self._revive and not self._claiming

    def _lanes(self, free: int) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield how many to claim from which queues: those with a limit of their own each by itself, *free* in all."""
        limits = self.options.queue_limits
        lanes = [(tuple(queue for queue in self.options.queues if queue not in limits), free)]
        for queue in self.options.queues:
            if queue in limits:
                active = sum(visit.session.header.queue == queue for visit in self._visits.values())
                lanes.append(((queue,), limits[queue] - active))
        lanes = [(queues, room) for queues, room in lanes if queues and room > 0]
        self._first_lane += 1  # so that a share of one slot goes round
        for i in range(len(lanes)):
            queues, room = lanes[(self._first_lane + i) % len(lanes)]
            share = min(room, -(-free // (len(lanes) - i)))
            free -= share
            if share:
                yield queues, share

    def _housekeep(self, now: float) -> None:
        if now >= self._next_purge:
            self._next_purge = now + self.options.housekeeping
            self._outbox.append((None, r.Purge(keep=self.options.retention_count)))
        if now < self._next_housekeeping:
            return
        every = self.options.housekeeping
        self._next_housekeeping = now + every
        workflows = [{"key": key, "version": version} for key, version in sorted(self.workflows)]
        info = {**self._info, "workflows": workflows, "slots": self.options.concurrency}
        info |= {"queues": self.options.queues, "active": len(self._visits)}
        row = r.WorkerRow(self.options.name, json.dumps(info).encode())
        self._outbox.append((None, r.Register(row, 3 * every)))
        self._registered = True

    def _ask(self) -> bool:
        """Send the batch; False if the store cannot be reached (the same batch is sent again later)."""
        batch = self._outbox
        began = time.perf_counter()
        self.asking = True
        try:
            replies = self._store.apply([request for _, request in batch])
        except StoreUnavailable as error:
            self._tell(error)
            self.unreachable = True
            self._backoff = min(LONGEST_BACKOFF, max(0.05, self._backoff * 2))
            self.metrics.unreachable += 1
            self._retry_at = self.now() + self._backoff * (0.5 + self._entropy.random() / 2)
            return False
        finally:
            self.answered, self.asking = time.monotonic(), False
        self._tell()
        self.unreachable, self._backoff = False, 0.0
        self.metrics.batches += 1
        self.metrics.requests += len(batch)
        self.metrics.batch_seconds += time.perf_counter() - began
        self._outbox = []
        for (visit, request), reply in zip(batch, replies, strict=True):
            self._answer(visit, request, reply)
        return True

    def _tell(self, error: StoreUnavailable | None = None) -> None:
        """Say that the store is away, or back, once for the loop and the heartbeat."""
        if error is None and not self._told_away:
            return
        with self._telling:
            if self._told_away == (error is not None):
                return
            self._told_away = error is not None
        if error is not None:
            log.warning("the store cannot be reached, trying again: %s", error)
        else:
            log.warning("the store can be reached again")

    def _answer(self, visit: _Visit | None, request: r.Request[Any], reply: Any) -> None:
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
        elif isinstance(request, r.Purge) and reply == request.limit:
            self._next_purge = self.now() + PURGE_EVERY  # there is more
        elif isinstance(request, r.Deliver | r.Watch | r.Create) and type(reply) is not ReplayError:
            self._outbox.append((None, r.Forget(request)))  # type: ignore[arg-type]

    def _committed(self, header: r.Header, request: r.Commit, reply: r.Committed) -> None:
        committed(self._observers, header, request.entries, self._codec)
        match request.then:
            case r.End(status=status):
                self.metrics.ended[status] += 1
                self._publish(f"ended:{request.id}", b"")
            case r.Park(wake_at=wake_at) if reply.parked and wake_at is not None:
                self._next_claim = min(self._next_claim, wake_at)
            case _:
                pass

    def _woke(self, queue: str) -> None:
        if queue in self.options.queues:
            self._hinted = True
            if len(self._visits) < self.options.concurrency:
                return
        self._announce(queue)

    def _claims(self, request: r.Claim, reply: r.Claims) -> None:
        self._claiming -= 1
        if isinstance(reply, ReplayError):
            raise reply
        for claimed in reply.claimed:
            self._begin(claimed, reply.now)
        self._found += len(reply.claimed)
        self.looked = not self._claiming and not self._found
        self.metrics.claimed += len(reply.claimed)
        later = reply.now + self.options.poll_interval
        again = min(later, reply.next_due) if reply.next_due is not None else later
        if len(reply.claimed) < request.limit:
            again = max(again, reply.now + 0.001)
        self._next_claim = min(self._next_claim, again)
        if len(self._visits) >= self.options.concurrency and again <= reply.now:
            self._pass_on(request.queues, reply.now)
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
        self._hinted = True

    def _pass_on(self, queues: Iterable[str], now: float) -> None:
        """Wake other workers: more is due than this one can take, and few hints stand for many executions."""
        if now >= self._next_pass:
            self._next_pass = now + PASS_EVERY
            for queue in queues:
                self._publish(f"ready:{queue}", b"")

    def _begin(self, claimed: r.Claimed, now: float) -> None:
        id = claimed.header.id
        if id in self._visits:  # our own lease ran out and came back to us: the older visit is fenced
            self._step(self._visits[id], error=Fenced(f"execution {id!r}: the lease ran out"))
        session = self._parked.pop(id, None)
        if session is not None and not session.fits(claimed):
            session.close()
            session = None
        if session is not None:
            self.metrics.cache_hits += 1
        else:
            self.metrics.replays += bool(claimed.header.length)
            workflow = self.workflows[claimed.header.workflow, claimed.header.version]
            session = Session(claimed, workflow, self._settings)
        visit = _Visit(session, session.run(claimed, now))
        self._visits[id] = visit
        self._step(visit)

    def _step(self, visit: _Visit, value: Any = None, error: BaseException | None = None) -> None:
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
                    case Launch(calls):
                        for call in calls:
                            call.cancelled = Flag()
                        self._calls.extend(calls)
                    case AskToStop(calls, abandon):
                        self._stop(calls, abandon=abandon)
                    case Publish(event, payload):
                        self._publish(f"event:{event}", payload)
                    case Warn(text):
                        log.warning("%s", text, extra={"execution_id": visit.session.id})
                    case Await(until):
                        if visit.events or visit.news:
                            value = self._woken(visit, self.now())
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
            self._parked.pop(visit.session.id, None)
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

    def _left(self, visit: _Visit) -> None:
        session = visit.session
        if self._visits.get(session.id) is visit:
            del self._visits[session.id]
        if session.header.queue in self.options.queue_limits:
            self._hinted = True  # its place is free
        if not session.parked:
            return
        self._parked[session.id] = session
        if len(self._parked) > self.options.cache_size:
            _, oldest = self._parked.popitem(last=False)
            oldest.close()

    def _wake_at(self) -> float:
        """Return the store's time at which there is something to do by itself."""
        now = self.now()
        instants = [self._next_housekeeping, self._next_purge]
        free = len(self._visits) < self.options.concurrency and not self.exhausted
        if not self._draining and free:
            instants.append(now if self._hinted else self._next_claim)
        instants.append(self._next_until)
        return min(instants)

    # --- leaving ----------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Leave the store: leases are handed back, outcomes of running steps are refused, `replay workers` forgets us."""
        requests: list[r.Request[Any]] = []
        for visit in list(self._visits.values()):
            requests.append(visit.session.give_back())
            visit.gen.close()
            visit.session.close()
        self._visits.clear()
        leases = len(requests)
        if self._registered and not self.unreachable:
            requests.append(r.Register(r.WorkerRow(self.options.name), 0.0))
        self._registered = False
        if requests:
            try:
                self._store.apply(requests)
            except StoreUnavailable:
                log.warning("could not hand back %d leases; they will run out by themselves", leases)

    def close(self) -> None:
        """Close all live generators, without a word to the store."""
        for visit in self._visits.values():
            visit.gen.close()
            visit.session.close()
        self._visits.clear()
        while self._parked:
            self._parked.popitem()[1].close()
