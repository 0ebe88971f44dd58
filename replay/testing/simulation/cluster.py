"""The simulated cluster: workers, steps under way, hints, the clock, and the seeded scheduler.

The same seed gives the same trace, in any process.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from replay.backends.memory import MemoryStore
from replay.codec import TaggedJson
from replay.core import requests as r
from replay.core.effects import Returned
from replay.core.errors import StoreUnavailable
from replay.definition import Workflow
from replay.engine import Engine
from replay.ports import Clock, Store
from replay.testing.simulation.bus import LossyBus
from replay.testing.simulation.clock import SkewedClock, VirtualClock
from replay.testing.simulation.effects import EffectWatch
from replay.testing.simulation.faults import Crash, CrashPoint, Faults, FaultyStore, Injected, Injector
from replay.testing.simulation.node import Node, RunningStep
from replay.testing.simulation.quiet_logs import quiet_outages
from replay.testing.simulation.recording import RecordingStore
from replay.testing.simulation.step_bodies import LaunchRules, run_body
from replay.testing.simulation.stubs import Stubs
from replay.testing.simulation.timeline import Timeline
from replay.worker import NewMessages, Worker

LEASE = 0.5
"""Lease of the simulated workers, seconds of virtual time: short, so that a crash costs little of a workflow's timeouts."""

POLL = 1.0
"""Seconds of virtual time after which a worker looks for work whose hint was lost."""

NEVER = 1e7
"""Poll interval given to the workers, seconds: an empty poll would only slow down virtual time. The cluster makes a worker poll
after a change instead (`Node.missed_hint`)."""

CHANGES = (r.Create, r.Commit, r.Deliver, r.Watch, r.Amend, r.PutSchedule)
"""Requests that may make something due."""


