"""A whole cluster in one thread: the real engine, sessions and workers, a virtual clock, and a seeded scheduler.

The same seed gives the same trace, in any process.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from replay.backends.memory import MemoryStore
from replay.backends.memory_hints import MemoryBus
from replay.codec import TaggedJson
from replay.core.commands import WaitForSignal, duration
from replay.core.effects import Call, Returned
from replay.core.errors import StoreUnavailable
from replay.core.fibers import Fiber
from replay.core.requests import Find, Get, Load
from replay.definition import Signal, Workflow
from replay.engine import Engine
from replay.handles import Handle
from replay.ports import Clock, Store
from replay.records import audit_of
from replay.steps import run_call
from replay.testing.clock import START, SkewedClock, VirtualClock
from replay.testing.faults import Crash, CrashPoint, Faults, FaultyStore, Injector
from replay.testing.legality import illegal
from replay.testing.stubs import Hangs, Stubs, Takes
from replay.worker import News, Worker

LEASE = 0.5
"""Seconds of virtual time: short, so that a crash costs a simulated workflow little of its timeouts."""

CALM_AFTER = 400
"""Effects after which `settle` switches faults off: what has not ended must then end by itself."""


JUDGE_EVERY = 200
"""Instants after which `settle` looks whether the log is legal: a bug that keeps an execution from ending shows there."""


class SimHandle(Handle[Any]):
    """A handle that never blocks: time passes only when the simulation is told so."""

    def __init__(self, simulation: Simulation, id: str) -> None:
        super().__init__(simulation.engine, id)
        self._simulation = simulation

    def result(self, timeout: Any = None) -> Any:
        """Return the result, raise what ended it, or raise `TimeoutError` if it has not ended."""
        execution = self._engine.get_execution(self.id)
        if not execution.status.ended:
            raise TimeoutError(f"execution {self.id!r} is {execution.status}, waiting for {self.waiting_for!r}")
        return self._engine.wait(self.id, 0)

    @property
    def waiting_for(self) -> Any:
        """What it waits for: a `Signal`, else the id of the command, None if it has ended or is about to go on."""
        return self._simulation.waiting_for(self.id)


class _Node:
    """One simulated worker process."""

    def __init__(self, name: str, worker: Worker, skew: float) -> None:
        self.name = name
        self.worker = worker
        self.skew = skew
        self.wake_at = 0.0
        self.paused_until: float | None = None
        self.beat_at = 0.0


class _Running:
    """One step body under way."""

    def __init__(self, node: _Node, call: Call) -> None:
        self.node = node
        self.call = call
        self.returned: Returned | None = None
        self.ready_at: float | None = 0.0


class Simulation:
    """See the module.

    Args:
        workflows: What the cluster runs.
        seed: Decides every interleaving and every fault.
        workers: How many workers.
        steps: Stubs by step id or function (`returns`, `fails`, `hangs`, `takes`, any function of the call); others run for real.
        start: The virtual time at the beginning, an aware `datetime`.
        faults: Rates; `True` draws them from the seed; None: nothing goes wrong.
        crash_at: Crash once at this point (exhaustive checks).
        store: Makes the store from the clock (default: in memory).
        strict: Refuse steps without a stub.
        cache_size: Live generators kept by each worker; 0 replays at each visit.
    """

    def __init__(
        self,
        workflows: Iterable[Workflow[Any, Any]] = (),
        *,
        seed: int = 0,
        workers: int = 1,
        steps: Mapping[Any, Any] | None = None,
        start: dt.datetime | None = None,
        faults: Faults | bool | None = None,
        crash_at: CrashPoint | None = None,
        store: Callable[[Clock], Store] | None = None,
        strict: bool = False,
        cache_size: int = 100,
        argument_policy: str = "error",
        concurrency: int = 16,
        lease: float = LEASE,
    ) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.clock = VirtualClock(START if start is None else start.timestamp())
        self.trace: list[str] = []
        self.executed: list[tuple[str, str, int]] = []
        self.repeated: list[str] = []
        rates = Faults.swarm(self.chance) if faults is True else faults if isinstance(faults, Faults) else Faults()
        self.injector = Injector(rates, self.chance, crash_at)
        self.store: Store = store(self.clock) if store is not None else MemoryStore(self.clock)
        self._bus = _LossyBus(self)
        self.engine = Engine(
            self.store,
            bus=self._bus,
            workflows=workflows,
            clock=self.clock,
            codec=TaggedJson(),
            lease=lease,
            concurrency=concurrency,
            cache_size=cache_size,
            argument_policy=argument_policy,
            # Polling is the safety net for lost hints; where none is lost, it would only make time pass slowly.
            poll_interval=1.0 if rates.lose_hint or rates.delay_hint else 1e7,
            cancel_grace=1.0,
            entropy=random.Random(self.chance.getrandbits(64)),
        )
        self.injector.place = self._place
        self._lease = lease
        self._stubs = Stubs(steps, strict=strict)
        self._running: list[_Running] = []
        self._late: list[tuple[float, Callable[[], None]]] = []  # hints on their way
        self._nodes: list[_Node] = []
        self._dead: list[Worker] = []  # kept: collecting their generators would run the users' `finally` blocks
        self._born = 0
        for _ in range(workers):
            self._add_node()

    # --- the user's side ------------------------------------------------------------------------------

    def start(self, workflow: Workflow[Any, Any] | str, input: Any = None, **options: Any) -> SimHandle:
        """As `Engine.start`."""
        return SimHandle(self, self.engine.start(workflow, input, **options).id)

    def handle(self, id: str) -> SimHandle:
        """Return a handle of any execution."""
        return SimHandle(self, id)

    def signal(
        self, execution: str | Handle[Any], signal: Signal[Any] | str, payload: Any = None, **options: Any
    ) -> None:
        """As `Engine.signal`."""
        self.engine.signal(execution, signal, payload, **options)

    def cancel(self, execution: str | Handle[Any], reason: str | None = None) -> None:
        """As `Engine.cancel`."""
        self.engine.cancel(execution, reason)

    def now(self) -> float:
        """Return the virtual time, seconds since the epoch."""
        return self.clock.now()

    def run(self, limit: int = 100_000) -> None:
        """Let everything happen that can happen without time passing.

        Raises:
            AssertionError: It does not come to rest within *limit* events.
        """
        for _ in range(limit):
            if not self._event():
                return
        raise AssertionError(f"the simulation does not come to rest (seed {self.seed}):\n{self.timeline(40)}")

    def step(self) -> bool:
        """Do one thing that can be done without time passing; False if there is none."""
        return self._event()

    def advance(
        self, duration_: Any = None, *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0
    ) -> None:
        """Let time pass, stopping at each instant at which something is due."""
        span = dt.timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
        until = self.now() + span + (0 if duration_ is None else duration(duration_, "advance"))
        self.run()
        while (due := self.next_due()) is not None and due <= until:
            self.clock.move_to(due)
            self.run()
        self.clock.move_to(until)
        self.run()

    def settle(
        self, handle: Handle[Any], signals: Sequence[tuple[Any, Any]] = (), *, within: float = 400 * 86400.0
    ) -> bool:
        """Run until *handle*'s execution ends, sending each signal as soon as it is waited for; whether it ended.

        Virtual time passes when nothing else can happen, at most *within* seconds.
        """
        until = self.now() + within
        waiting = list(signals)
        for number in range(1, 100_001):
            self.run()
            if number % JUDGE_EVERY == 0 and (problem := self.illegal(handle.id)) is not None:
                raise AssertionError(f"execution {handle.id!r} (seed {self.seed}): {problem}\n{self.timeline(40)}")
            execution = self.engine.get_execution(handle)
            if execution.status.ended:
                return True
            if waiting and any(w.get("signal") == _signal_id(waiting[0][0]) for w in execution.current):
                signal, payload = waiting.pop(0)
                self.engine.signal(handle, signal, payload)
                continue
            due = self.next_due()
            if due is None or due > until or any(w.get("kind") == "stuck" for w in execution.current):
                return False
            if self.injector.effects > CALM_AFTER:
                self.stop_faults()
            if not self._running and not self.engine.ask(Find(due_before=until, limit=1)).headers:
                return False  # it waits for a message that nobody sends; only workers' polling goes on
            self.clock.move_to(due)
        raise AssertionError(f"execution {handle.id!r} comes to no end (seed {self.seed}):\n{self.timeline(40)}")

    def illegal(self, id: str) -> str | None:
        """Return what is wrong with an execution's log, None if nothing is (see `replay.testing.legality`)."""
        return illegal(audit_of(self.engine.ask(Load(id)), self.engine.codec))

    def stop_faults(self) -> None:
        """From now on nothing goes wrong any more: everything must finish."""
        self.injector.enabled = False

    def crash_in(self, effects: int, *, before: bool) -> None:
        """Have the worker die that comes to the *effects*-th effect from now on (1: the next), before or after it."""
        self.injector.plan(CrashPoint(self.injector.effects + effects, before))

    def waiting_for(self, id: str) -> Any:
        """See `SimHandle.waiting_for`."""
        for wait in self.engine.get_execution(id).current:
            if wait.get("kind") == "signal":
                return self._definition_of(id, str(wait["signal"]))
            if wait.get("kind") != "stuck":
                return wait.get("execution_id") or wait.get("id")
        return None

    def timeline(self, last: int | None = None) -> str:
        """Return what happened, one line for each event."""
        lines = self.trace if last is None else self.trace[-last:]
        return "\n".join(lines)

    # --- the scheduler ----------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """Return the next instant at which something happens by itself."""
        now = self.now()
        instants = [running.ready_at for running in self._running if running.ready_at is not None]
        instants += [at for at, _ in self._late]
        for node in self._nodes:
            if node.paused_until is not None:
                instants.append(node.paused_until)
                continue
            instants.append(node.wake_at)
            if node.worker.active:
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
            if node.wake_at <= now or node.worker.hinted or (node.worker.mail and not node.worker.unreachable):
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
            turn = node.worker.turn()
        except Crash:
            self._bury(node)
            return
        # A turn that changed nothing must not be taken again at once: the next one comes when something is due.
        at_once = turn.calls or turn.again
        node.wake_at = turn.wake_at - node.skew if at_once else max(turn.wake_at - node.skew, self.now() + 0.001)
        for call in turn.calls:
            self._running.append(_Running(node, call))

    def _beat(self, node: _Node) -> None:
        node.beat_at = self.now() + self._lease / 4
        try:
            node.worker.beat()
        except Crash:
            self._bury(node)
        except StoreUnavailable:
            return

    def _go_on(self, running: _Running) -> None:
        call, node = running.call, running.node
        if running.returned is None:
            if call.abandoned:
                self._running.remove(running)
                return
            call.started = node.worker.now()
            self._check_not_recorded(call)
            self.executed.append((call.execution_id, call.id, call.attempt))
            self._say(node.name, f"runs {call.id} (attempt {call.attempt})")
            try:
                returned = self.injector.around(
                    f"step {call.id}", lambda: self._perform(running), lambda t: self._say(node.name, t)
                )
            except Crash:
                self._bury(node)
                return
            running.returned = returned
            if running.ready_at is None or running.ready_at > self.now():
                return
        self._running.remove(running)
        if running.returned is not None and node in self._nodes:
            node.worker.post(running.returned)

    def _check_not_recorded(self, call: Call) -> None:
        """Invariant I8: a step whose result is recorded is not run again (unless its worker is a zombie, whose result is refused)."""
        if self.injector.faults.pause or self.injector.faults.skew:
            return
        mark = f'"{call.id}"'.encode()
        rows = [
            row for row in self.engine.ask(Load(call.execution_id)) if row.startswith(b'["StepDone"') and mark in row
        ]
        header = self.engine.ask(Get(call.execution_id))
        if rows and header is not None and not header.amendments:
            done = self.engine.codec.decode_rows(rows)
            if any(row[3] == call.id for row in done):
                self.repeated.append(f"step {call.id!r} runs although its result is recorded")

    def _perform(self, running: _Running) -> Returned:
        call = running.call
        limit = running.node.worker.options.payload_limit
        original = call.fn
        result: dict[str, Any] = {}

        def body(*args: Any, **kwargs: Any) -> Any:
            call.fn = original
            found = self._stubs.run(call)
            if isinstance(found, Takes):
                result["at"] = self.now() + found.seconds
                return found.value
            return found

        call.fn = body
        try:
            returned = run_call(call, self.engine.codec, limit)
        finally:
            call.fn = original
        if isinstance(returned.error, Crash):
            raise returned.error
        if isinstance(returned.error, Hangs):
            running.ready_at = None
        elif isinstance(returned.error, AssertionError) and "is not stubbed" in str(returned.error):
            raise returned.error
        elif "at" in result:
            running.ready_at = result["at"]
        # Real seconds are no part of a simulation: the trace must not depend on them.
        return Returned(call, returned.value, returned.data, returned.error, 0.0, returned.final)

    # --- workers come and go --------------------------------------------------------------------------------

    def _add_node(self) -> None:
        self._born += 1
        name = f"w{self._born}"
        skew = self.chance.uniform(-1, 1) * self.injector.faults.skew
        store = FaultyStore(self.store, self.injector, lambda text: self._say(name, text))
        worker = self.engine.make_worker(
            store=store,
            clock=SkewedClock(self.clock, skew),
            entropy=random.Random(self.chance.getrandbits(64)),
            name=name,
            housekeeping=1e9,
        )
        node = _Node(name, worker, skew)
        node.wake_at = self.now()
        self._nodes.append(node)

    def _bury(self, node: _Node) -> None:
        self._say(node.name, "is dead")
        self._nodes.remove(node)
        self._dead.append(node.worker)
        self._running = [running for running in self._running if running.node is not node]
        self._add_node()

    def _send_later(self, seconds: float, arrive: Callable[[], None]) -> None:
        self._late.append((self.now() + seconds, arrive))

    def _deliver(self, late: tuple[float, Callable[[], None]]) -> None:
        self._late.remove(late)
        self._say("bus", "a late hint arrives")
        late[1]()

    def _hint_all(self) -> None:
        for node in self._nodes:
            node.worker.hint()

    def _news(self, id: str) -> None:
        for node in self._nodes:
            node.worker.post(News(id))

    def _place(self) -> str:
        """Return `file:line` of a yield at which an execution stands that is under way."""
        for node in self._nodes:
            for session in node.worker.sessions():
                if session.interpreter is not None and (place := session.interpreter.location()):
                    return place
        return ""

    def _say(self, who: str, what: str) -> None:
        self.trace.append(f"{self.now() - START:12.3f}  {who:<4} {what}")

    def _definition_of(self, id: str, name: str) -> Any:
        fibers: list[Fiber] = []
        for node in self._nodes:
            session = node.worker.parked(id)
            if session is not None and session.interpreter is not None:
                fibers += session.interpreter.waits()
        for fiber in fibers:
            if isinstance(fiber.command, WaitForSignal) and fiber.command.signal == name:
                return fiber.command.definition or Signal(name)
        return Signal(name)

    def close(self) -> None:
        """Close the live generators."""
        for worker in [node.worker for node in self._nodes] + self._dead:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _LossyBus(MemoryBus):
    """Wake-ups between simulated workers; some are lost, some come twice or late."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__()
        self._simulation = simulation

    def publish(self, channel: str, message: bytes = b"") -> None:
        """See `replay.ports.Bus.publish`."""
        simulation = self._simulation
        injector = simulation.injector
        if injector.draws(injector.faults.lose_hint):
            return
        for _ in range(2 if injector.draws(injector.faults.double_hint) else 1):
            if injector.draws(injector.faults.delay_hint):
                simulation._send_later(simulation.chance.uniform(0.1, 3.0), lambda: self._arrive(channel, message))
            else:
                self._arrive(channel, message)

    def _arrive(self, channel: str, message: bytes) -> None:
        if channel.startswith("ready:"):
            self._simulation._hint_all()
        elif channel == "news":
            self._simulation._news(message.decode())
        else:
            super().publish(channel, message)


def _signal_id(signal: Any) -> str:
    return signal if isinstance(signal, str) else str(signal.id)
