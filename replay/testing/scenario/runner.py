"""Scenario runner: one run of a workflow whose choices decide step outcomes, arriving messages and faults."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from hypothesis import currently_in_test_context, event
from hypothesis import strategies as st

from replay.client.histories import History
from replay.client.records import Status, StepRecord
from replay.core.entries import SignalReceived
from replay.core.requests import Get
from replay.definition import Signal, Workflow
from replay.ports import Clock, Store
from replay.testing.checks.recovery import wrong
from replay.testing.checks.replaying import suspects
from replay.testing.checks.world import World, seed_chance
from replay.testing.scenario.plan import Choices, target_of, token
from replay.testing.scenario.statistics import count, reached
from replay.testing.scenario.step_outcomes import StepOutcomes
from replay.testing.simulation.effects import EffectWatch
from replay.testing.simulation.faults import CrashPoint, Faults
from replay.testing.simulation.quiet_logs import quiet_workers
from replay.testing.simulation.simulation import FAULTS_STOP_AFTER, SimHandle, Simulation
from replay.testing.simulation.stubs import plain

MOST_RESTS = 200
"""Most rests of a run. A run with more is taken for endless and left as it is."""

MOST_ARRIVALS = 10
"""Most messages sent in one run."""

HORIZON = 400 * 86400.0
"""Virtual seconds after which a run is left as it is."""

DISTURBANCES = {
    "none": None,
    "one crash": None,
    "crashes": Faults(crash=0.08),
    "hints lost, doubled and late": Faults(lose_hint=0.2, double_hint=0.3, delay_hint=0.6),
    "pauses": Faults(pause=0.1),
    "store unreachable": Faults(unavailable=0.1),
}
"""Kinds of disturbance of a run. Faults stop after `FAULTS_STOP_AFTER` effects."""


@attrs.frozen(repr=False)
class Run:
    """A finished run. A failing test prints its plan and timeline.

    Attributes:
        status: Status of the execution, ended or waiting for ever.
        result: Its result, None if it has none.
        error: Its error, None if it has none.
        timeline: One line for each event.
        steps: The step records.
        executed: Ids of the executed steps, with repetitions, in order.
        plan: The choices, by name.
        history: Its log, as `replay history --export` writes it.
        reproduce: The command line or decorator that runs it again.
    """

    status: Status
    result: Any
    error: Any
    timeline: str
    steps: tuple[StepRecord, ...]
    executed: tuple[str, ...]
    plan: Mapping[str, Any]
    history: History
    reproduce: str

    def count(self, step_id: str) -> int:
        """Return the number of completed steps with this id, scopes and numbers aside."""
        return sum(plain(step.id) == step_id and step.status == "completed" for step in self.steps)

    def __repr__(self) -> str:
        plan = ", ".join(f"{key}={value!r}" for key, value in self.plan.items() if value not in (None, (), {}, []))
        ended = f"{self.status}: {self.result!r}" if self.error is None else f"{self.status}: {self.error!r}"
        return f"<run ended {ended}\nplan: {plan}\n{self.timeline}\nReproduce: {self.reproduce}\n>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print the timeline for Hypothesis, not each attribute."""
        for number, line in enumerate(repr(self).splitlines()):
            if number:
                printer.break_()
            printer.text(line)


class ScenarioFailed(AssertionError):
    """A run violates a promise."""

    def __init__(self, workflow: Workflow[Any, Any], problem: str, run: Run) -> None:
        super().__init__(f"{problem}\n{run!r}")
        self._workflow = workflow
        self._problem = problem

    def unrepeatable(self) -> str:
        """Return the message for a failure that the same choices do not repeat."""
        found = "" if "\n  lint: " in self._problem else suspects(self._workflow)
        return (
            f"workflow {self._workflow.key!r} keeps state from run to run: the same choices failed once, and not again.\n"
            f"The failure was: {self._problem}{found}\n"
            f"Fix: keep state in local variables, the input or step results; make a fresh world in setup="
        )


@attrs.frozen
class ScenarioOptions:
    """Arguments of `scenarios`, which documents them."""

    workflow: Workflow[Any, Any]
    steps: Mapping[Any, Any] = attrs.field(factory=dict)
    signals: Sequence[Signal[Any]] = ()
    others: Sequence[Workflow[Any, Any]] = ()
    failures: bool = True
    crashes: bool = True
    cancels: bool = True
    max_workers: int = 3
    store: Callable[[Clock], Store] | None = None
    world: World = attrs.field(factory=World)


