"""Observation of live executions: each new entry of a log is an arm that was taken."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from replay.core import commands as c
from replay.core import entries as e
from replay.core.errors import StepTimeout
from replay.core.interpreter import Interpreter
from replay.definition import Workflow
from replay.testing.simulation.stubs import plain


@attrs.frozen
class Taken:
    """One arm that an execution took.

    Attributes:
        kinds: Names of the context's methods that build such commands.
        id: The command's id, without scope and number.
        place: `file:line` of the yield.
        arm: The way in which it ended.
    """

    kinds: tuple[str, ...]
    id: str
    place: str
    arm: str


class Observed:
    """Arms taken while `recording`, by workflow."""

    def __init__(self) -> None:
        self.taken: dict[Workflow[Any, Any], set[Taken]] = {}
        self._lock = threading.Lock()
        self._codes: dict[CodeType, Workflow[Any, Any]] = {}
        self._running: WeakKeyDictionary[Interpreter, Workflow[Any, Any]] = WeakKeyDictionary()

    @contextlib.contextmanager
    def recording(self) -> Iterator[Observed]:
        """Watch all engines and simulations of this process.

        The two methods are replaced, since the core has no hooks: without the option nothing is slower.
        """
        feed, generator = Interpreter.feed_entry, Workflow.generator

        def feed_entry(interpreter: Interpreter, entry: e.Fact) -> None:
            self._see(interpreter, entry)
            feed(interpreter, entry)

        def open_generator(workflow: Workflow[Any, Any], ctx: Any, input: Any) -> Any:
            made = generator(workflow, ctx, input)
            self._opened(workflow, made)
            return made

        _replace(Interpreter, "feed_entry", feed_entry)
        _replace(Workflow, "generator", open_generator)
        try:
            yield self
        finally:
            _replace(Interpreter, "feed_entry", feed)
            _replace(Workflow, "generator", generator)

    def _opened(self, workflow: Workflow[Any, Any], made: Any) -> None:
        with self._lock:
            self.taken.setdefault(workflow, set())
            self._codes[made.gi_code] = workflow

    def _see(self, interpreter: Interpreter, entry: e.Fact) -> None:
        fiber = interpreter.fibers.get(entry.fiber)
        if fiber is None or fiber.id != entry.id or fiber.command is None:
            return
        code = getattr(interpreter.root.gen, "gi_code", None)
        with self._lock:
            workflow = self._codes.get(code) if code is not None else None
            workflow = workflow or self._running.get(interpreter)
            if workflow is None:
                return
            self._running[interpreter] = workflow
            taken = self.taken[workflow]
            kinds, id = kinds_of(fiber.command), plain(entry.id.removeprefix("rollback:"))
            # A compensation runs where the workflow rolls back, not where it was registered.
            place = "" if entry.id.startswith("rollback:") else fiber.where()
            taken |= {Taken(kinds, id, place, arm) for arm in arms_of(entry)}


def _replace(cls: type, name: str, method: Callable[..., Any]) -> None:
    setattr(cls, name, method)


def kinds_of(command: Any) -> tuple[str, ...]:
    """Return the names of the context's methods that may have built a command."""
    match command:
        case c.Step():
            return ("step", "map")
        case c.Sleep():
            return ("sleep", "sleep_until")
        case c.WaitForSignal():
            return ("wait_for_signal",)
        case c.Switch():
            return ("switch",)
        case c.Emit():
            return ("emit",)
        case c.Note():
            return ("note",)
        case c.Start():
            return ("child",) if command.wait else ("start",)
        case c.WaitForExecution():
            return ("wait_for_execution",)
        case c.Race():
            return ("race",)
        case _:
            return ()


def arms_of(entry: e.Fact) -> Iterator[str]:
    """Yield the arms that an entry is the proof of."""
    undoes = entry.id.startswith("rollback:")
    match entry:
        case e.StepDone():
            yield "undone" if undoes else "done"
        case e.StepFailed(error=error) | e.StepRetried(error=error):
            if undoes:
                return
            yield "failed" if isinstance(entry, e.StepFailed) else "retried"
            if isinstance(error, StepTimeout):
                yield "timed out"
        case e.TimerFired():
            yield "passed"
        case e.SignalReceived():
            yield "received"
        case e.WaitTimedOut():
            yield "timed out"
        case e.BranchChosen(branch=branch):
            yield f"branch {branch}"
        case e.Emitted() | e.NoteAdded():
            yield "done"
        case e.ChildStarted():
            yield "started"
        case e.ExecutionEnded(status=status):
            yield "completed" if status == "completed" else "failed"
        case e.RaceWon(winner=winner):
            yield f"won by {winner}"
        case e.Refused():
            yield "failed"
        case _:
            return
