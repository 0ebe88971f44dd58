"""Outcomes of a scenario's steps, drawn once for each step, so that attempts before and after a crash agree."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from hypothesis import strategies as st

from replay.core.effects import Call
from replay.core.retry import ONCE
from replay.testing.scenario.plan import Choices
from replay.testing.simulation.cluster import LEASE
from replay.testing.simulation.stubs import Hangs, Stub, Stubs, Takes, plain, real

PATIENCE = 600.0
"""Longest timeout, seconds, of a step that may hang: renewing leases meanwhile takes real time."""


class InjectedFailure(Exception):
    """Error of a step that a scenario lets fail. A step with `Retry(on=...)` raises the first class named there instead."""


@attrs.frozen
class StepOutcome:
    """Outcome of a step.

    Attributes:
        fails: Number of first attempts that fail.
        hangs: Those attempts hang instead.
        after: Those attempts fail after the real body has run.
        seconds: Virtual seconds that a successful attempt takes.
    """

    fails: int = 0
    hangs: bool = False
    after: bool = False
    seconds: float = 0.0


class StepOutcomes(Stubs):
    """Stubs that draw one outcome for each step.

    Attributes:
        chosen: Kind of outcome of each step that is not plain success, by step id.
    """

    def __init__(self, steps: Mapping[Any, Any], choices: Choices, *, failures: bool) -> None:
        stubs = {k: v for k, v in steps.items() if not isinstance(v, st.SearchStrategy)}
        super().__init__(stubs)
        self.chosen: dict[str, str] = {}
        self._strategies = {k: v for k, v in steps.items() if isinstance(v, st.SearchStrategy)}
        self._choices = choices
        self._failures = bool(choices.fact(failures))
        self._outcomes: dict[str, StepOutcome] = {}
        self._values: dict[str, Any] = {}

    def prepare(self, call: Call) -> Callable[[], Any]:
        """See `Stubs.prepare`.

        Draws before the body runs: Hypothesis aborts by raising, and that must not look like a step failure.
        """
        if call.token not in self._outcomes:
            self._outcomes[call.token] = self._draw_outcome(call)
        outcome = self._outcomes[call.token]
        if call.attempt <= outcome.fails:
            return lambda: _fail(call, outcome) if not outcome.after else _fail_after(call, outcome)
        body = self._body(call)
        return body if not outcome.seconds else lambda: _slow(body(), outcome.seconds)

    def _draw_outcome(self, call: Call) -> StepOutcome:
        draw = self._choices.draw
        options = getattr(call.command, "options", None)
        policy = getattr(options, "retry", ONCE)
        undoes = call.id.startswith("rollback:")  # few runs reach one, so more of them fail
        kinds = ["", "", "slow"] if undoes else ["", "", "", "", "", "slow"]
        if self._failures:
            kinds += ["fails"] * 4 + ["fails for good"] * 3 if policy.attempts > 1 else ["fails for good"]
            kinds += ["fails after its effect"] * 2 if self._is_real(call) else []
            kinds += ["hangs"] if call.timeout is not None and call.timeout <= PATIENCE else []
        kind = draw(st.sampled_from(kinds))
        if kind:
            self.chosen[call.id] = kind
        match kind:
            case "slow":
                return StepOutcome(seconds=draw(st.sampled_from([0.01, LEASE / 2, 3 * LEASE])))
            case "fails":
                return StepOutcome(fails=draw(st.integers(1, min(policy.attempts - 1, 5))))
            case "fails for good":
                return StepOutcome(fails=policy.attempts)
            case "fails after its effect":
                return StepOutcome(fails=draw(st.integers(1, min(policy.attempts, 5))), after=True)
            case "hangs":
                return StepOutcome(fails=draw(st.integers(1, min(policy.attempts, 5))), hangs=True)
            case _:
                return StepOutcome()

    def _is_real(self, call: Call) -> bool:
        """Return whether the real body runs, as a fact of the plan."""
        strategy, found = self._stand_in(call)
        return bool(self._choices.fact(found.is_real if found is not None else strategy is None))

    def _body(self, call: Call) -> Callable[[], Any]:
        """Return the function to run instead of the body: a stub, a value drawn once, or the real body."""
        strategy, found = self._stand_in(call)
        is_stub = found is not None and not found.is_real
        way = self._choices.fact("stub" if is_stub else "drawn" if strategy is not None else "real")
        if way == "real":
            return lambda: real(call)
        if way == "stub":
            return lambda: self._choices.outcome(lambda: found.run(call) if found is not None else None)
        if call.token not in self._values:
            self._values[call.token] = self._choices.draw(strategy if strategy is not None else st.none())
        value = self._values[call.token]
        return lambda: value

    def _stand_in(self, call: Call) -> tuple[st.SearchStrategy[Any] | None, Stub | None]:
        """Return the strategy or the stub of a step; neither for one whose real body runs."""
        for key in (call.id, plain(call.id), call.fn):
            if key in self._strategies:
                return self._strategies[key], None
        found = self.find(call)
        return (None, found) if found is not None else (strategy_of(call.fn), None)


def _fail(call: Call, outcome: StepOutcome) -> Any:
    if outcome.hangs:
        raise Hangs
    policy = getattr(getattr(call.command, "options", None), "retry", ONCE)
    text = f"{call.id}, attempt {call.attempt} of {policy.attempts}"
    if not issubclass(InjectedFailure, policy.on) or issubclass(InjectedFailure, policy.never):
        try:
            raised = policy.on[0](text)
        except Exception:  # the class takes other arguments
            raised = InjectedFailure(text)
        raise raised
    raise InjectedFailure(text)


def _fail_after(call: Call, outcome: StepOutcome) -> Any:
    value = real(call)
    return _fail_later(value, call, outcome) if inspect.iscoroutine(value) else _fail(call, outcome)


async def _fail_later(coroutine: Any, call: Call, outcome: StepOutcome) -> Any:
    await coroutine
    return _fail(call, outcome)


def _slow(value: Any, seconds: float) -> Any:
    return Takes(seconds + value.seconds, value.value) if isinstance(value, Takes) else Takes(seconds, value)


def strategy_of(fn: Callable[..., Any]) -> st.SearchStrategy[Any] | None:
    """Return a strategy for a function's return annotation, None if it has none or cannot be drawn."""
    try:
        annotation = typing.get_type_hints(fn).get("return")
    except (TypeError, NameError, AttributeError):
        return None
    if annotation is None or annotation is Any:
        return None
    try:
        strategy = st.from_type(annotation)
        strategy.validate()
    except Exception:  # Hypothesis cannot draw it: the real body runs
        return None
    return strategy
