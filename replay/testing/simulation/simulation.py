"""`Simulation`: a whole cluster in one thread, with the real engine and workers, a virtual clock and a seeded scheduler."""

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
from replay.testing.simulation.effects import EffectWatch
from replay.testing.simulation.faults import CrashPoint, Faults, Injected
from replay.testing.simulation.log_rules import violation
from replay.testing.simulation.stubs import Stubs

FAULTS_STOP_AFTER = 400
"""Effects after which `settle` stops faults: from then on every execution must end."""

CHECK_LOG_EVERY = 200
"""Instants between two checks of the log by `settle`: a bug that keeps an execution from ending shows there."""


class SimHandle(Handle[Any]):
    """Handle that never blocks: time passes only through the simulation."""

    def __init__(self, simulation: Simulation, id: str) -> None:
        super().__init__(simulation.engine, id)
        self._simulation = simulation

    def result(self, timeout: Any = None) -> Any:
        """Return the result of an ended execution.

        Raises:
            TimeoutError: It has not ended.
            ReplayError: It ended without a result; see `Engine.wait`.
        """
        execution = self._engine.get_execution(self.id)
        if not execution.status.ended:
            raise TimeoutError(f"execution {self.id!r} is {execution.status}, waiting for {self.waiting_for!r}")
        return self._engine.wait(self.id, 0)

    @property
    def waiting_for(self) -> Any:
        """The awaited `Signal`, or the id of the awaited command. None if it has ended or is runnable."""
        return self._simulation.waiting_for(self.id)


class Simulation(Cluster):
    """A simulated cluster. The same seed gives the same trace.

    Args:
        workflows: Workflows that every worker knows.
        seed: Decides every interleaving and every fault.
        workers: Number of workers; 0 leaves an API node alone.
        steps: Stubs by step id or function: `REAL`, `returns`, `fails`, `hangs`, `takes`, `calls`, a function that takes the
            step's arguments, `stub(fn)` for a function of the `Call`, or a value. Other steps run their body.
        start: Virtual start time, an aware `datetime` (default: 2026-01-01 UTC).
        faults: Rates of faults. True draws them from the seed, None injects none.
        crash_at: A single crash, for exhaustive checks.
        store: Makes the store from the clock (default: in memory).
        strict: Refuse steps without a stub.
        cache_size: Live generators kept by each worker; 0 replays at each activation.
        argument_policy: See `Engine` (default here: `error`).
        concurrency: Step bodies that one worker runs at a time.
        lease: Lease of the workers, seconds of virtual time.
        watch: Watches the effects of real bodies (default: nothing does).
        script: The faults that happen, instead of those that the rates give: a part of `injector.injected` of another run.
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
        watch: EffectWatch | None = None,
        script: frozenset[Injected] | None = None,
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
            watch=watch,
            script=script,
        )

    # --- the user's side ------------------------------------------------------------------------------

    def start(self, workflow: Workflow[Any, Any] | str, input: Any = None, **options: Any) -> SimHandle:
        """Start an execution, as `Engine.start` does."""
        return SimHandle(self, self.engine.start(workflow, input, **options).id)

    def handle(self, id: str) -> SimHandle:
        """Return a handle of an execution."""
        return SimHandle(self, id)

    def signal(
        self, execution: str | Handle[Any], signal: Signal[Any] | str, payload: Any = None, **options: Any
    ) -> None:
        """Send a signal, as `Engine.signal` does."""
        self.engine.signal(execution, signal, payload, **options)

    def cancel(self, execution: str | Handle[Any], reason: str | None = None) -> None:
        """Cancel an execution, as `Engine.cancel` does."""
        self.engine.cancel(execution, reason)

    def run(self, limit: int = 100_000) -> None:
        """Run until nothing more can happen without time passing.

        Raises:
            AssertionError: More than *limit* events happened.
        """
        for _ in range(limit):
            if not self._event():
                return
        raise AssertionError(f"the simulation does not come to rest (seed {self.seed}):\n{self.timeline(40)}")

    def step(self) -> bool:
        """Run one event that is due now. Returns False if none is due."""
        return self._event()

    def advance(
        self, duration_: Any = None, *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0
    ) -> None:
        """Let time pass, and run everything that falls due meanwhile.

        Args:
            duration_: Seconds or a `timedelta`, added to the other arguments.
        """
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
        """Run until *handle*'s execution ends. Virtual time passes when nothing else can happen.

        Args:
            signals: Signals and payloads, sent in order, each as soon as the execution waits for it.
            within: Most virtual seconds that may pass.

        Returns:
            Whether the execution ended. False if it waits for something that never comes.

        Raises:
            AssertionError: Its log breaks a rule, or it neither ends nor rests.
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
                return False  # it waits for a message that nobody sends
            self.clock.move_to(due)
        raise AssertionError(f"execution {handle.id!r} comes to no end (seed {self.seed}):\n{self.timeline(40)}")

    def violation(self, id: str) -> str | None:
        """Return the first rule that an execution's log breaks, None if it breaks none (see `log_rules`)."""
        return violation(audit_of(self.engine.ask(Load(id)), self.engine.codec))

    def stop_faults(self) -> None:
        """Inject no more faults."""
        self.injector.enabled = False

    def crash_in(self, effects: int, *, before: bool) -> None:
        """Crash the worker that performs the *effects*-th effect from now (1: the next), *before* or after it."""
        self.injector.crash_at(CrashPoint(self.injector.effects + effects, before))

    def waiting_for(self, id: str) -> Any:
        """See `SimHandle.waiting_for`."""
        for wait in self.engine.get_execution(id).current:
            if wait.get("kind") == "signal":
                return self.awaited(id, str(wait["signal"]))
            if wait.get("kind") != "stuck":
                return wait.get("execution_id") or wait.get("id")
        return None

    def timeline(self, last: int | None = None) -> str:
        """Return the timeline, one line for each event; with *last* only that many lines."""
        return "\n".join(self._timeline.lines(last))

    def timeline_around(self, word: str) -> str:
        """Return the part of the timeline around the first line that has *word*."""
        return "\n".join(self._timeline.around(word))

    @property
    def executions(self) -> Mapping[str, str]:
        """Workflow keys of all executions created in this simulation, by execution id."""
        return self._timeline.workflows

    def awaited(self, id: str, name: str) -> Signal[Any]:
        """Return the definition of the signal that an execution waits for under this *name*."""
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