def arrivals(signals: Sequence[Signal[Any]], *, cancels: bool) -> st.SearchStrategy[list[Any]]:
    """Return a strategy of messages: the rests and then the events before each, and the message itself.

    All messages are drawn at once. Shrinking other choices must not change them.
    """
    events: list[st.SearchStrategy[Any]] = [
        st.tuples(
            st.sampled_from(["once", "once", "once", "twice"]),
            st.just(signal.id),
            payloads(signal),
        )
        for signal in signals
    ]
    if cancels:
        events.append(st.just(("cancel", "", None)))
    when = st.sampled_from([0, 0, 0, 0, 0, 1, 2, 4])  # mostly 0: waits time out often enough anyway
    return st.lists(st.tuples(when, st.integers(0, 8), st.one_of(events)), max_size=MOST_ARRIVALS)


def payloads(signal: Signal[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy of a signal's payloads."""
    return st.integers(0, 3) if signal.payload_type is None else st.from_type(signal.payload_type)


class ScenarioRunner:
    """One run, decided by its choices.

    Attributes:
        plan: The choices so far, by name.
        sim: The simulated cluster.
    """

    def __init__(self, options: ScenarioOptions, choices: Choices) -> None:
        self._options = options
        self._choices = choices
        self._sent: dict[str, list[Any]] = {}
        self._coming: list[tuple[int, int, tuple[str, str, Any]]] = []
        self.plan: dict[str, Any] = {}
        self.sim: Simulation

    def run(self, inputs: st.SearchStrategy[Any] | None) -> Run:
        """Run the scenario in its world.

        Raises:
            AssertionError: See `scenarios`.
        """
        with self._options.world.run() as watch:
            return self._run(inputs, watch)

    def _run(self, inputs: st.SearchStrategy[Any] | None, watch: EffectWatch | None) -> Run:
        """Run the scenario.

        Raises:
            AssertionError: A recorded step ran again, the execution is stuck, or a log breaks a rule or does not replay.
        """
        options, plan, draw = self._options, self.plan, self._choices.draw
        cancels = bool(self._choices.fact(options.cancels)) and draw(st.sampled_from([False, False, False, True]))
        if self._choices.fact(bool(options.signals)) or cancels:
            self._coming = list(draw(arrivals(options.signals, cancels=cancels)))
        plan["input"] = draw(inputs if inputs is not None else st.none())
        plan["workers"] = draw(st.integers(1, options.max_workers))
        plan["seed"] = draw(st.integers(0, 999))
        seed_chance(plan["seed"])
        plan["disturbance"] = disturbance = draw(st.sampled_from(list(DISTURBANCES if options.crashes else ["none"])))
        crash = None
        if disturbance == "one crash":
            plan["crash"] = crash = CrashPoint(draw(st.integers(1, 40)), draw(st.booleans()))
        outcomes = StepOutcomes(options.steps, self._choices, failures=options.failures)
        self.sim = Simulation(
            [options.workflow, *options.others],
            seed=plan["seed"],
            workers=plan["workers"],
            steps=outcomes,
            faults=DISTURBANCES[disturbance],
            crash_at=crash,
            store=options.store,
            watch=watch,
        )
        with quiet_workers, self.sim:
            handle = self.sim.start(options.workflow, plan["input"], id="x-1")
            plan["signals"] = []
            plan["outcomes"] = outcomes.chosen
            try:
                self._drive(handle)
                problem = self._problem(handle)
            except AssertionError as error:
                raise AssertionError(f"{error}\nReproduce: {self._reproduce()}") from error
            run = self._finished(handle)
        if problem:
            raise ScenarioFailed(options.workflow, problem, run)
        return run

    # --- messages and time ---------------------------------------------------------------------------

    def _drive(self, handle: SimHandle) -> None:
        sim = self.sim
        began = sim.now()
        for _ in range(MOST_RESTS):
            arrived = self._arrival(handle)
            sim.run()
            if sim.engine.get_execution(handle).status.ended:
                return
            if sim.injector.effects > FAULTS_STOP_AFTER:
                sim.stop_faults()
            if arrived:
                continue
            if self._unlisted(handle):
                continue
            due = sim.next_due(renewals=False)
            if due is not None and due - began <= HORIZON:
                self._pass(due)
            elif not self._arrival(handle, now=True):
                return

    def _unlisted(self, handle: SimHandle) -> bool:
        """Send a signal that the execution waits for and `signals=` does not list, if the draw says so."""
        known = {signal.id for signal in self._options.signals}
        allowed = self._options.workflow.signals
        current = self.sim.engine.get_execution(handle).current
        waits = sorted({str(wait["signal"]) for wait in current if wait.get("signal")} - known)
        if allowed is not None:
            waits = [id for id in waits if id in {signal.id for signal in allowed}]
        if not waits or len(self.plan["signals"]) >= MOST_ARRIVALS or not self._choices.draw(st.booleans()):
            return False
        payload = self._choices.draw(payloads(self.sim.awaited(handle.id, waits[0])))
        self._coming.insert(0, (0, 0, ("once", waits[0], payload)))
        return self._arrival(handle)

    def _pass(self, until: float) -> None:
        """Advance to *until* without running what is due then: a message may arrive first."""
        sim = self.sim
        while (due := sim.next_due()) is not None and due < until:
            sim.clock.move_to(due)
            sim.run()
        sim.clock.move_to(until)

    def _arrival(self, handle: SimHandle, *, now: bool = False) -> bool:
        """Send the next message if it is due at this rest (or *now*). Returns whether one was sent."""
        if not self._coming:
            return False
        rests, steps, what = self._coming[0]
        if rests and not now:
            self._coming[0] = (rests - 1, steps, what)
            return False
        del self._coming[0]
        for _ in range(steps):
            if not self.sim.step():
                break
        execution = self.sim.engine.get_execution(handle)
        if execution.status.ended:
            return False
        after = round(self.sim.now() - execution.created_at, 3)
        match what:
            case "cancel", _, _:
                self.plan.setdefault("cancelled_after", after)
                self.sim.cancel(handle, "scenario")
            case times, id, payload:
                self.plan["signals"].append((id, payload, after))
                self._sent.setdefault(id, []).append(payload)
                for _ in range(2 if times == "twice" else 1):
                    self.sim.signal(handle, id, payload, dedupe_id=f"m{len(self.plan['signals'])}")
        return True

    # --- checks and the finished run ----------------------------------------------------------------------------------

    def _problem(self, handle: SimHandle) -> str | None:
        execution = self.sim.engine.get_execution(handle)
        if execution.status == "stuck":
            return f"it is stuck: {'; '.join(str(wait.get('message', wait)) for wait in execution.current)}"
        problem = wrong(self.sim, handle) or self._misdelivered(handle)
        return problem or (self._options.world.problem(handle) if execution.status.ended else None)

    def _misdelivered(self, handle: SimHandle) -> str | None:
        """Check that signals are received once, in the order of sending (invariant I19)."""
        header = self.sim.engine.ask(Get(handle.id))
        if header is None or header.run:  # it continued as new, so its first log is gone
            return None
        received: dict[str, list[Any]] = {}
        for entry in self.sim.engine.detail(handle).audit:
            if isinstance(entry, SignalReceived):
                received.setdefault(entry.signal, []).append(entry.payload)
        codec = self.sim.engine.codec
        for id, payloads in received.items():
            sent = [codec.encode(each) for each in self._sent.get(id, [])]
            if [codec.encode(each) for each in payloads] != sent[: len(payloads)]:
                return f"signal {id!r} was sent as {self._sent.get(id, [])!r}, but received as {payloads!r}"
        return None

    def _finished(self, handle: SimHandle) -> Run:
        sim = self.sim
        detail = sim.engine.detail(handle)
        execution = detail.execution
        if currently_in_test_context():
            count(self._options.workflow.key, execution.status, detail.audit)
            for name in reached(execution.status, detail.audit, sim.timeline()):
                event(f"{self._options.workflow.key}: {name}")
        return Run(
            execution.status,
            execution.result,
            execution.error,
            sim.timeline(),
            detail.steps,
            tuple(id for _, id, _ in sim.executed),
            self.plan,
            History.of(sim.engine, handle.id),
            self._reproduce(),
        )

    def _reproduce(self) -> str:
        workflow, others = self._options.workflow, self._options.others
        plan = token(workflow, self._choices.made)
        if plan is None:
            return "@settings(print_blob=True) (a value of this run cannot be written as text)"
        targets = [target_of(each) for each in (workflow, *others)]
        if None in targets:
            return f"@example(plan({plan!r}))"
        more = [part for target in targets[1:] for part in ("--other", str(target))]
        return shlex.join(["replay", "simulate", str(targets[0]), *more, "--plan", plan])