class Cluster:
    """Base of `Simulation`, which documents the arguments."""

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
        watch: EffectWatch | None,
        script: frozenset[Injected] | None,
    ) -> None:
        self.seed = seed
        self.watch = watch
        self.chance = random.Random(seed)
        self.clock = VirtualClock(start)
        self.executed: list[tuple[str, str, int]] = []
        self.problems: list[str] = []
        rates = Faults.swarm(self.chance) if faults is True else faults if isinstance(faults, Faults) else Faults()
        self.injector = Injector(rates, self.chance, crash_at, script)
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
        self._launch_rules = LaunchRules(self.engine, zombies=bool(rates.pause or rates.skew))
        self._changes = 0
        self._may_miss = bool(rates.lose_hint or rates.delay_hint)
        self._running: list[RunningStep] = []
        self._late: list[tuple[float, Callable[[], None]]] = []  # delayed hints
        self._nodes: list[Node] = []
        self._killed: list[Worker] = []  # kept: garbage collection would run the users' `finally` blocks
        self._spawned = 0
        for _ in range(workers):
            self._add_node()

    def now(self) -> float:
        """Return the virtual time, seconds since the epoch."""
        return self.clock.now()

    # --- the scheduler ----------------------------------------------------------------------------------

    def next_due(self, *, renewals: bool = True) -> float | None:
        """Return the next instant at which something is due; without *renewals*, lease renewals do not count."""
        now = self.now()
        instants = [running.ready_at for running in self._running if running.ready_at is not None]
        instants += [at for at, _ in self._late]
        for node in self._nodes:
            if node.paused_until is not None:
                instants.append(node.paused_until)
                continue
            instants.append(node.wake_at)
            if self._may_miss and node.missed_hint(self._changes):
                instants.append(node.last_claim[0] + POLL)
            if node.worker.active and renewals:
                instants.append(node.renew_at)
        return min((i for i in instants if i > now), default=None)

    def _event(self) -> bool:
        """Do one thing, chosen by the seed among all that are due now. False if nothing is due."""
        now = self.now()
        choices: list[tuple[Callable[[Any], None], Any]] = []
        for running in self._running:
            if running.returned is None or (running.ready_at is not None and running.ready_at <= now):
                choices.append((self._advance_step, running))
        for node in self._nodes:
            if node.paused_until is not None:
                if node.paused_until <= now:
                    node.paused_until = None
                    self._say(node.name, "resumes")
                else:
                    continue
            if node.worker.active and node.renew_at <= now:
                choices.append((self._renew, node))
            if self._may_miss and node.last_claim[0] + POLL <= now and node.missed_hint(self._changes):
                node.last_claim = (now, self._changes)
                node.worker.hint()
            if (
                node.wake_at <= now
                or node.worker.has_hint
                or (node.worker.inbox and not node.worker.store_link.unreachable)
            ):
                choices.append((self._turn, node))
        choices += [(self._deliver, late) for late in self._late if late[0] <= now]
        if not choices:
            return False
        act, what = choices[self.chance.randrange(len(choices))] if len(choices) > 1 else choices[0]
        act(what)
        return True

    def _turn(self, node: Node) -> None:
        if self.injector.draws("pause"):
            node.paused_until = self.now() + self._lease * (1 + self.chance.random())
            self._say(node.name, f"pauses until +{node.paused_until - self.now():.2f} s")
            return
        try:
            with quiet_outages:
                turn = node.worker.turn()
        except Crash:
            self._kill(node)
            return
        # A turn that changed nothing must not repeat at the same instant.
        at_once = turn.calls or turn.again
        node.wake_at = turn.wake_at - node.skew if at_once else max(turn.wake_at - node.skew, self.now() + 0.001)
        for call in turn.calls:
            self._stubs.launched(call)
            self._running.append(RunningStep(node, call))

    def _renew(self, node: Node) -> None:
        node.renew_at = self.now() + self._lease / 4
        try:
            with quiet_outages:
                node.worker.renew_leases()
        except Crash:
            self._kill(node)
        except StoreUnavailable:
            return

    def _applied(self, who: str, requests: Sequence[r.Request[Any]], replies: Sequence[Any]) -> None:
        if any(isinstance(request, CHANGES) for request in requests):
            self._changes += 1
        self._timeline.applied(who, requests, replies)

    # --- steps ----------------------------------------------------------------------------------------------

    def _advance_step(self, running: RunningStep) -> None:
        call, node = running.call, running.node
        if running.returned is None:
            if call.abandoned:
                self._running.remove(running)
                return
            call.started = node.worker.now()
            self.problems += self._launch_rules.violations(node.worker, call)
            self.executed.append((call.execution_id, call.id, call.attempt))
            self._say(node.name, f"runs {call.id} (attempt {call.attempt}) of {self._timeline.name(call.execution_id)}")
            try:
                returned = self.injector.around(
                    f"step {call.id}", lambda: self._run_body(running), lambda t: self._say(node.name, t)
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

    def _run_body(self, running: RunningStep) -> Returned:
        call = running.call
        stand_in = self._stubs.prepare(call)  # outside of the body: a refusal is not a failure of the step
        limit = running.node.worker.options.payload_limit
        returned, running.ready_at = run_body(call, stand_in, self.engine.codec, limit, self.now(), self.watch)
        return returned

    # --- workers come and go --------------------------------------------------------------------------------

    def _add_node(self) -> None:
        self._spawned += 1
        name = f"w{self._spawned}"
        skew = self.chance.uniform(-1, 1) * self.injector.skew
        store = RecordingStore(self.store, name, self._claimed)
        worker = self.engine.make_worker(
            store=FaultyStore(store, self.injector, partial(self._say, name)),
            clock=SkewedClock(self.clock, skew),
            entropy=random.Random(self.chance.getrandbits(64)),
            name=name,
            housekeeping=1e9,
        )
        self._nodes.append(Node(name, worker, skew, self.now()))

    def _claimed(self, who: str, requests: Sequence[r.Request[Any]], replies: Sequence[Any]) -> None:
        if any(isinstance(request, r.Claim) for request in requests):
            for node in self._nodes:
                if node.name == who:
                    node.last_claim = (self.now(), self._changes)
        self._applied(who, requests, replies)

    def _kill(self, node: Node) -> None:
        self._say(node.name, "dies")
        self._nodes.remove(node)
        self._killed.append(node.worker)
        self._running = [running for running in self._running if running.node is not node]
        self._add_node()

    # --- hints ------------------------------------------------------------------------------------------------

    def send_later(self, seconds: float, arrive: Callable[[], None]) -> None:
        """Call *arrive* after *seconds* of virtual time."""
        self._late.append((self.now() + seconds, arrive))

    def _deliver(self, late: tuple[float, Callable[[], None]]) -> None:
        self._late.remove(late)
        self._say("bus", "a late hint arrives")
        late[1]()

    def hint_all(self) -> None:
        """Send every worker a hint."""
        for node in self._nodes:
            node.worker.hint()

    def news(self, id: str) -> None:
        """Notify every worker of messages for an execution."""
        for node in self._nodes:
            node.worker.post(NewMessages(id))

    # --- timeline -----------------------------------------------------------------------------------------------

    def _place(self) -> str:
        """Return `file:line` of the current yield of some running execution, empty if there is none."""
        for node in self._nodes:
            for session in node.worker.sessions():
                if session.interpreter is not None and (place := session.interpreter.location()):
                    return place
        return ""

    def _say(self, who: str, what: str) -> None:
        self._timeline.say(who, what)
