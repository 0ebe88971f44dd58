"""A whole cluster in one thread: the real engine, sessions and workers, a virtual clock, and a seeded scheduler.

What users call; `replay.testing.simulation.cluster` is what they call upon.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from replay.client.handles import Handle
from replay.codec.log_rows import audit_of
from replay.core.commands import WaitForSignal
from replay.core.fibers import Fiber
from replay.core.requests import Find, Load
from replay.core.times import duration
from replay.definition import Signal, Workflow
from replay.ports import Clock, Store
from replay.testing.simulation.clock import START
from replay.testing.simulation.cluster import LEASE, Cluster
from replay.testing.simulation.faults import CrashPoint, Faults
from replay.testing.simulation.log_rules import violation
from replay.testing.simulation.stubs import Stubs

FAULTS_STOP_AFTER = 400
"""Effects after which `settle` switches faults off: what has not ended must then end by itself."""

CHECK_LOG_EVERY = 200
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


class Simulation(Cluster):
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
        steps: Mapping[Any, Any] | Stubs | None = None,
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
        if workers < 0:
            raise ValueError(f"workers is how many there are: 0 (an API node alone) or more, not {workers!r}")
        if start is not None and start.tzinfo is None:
            raise ValueError(f"start={start!r} has no time zone. Fix: start.replace(tzinfo=datetime.UTC)")
        if not isinstance(faults, Faults | bool | None):
            raise TypeError(f"faults is a Faults, True or None, not {faults!r}. Fix: faults=Faults(crash=0.1)")
        super().__init__(
            workflows,
            seed=seed,
            workers=workers,
            steps=steps,
            start=START if start is None else start.timestamp(),
            faults=faults,
            crash_at=crash_at,
            store=store,
            strict=strict,
            cache_size=cache_size,
            argument_policy=argument_policy,
            concurrency=concurrency,
            lease=lease,
        )

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
        span += 0 if duration_ is None else duration(duration_, "advance")
        if span < 0:
            raise ValueError(f"time does not go back: advance by 0 or more, not by {span:g} seconds")
        until = self.now() + span
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
            if number % CHECK_LOG_EVERY == 0 and (problem := self.violation(handle.id)) is not None:
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
            if self.injector.effects > FAULTS_STOP_AFTER:
                self.stop_faults()
            if not self._running and not self.engine.ask(Find(due_before=until, limit=1)).headers:
                return False  # it waits for a message that nobody sends; only workers' polling goes on
            self.clock.move_to(due)
        raise AssertionError(f"execution {handle.id!r} comes to no end (seed {self.seed}):\n{self.timeline(40)}")

    def violation(self, id: str) -> str | None:
        """Return what is wrong with an execution's log, None if nothing is (see `replay.testing.simulation.log_rules`)."""
        return violation(audit_of(self.engine.ask(Load(id)), self.engine.codec))

    def stop_faults(self) -> None:
        """From now on nothing goes wrong any more: everything must finish."""
        self.injector.enabled = False

    def crash_in(self, effects: int, *, before: bool) -> None:
        """Have the worker die that comes to the *effects*-th effect from now on (1: the next), before or after it."""
        self.injector.crash_at(CrashPoint(self.injector.effects + effects, before))

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
        return "\n".join(self._timeline.lines(last))

    @property
    def executions(self) -> Mapping[str, str]:
        """Executions that were created in this simulation: workflow keys by id."""
        return self._timeline.workflows

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
        for worker in [node.worker for node in self._nodes] + self._killed:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _signal_id(signal: Any) -> str:
    return signal if isinstance(signal, str) else str(signal.id)
