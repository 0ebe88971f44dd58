"""Completion: the last commit after the code's end, with the result, for another attempt, or to begin anew."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import attrs

from replay.core import entries as e
from replay.core.effects import Effect
from replay.core.errors import ExecutionCancelled, NotSerializable, PayloadTooLarge
from replay.core.failures import Voids
from replay.core.interpreter import Interpreter
from replay.core.recorder import Recorder
from replay.core.requests import End, Header, Load, Restart, Suspend
from replay.core.scheduler import Child
from replay.core.settings import Definition, SessionSettings
from replay.core.workflow_end import Outcome


@attrs.frozen
class Exit:
    """The last commit of a session, beside the recorder's entries.

    Attributes:
        then: The execution's state after the commit.
        cancels: Children to cancel.
        attempt: The number of the next attempt, None if there is none.
    """

    then: Suspend | End | Restart
    cancels: tuple[str, ...] = ()
    attempt: int | None = None


class Completion:
    """Chooses the last commit of a session, and records its entries."""

    def __init__(
        self,
        header: Header,
        definition: Definition,
        settings: SessionSettings,
        interpreter: Interpreter,
        recorder: Recorder,
        now: float,
    ) -> None:
        self._header = header
        self._definition = definition
        self._settings = settings
        self._interpreter = interpreter
        self._recorder = recorder
        self._now = now

    def leave(self, outcome: Outcome) -> Generator[Effect, Any, Exit | None]:
        """Return the last commit; None if the code's result cannot be stored, which is now the outcome."""
        try:
            if outcome.again is not None:
                input = self._recorder.value(outcome.again.input, "the input to continue with")
                return Exit(Restart(input, self._carried()))
            result = None
            if outcome.error is None or outcome.status == "cancelled":
                result = self._recorder.value(outcome.value, "the workflow's result")
        except (NotSerializable, PayloadTooLarge) as refused:
            self._interpreter.fail(refused)
            return None
        error: bytes | None = None
        voids = Voids()
        if outcome.error is not None:
            error = self._recorder.error(outcome.error)
            if outcome.status in ("failed", "compensation_failed"):
                voids = yield from self._voids(outcome.error)
            if outcome.status == "failed" and (again := self._another_attempt(outcome.error, voids)) is not None:
                return again
        cancels = self._ours(lambda child: True)
        cancelled = tuple(sorted({*self._interpreter.dismissed, *cancels})) if outcome.error is not None else ()
        end = e.ExecutionClosed(
            self._now, 0, "", outcome.status, voids.entries, outcome.raised, voids.fibers, cancelled
        )
        self._recorder.record_end(end)
        return Exit(End(outcome.status, result, error), cancels)

    def _another_attempt(self, error: BaseException, voids: Voids) -> Exit | None:
        """Return the commit before another attempt of the workflow, None if its policy or the error allows none."""
        interpreter, attempt = self._interpreter, self._header.attempt
        due = self._next_attempt_at(error)
        if due is None:
            return None
        void = frozenset(voids.entries)
        cancelled = tuple(sorted(interpreter.dismissed))
        self._recorder.record_end(
            e.AttemptFailed(self._now, 0, "", error, attempt, due, voids.entries, voids.fibers, cancelled)
        )
        park = Suspend("retrying", at_latest(self._header, due or self._now), self._settings.lease)
        # Children whose start becomes void: the next attempt knows nothing of them.
        return Exit(park, self._ours(lambda child: child.index in void), attempt + 1)

    def _next_attempt_at(self, error: BaseException) -> float | None:
        """Return the instant of the next attempt, 0 for one that is not counted, None if there is none."""
        interpreter, policy = self._interpreter, self._definition.retry
        if not interpreter.retryable(error) or interpreter.cancelled is not None:
            return None
        if interpreter.failed_before(error):
            return 0.0
        if policy is None or isinstance(error, ExecutionCancelled):
            return None  # a cancelled child: somebody wanted it to stop
        cause = getattr(error, "cause", None) or error
        elapsed = self._now - (interpreter.began_at or self._header.created_at)
        attempt = self._header.attempt - interpreter.uncounted
        delay = policy.delay(attempt, cause, elapsed=elapsed, random=self._settings.random())
        return None if delay is None else self._now + delay

    def _voids(self, error: BaseException) -> Generator[Effect, Any, Voids]:
        interpreter = self._interpreter
        if not interpreter.retryable(error) and not interpreter.rewinds:
            return Voids()
        stored: list[bytes] = yield Load(self._header.id)
        return interpreter.entries_to_void(error, self._settings.codec.decode_rows([*stored, *self._recorder.entries]))

    def _carried(self) -> tuple[bytes, ...]:
        """Return the first entries of the new log: open children stay its own."""
        return tuple(
            self._settings.codec.encode(
                e.to_row(e.ChildStarted(self._now, 0, "", child.execution_id, child.workflow, child.on_parent_close))
            )
            for child in self._interpreter.children.values()
            if child.on_parent_close == "cancel"
        )

    def _ours(self, which: Callable[[Child], bool]) -> tuple[str, ...]:
        """Return the open children to cancel with the execution, of those for which *which* is true."""
        children = self._interpreter.children.values()
        return tuple(c.execution_id for c in children if c.on_parent_close == "cancel" and which(c))


def at_latest(header: Header, instant: float) -> float:
    """Return *instant*, or the execution's deadline if that comes first."""
    return instant if header.deadline is None else min(instant, header.deadline)
