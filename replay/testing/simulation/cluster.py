"""The simulated cluster: workers, steps under way, hints, the clock, and the seeded scheduler that picks what happens next.

The same seed gives the same trace, in any process.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from replay.backends.memory import MemoryStore
from replay.codec import TaggedJson
from replay.core import requests as r
from replay.core.effects import Call, Returned
from replay.core.errors import StoreUnavailable
from replay.definition import Workflow
from replay.engine import Engine
from replay.ports import Clock, Store
from replay.testing.simulation.bus import LossyBus
from replay.testing.simulation.clock import SkewedClock, VirtualClock
from replay.testing.simulation.faults import Crash, CrashPoint, Faults, FaultyStore, Injector
from replay.testing.simulation.recording import RecordingStore
from replay.testing.simulation.stubs import Hangs, Stubs, Takes
from replay.testing.simulation.timeline import Timeline, short
from replay.worker import NewMessages, Worker
from replay.worker.steps import run_call

LEASE = 0.5
"""Seconds of virtual time: short, so that a crash costs a simulated workflow little of its timeouts."""

POLL = 1.0
"""Seconds after which a worker looks whether it missed a hint."""

NEVER = 1e7
"""Poll interval of the workers themselves, seconds: polls that find nothing would only make time pass slowly, so the cluster
has a worker look only when something has changed since it looked last (`_Node.missed`)."""

CHANGES = (r.Create, r.Commit, r.Deliver, r.Watch, r.Amend, r.PutSchedule)
"""Requests that may make something due."""


class _Node:
    """One simulated worker process."""

    def __init__(self, name: str, skew: float) -> None:
        self.name = name
        self.worker: Worker
        self.skew = skew
        self.wake_at = 0.0
        self.paused_until: float | None = None
        self.beat_at = 0.0
        self.looked = (-1, 0.0)  # how much had changed when it claimed last, and when that was

    def missed(self, changes: int) -> bool:
        """Whether something may have become due of which a lost hint would have told."""
        return self.looked[0] != changes and self.worker.active < self.worker.options.concurrency


class _Running:
    """One step body under way."""

    def __init__(self, node: _Node, call: Call) -> None:
        self.node = node
        self.call = call
        self.returned: Returned | None = None
        self.ready_at: float | None = 0.0


class Cluster:
    """What `Simulation` is made of. See there for the arguments."""

    def __init__(
        self,
        workflows: Iterable[Workflow[Any, Any]],
        *,
        seed: int,
        workers: int,
        steps: Mapping[Any, Any] | Stubs | None,
        start: float,
        faults: Faults | bool | None,
        crash_at: CrashPoint | None,
        store: Callable[[Clock], Store] | None,
        strict: bool,
        cache_size: int,
        argument_policy: str,
        concurrency: int,
        lease: float,
    ) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.clock = VirtualClock(start)
        self.executed: list[tuple[str, str, int]] = []
        self.problems: list[str] = []
        rates = Faults.swarm(self.chance) if faults is True else faults if isinstance(faults, Faults) else Faults()
        self.injector = Injector(rates, self.chance, crash_at)
        self.store: Store = store(self.clock) if store is not None else MemoryStore(self.clock)
        codec = TaggedJson()
        workflows = tuple(workflows)
        self._timeline = Timeline(codec, self.clock.now)
        self._bus = LossyBus(self)
        self.engine = Engine(
            RecordingStore(self.store, "user", self._applied),
            bus=self._bus,
            workflows=workflows,
            clock=self.clock,
            codec=codec,
            lease=lease,
            concurrency=concurrency,
            cache_size=cache_size,
            argument_policy=argument_policy,
            poll_interval=NEVER,
            cancel_grace=1.0,
            entropy=random.Random(self.chance.getrandbits(64)),
        )
        self.workflows = {(workflow.key, workflow.version): workflow for workflow in workflows}
        self.injector.place = self._place
        self._lease = lease
        self._stubs = steps if isinstance(steps, Stubs) else Stubs(steps, strict=strict)
        self._first: dict[tuple[str, int], Call] = {}  # of each step: with which arguments it ran
        self._changes = 0
        self._may_miss = bool(rates.lose_hint or rates.delay_hint)
        self._running: list[_Running] = []
        self._late: list[tuple[float, Callable[[], None]]] = []  # hints on their way
        self._nodes: list[_Node] = []
        self._killed: list[Worker] = []  # kept: collecting their generators would run the users' `finally` blocks
        self._spawned = 0
        for _ in range(workers):
            self._add_node()

    def now(self) -> float:
        """Return the virtual time, seconds since the epoch."""
        return self.clock.now()

    # --- the scheduler ----------------------------------------------------------------------------------

    def next_due(self, *, beats: bool = True) -> float | None:
        """Return the next instant at which something happens by itself; without *beats*: besides renewing leases."""
        now = self.now()
        instants = [running.ready_at for running in self._running if running.ready_at is not None]
        instants += [at for at, _ in self._late]
        for node in self._nodes:
            if node.paused_until is not None:
                instants.append(node.paused_until)
                continue
            instants.append(node.wake_at)
            if self._may_miss and node.missed(self._changes):
                instants.append(node.looked[1] + POLL)
            if node.worker.active and beats:
                instants.append(node.beat_at)
        return min((i for i in instants if i > now), default=None)

    def _event(self) -> bool:
        """Do one thing, chosen by the seed among all that can be done now; False if there is none."""
        now = self.now()
        choices: list[tuple[Callable[[Any], None], Any]] = []
        for running in self._running:
            if running.returned is None or (running.ready_at is not None and running.ready_at <= now):
                choices.append((self._go_on, running))
        for node in self._nodes:
            if node.paused_until is not None:
                if node.paused_until <= now:
                    node.paused_until = None
                    self._say(node.name, "goes on")
                else:
                    continue
            if node.worker.active and node.beat_at <= now:
                choices.append((self._beat, node))
            if self._may_miss and node.looked[1] + POLL <= now and node.missed(self._changes):
                node.looked = (self._changes, now)
                node.worker.hint()
            if node.wake_at <= now or node.worker.hinted or (node.worker.mail and not node.worker.reach.away):
                choices.append((self._turn, node))
        choices += [(self._deliver, late) for late in self._late if late[0] <= now]
        if not choices:
            return False
        act, what = choices[self.chance.randrange(len(choices))] if len(choices) > 1 else choices[0]
        act(what)
        return True

    def _turn(self, node: _Node) -> None:
        if self.injector.draws(self.injector.faults.pause):
            node.paused_until = self.now() + self._lease * (1 + self.chance.random())
            self._say(node.name, f"stands still until +{node.paused_until - self.now():.2f} s")
            return
        try:
            with _outages_are_no_news:
                turn = node.worker.turn()
        except Crash:
            self._kill(node)
            return
        # A turn that changed nothing must not be taken again at once: the next one comes when something is due.
        at_once = turn.calls or turn.again
        node.wake_at = turn.wake_at - node.skew if at_once else max(turn.wake_at - node.skew, self.now() + 0.001)
        for call in turn.calls:
            self._stubs.launched(call)
            self._running.append(_Running(node, call))

    def _beat(self, node: _Node) -> None:
        node.beat_at = self.now() + self._lease / 4
        try:
            with _outages_are_no_news:
                node.worker.beat()
        except Crash:
            self._kill(node)
        except StoreUnavailable:
            return

    def _applied(self, who: str, requests: Sequence[r.Request[Any]], replies: Sequence[Any]) -> None:
        if any(isinstance(request, CHANGES) for request in requests):
            self._changes += 1
        self._timeline.applied(who, requests, replies)

    # --- steps ----------------------------------------------------------------------------------------------

    def _go_on(self, running: _Running) -> None:
        call, node = running.call, running.node
        if running.returned is None:
            if call.abandoned:
                self._running.remove(running)
                return
            call.started = node.worker.now()
            self._check_launch(node, call)
            self.executed.append((call.execution_id, call.id, call.attempt))
            self._say(node.name, f"runs {call.id} (attempt {call.attempt}) of {self._timeline.name(call.execution_id)}")
            try:
                returned = self.injector.around(
                    f"step {call.id}", lambda: self._perform(running), lambda t: self._say(node.name, t)
                )
            except Crash:
                self._kill(node)
                return
            running.returned = returned
            if running.ready_at is None or running.ready_at > self.now():
                return
        self._running.remove(running)
        if running.returned is not None and node in self._nodes:
            node.worker.post(running.returned)

    def _check_launch(self, node: _Node, call: Call) -> None:
        """A step runs again with the arguments it had, and not at all once its result is recorded (invariant I8)."""
        session = next((s for s in node.worker.sessions() if s.id == call.execution_id), None)
        if session is None:
            return  # its lease is lost, and with it what the step will come to
        first = self._first.setdefault((call.token, session.header.amendments), call)
        if first.digest != call.digest:
            fiber = session.interpreter.fibers.get(call.fiber) if session.interpreter is not None else None
            place = fiber.where() if fiber is not None else ""
            self.problems.append(
                f"step {call.id!r} is run again with other arguments, ({_arguments(call)}) instead of ({_arguments(first)})"
                f"{f', at {place}' if place else ''}: they depend on something besides the log"
            )
        # A zombie may well run what another worker has recorded: its result is refused.
        if self.injector.faults.pause or self.injector.faults.skew or session.header.amendments:
            return
        mark = f'"{call.id}"'.encode()
        log = self.engine.ask(r.Load(call.execution_id))
        rows = [row for row in log if row.startswith(b'["StepDone"') and mark in row]
        if rows and any(row[3] == call.id for row in self.engine.codec.decode_rows(rows)):
            self.problems.append(f"step {call.id!r} runs although its result is recorded")

    def _perform(self, running: _Running) -> Returned:
        call = running.call
        limit = running.node.worker.options.payload_limit
        stand_in = self._stubs.prepare(call)  # before the body's place: what it refuses is no failure of the step
        original = call.fn
        result: dict[str, Any] = {}

        def body(*args: Any, **kwargs: Any) -> Any:
            call.fn = original
            found = stand_in()
            if isinstance(found, Takes):
                result["at"] = self.now() + found.seconds
                return found.value
            return found

        call.fn = body
        try:
            returned = run_call(call, self.engine.codec, limit)
        finally:
            call.fn = original
        if returned.error is not None and _ends_the_test(returned.error):
            raise returned.error
        if isinstance(returned.error, Hangs):
            running.ready_at = None
        elif "at" in result:
            running.ready_at = result["at"]
        # Real seconds are no part of a simulation: the trace must not depend on them.
        return Returned(call, returned.value, returned.data, returned.error, 0.0, returned.final)

    # --- workers come and go --------------------------------------------------------------------------------

    def _add_node(self) -> None:
        self._spawned += 1
        name = f"w{self._spawned}"
        skew = self.chance.uniform(-1, 1) * self.injector.faults.skew
        node = _Node(name, skew)
        node.worker = self.engine.make_worker(
            store=FaultyStore(
                RecordingStore(self.store, name, partial(self._looked, node)), self.injector, partial(self._say, name)
            ),
            clock=SkewedClock(self.clock, skew),
            entropy=random.Random(self.chance.getrandbits(64)),
            name=name,
            housekeeping=1e9,
        )
        node.wake_at = self.now()
        self._nodes.append(node)

    def _looked(self, node: _Node, who: str, requests: Sequence[r.Request[Any]], replies: Sequence[Any]) -> None:
        if any(isinstance(request, r.Claim) for request in requests):
            node.looked = (self._changes, self.now())
        self._applied(who, requests, replies)

    def _kill(self, node: _Node) -> None:
        self._say(node.name, "is dead")
        self._nodes.remove(node)
        self._killed.append(node.worker)
        self._running = [running for running in self._running if running.node is not node]
        self._add_node()

    # --- hints ------------------------------------------------------------------------------------------------

    def send_later(self, seconds: float, arrive: Callable[[], None]) -> None:
        """Have a hint arrive later."""
        self._late.append((self.now() + seconds, arrive))

    def _deliver(self, late: tuple[float, Callable[[], None]]) -> None:
        self._late.remove(late)
        self._say("bus", "a late hint arrives")
        late[1]()

    def hint_all(self) -> None:
        """Tell all workers that there may be work."""
        for node in self._nodes:
            node.worker.hint()

    def news(self, id: str) -> None:
        """Tell all workers that an execution may have messages."""
        for node in self._nodes:
            node.worker.post(NewMessages(id))

    # --- words --------------------------------------------------------------------------------------------------

    def _place(self) -> str:
        """Return `file:line` of a yield at which an execution stands that is under way."""
        for node in self._nodes:
            for session in node.worker.sessions():
                if session.interpreter is not None and (place := session.interpreter.location()):
                    return place
        return ""

    def _say(self, who: str, what: str) -> None:
        self._timeline.say(who, what)


class _Outages(logging.Filter):
    """Drops what a worker says of the store while it is simulated: outages are planned there, and told in the timeline."""

    simulated = False

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        return not (self.simulated and str(record.msg).startswith("the store can"))

    def __enter__(self) -> None:
        self.simulated = True

    def __exit__(self, *exc: object) -> None:
        self.simulated = False


_outages_are_no_news = _Outages()
logging.getLogger("replay.worker").addFilter(_outages_are_no_news)


def _ends_the_test(error: BaseException) -> bool:
    """Whether this is how Hypothesis, pytest and the user steer a test (`assume`, `skip`, ...): not the step's to record."""
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, Crash | KeyboardInterrupt) or package in ("hypothesis", "_pytest")


def _arguments(call: Call) -> str:
    return ", ".join([*map(short, call.args), *(f"{name}={short(value)}" for name, value in call.kwargs.items())])
