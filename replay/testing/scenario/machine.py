"""`WorkflowMachine`: a Hypothesis state machine over a simulated cluster, for your own rules and invariants."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from replay.definition import Signal, Workflow
from replay.testing.checks.recovery import wrong
from replay.testing.scenario.runner import payloads
from replay.testing.simulation.simulation import SimHandle, Simulation


class WorkflowMachine(RuleBasedStateMachine):
    """Hypothesis state machine over a simulated cluster. Subclass it, name the workflows, and add rules and invariants.

        class Orders(WorkflowMachine):
            workflows = (approve_order,)

            @rule(order=orders())
            def place(self, order):
                self.start(approve_order, order)

            @invariant()
            def nobody_is_charged_twice(self):
                assert all(count(h) <= 1 for h in self.handles)

        TestOrders = Orders.TestCase

    Built-in rules run the cluster, let time pass, crash workers, send signals that an execution waits for or its workflow lists, and
    cancel. With `interventions` an operator fails executions, and retries failed ones and their rollbacks. After each example the
    faults stop, and the cluster must come to rest. No recorded step may have run twice, and no execution may be stuck.

    Attributes:
        workflows: Workflows that every worker knows.
        steps: Stubs, as for `Simulation`.
        workers: Number of workers (default: 2).
        cancels: Cancel executions (default: True).
        interventions: Let an operator intervene (default: False).
        sim: The `Simulation`.
        handles: Handles of all executions started by `start`.
    """

    workflows: ClassVar[Sequence[Workflow[Any, Any]]] = ()
    steps: ClassVar[Mapping[Any, Any] | None] = None
    workers: ClassVar[int] = 2
    cancels: ClassVar[bool] = True
    interventions: ClassVar[bool] = False

    @initialize(seed=st.integers(0, 2**32))
    def open_cluster(self, seed: int) -> None:
        """Create the simulated cluster."""
        self.sim = Simulation(self.workflows, seed=seed, workers=self.workers, steps=self.steps)
        self.handles: list[SimHandle] = []
        self._intervened: set[str] = set()

    def start(self, workflow: Workflow[Any, Any], input: Any = None, **options: Any) -> SimHandle:
        """Start an execution, and add its handle to `handles`."""
        self.handles.append(self.sim.start(workflow, input, **options))
        return self.handles[-1]

    @rule()
    def let_the_cluster_run(self) -> None:
        """Run until nothing more can happen without time passing."""
        self.sim.run()

    @rule(seconds=st.sampled_from([1.0, 60.0, 3600.0, 86_400.0, 7 * 86_400.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Advance the virtual clock, and run everything that falls due."""
        self.sim.advance(seconds=seconds)

    @rule(before=st.booleans(), effects=st.integers(1, 12))
    def crash_a_worker(self, before: bool, effects: int) -> None:
        """Crash the worker that performs the *effects*-th effect from now, *before* or after it."""
        self.sim.crash_in(effects, before=before)

    @precondition(lambda self: bool(self.handles))
    @rule(data=st.data())
    def send_a_signal(self, data: st.DataObject) -> None:
        """Send a signal that an execution waits for, or that its workflow lists."""
        open_ = [(handle, signals) for handle in self.handles if (signals := self._receivable(handle))]
        if not open_:
            return
        handle, signals = data.draw(st.sampled_from(open_), label="to")
        signal = signals[data.draw(st.sampled_from(sorted(signals)), label="signal")]
        self.sim.signal(handle, signal, data.draw(payloads(signal), label="payload"))

    def _receivable(self, handle: SimHandle) -> dict[str, Signal[Any]]:
        """Return the signals, by id, that an execution waits for or its workflow lists."""
        execution = self.sim.engine.get_execution(handle)
        if execution.status.ended:
            return {}
        listed = next((flow.signals for flow in self.workflows if flow.key == execution.workflow), None)
        signals = {signal.id: signal for signal in listed or ()}
        waits = {str(wait["signal"]) for wait in execution.current if wait.get("signal")}
        for id in sorted(waits - set(signals)) if listed is None else ():
            signals[id] = self.sim.awaited(handle.id, id)
        return signals

    @precondition(lambda self: self.cancels and bool(self.handles))
    @rule(data=st.data())
    def cancel_an_execution(self, data: st.DataObject) -> None:
        """Cancel an execution."""
        handle = data.draw(st.sampled_from(self.handles), label="execution")
        if not self.sim.engine.get_execution(handle).status.ended:
            self.sim.cancel(handle, "the machine")

    @precondition(lambda self: self.interventions and bool(self.handles))
    @rule(data=st.data())
    def intervene(self, data: st.DataObject) -> None:
        """Fail a running execution as an operator, or retry a failed one."""
        handle = data.draw(st.sampled_from(self.handles), label="execution")
        operator, status = self.sim.engine.operator, handle.status()
        match status:
            case "failed":
                operator.retry(handle.id)
            case "compensation_failed":
                operator.retry_rollback(handle.id)
            case _ if not status.ended:
                operator.force_fail(handle.id, "the machine")
            case _:
                return
        self._intervened.add(handle.id)

    @invariant()
    def no_recorded_step_ran_twice(self) -> None:
        """Check that no recorded step ran twice (invariant I8), and that nothing is stuck."""
        if hasattr(self, "sim"):
            assert not self.sim.problems, f"{self.sim.problems}\n{self.sim.timeline(40)}"
            for handle in self.handles:
                assert handle.status() != "stuck", f"{handle!r} is stuck\n{self.sim.timeline(40)}"

    def teardown(self) -> None:
        """Stop all faults, run until the cluster rests, and check every log. The timeline is printed on failure.

        Raises:
            AssertionError: A recorded step ran twice, an execution is stuck, or a log breaks a rule or does not replay.
        """
        if not hasattr(self, "sim"):
            return
        failed = sys.exc_info()[0] is not None
        self.sim.stop_faults()
        self.sim.run()
        note(self.sim.timeline(60))
        try:
            if not failed:  # else a second error would hide the first
                self.no_recorded_step_ran_twice()
                for handle in self.handles:
                    if handle.id in self._intervened:
                        continue  # its log is no longer written by the workflow alone
                    problem = wrong(self.sim, handle)
                    assert problem is None, f"{handle!r}: {problem}\n{self.sim.timeline(40)}"
        finally:
            self.sim.close()
