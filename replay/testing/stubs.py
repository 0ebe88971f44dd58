"""Stand-ins for step bodies: `steps={"charge": fails(Busy, times=2)}`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from replay.core.effects import Call

Stub = Callable[[Call], Any]


class Hangs(BaseException):
    """Raised by a stub for a body that never returns; the simulator then loses the call."""


@attrs.frozen
class Takes:
    """A body's result that comes `seconds` of virtual time later."""

    seconds: float
    value: Any


def returns(*values: Any) -> Stub:
    """Return the given values in turn, the last one for ever."""
    turns: Iterator[Any] = itertools.chain(values[:-1], itertools.repeat(values[-1] if values else None))
    return lambda call: next(turns)


def fails(error: BaseException | type[BaseException], times: int | None = None, then: Any = None) -> Stub:
    """Raise *error*, *times* times (None: always) for each step, then return *then* (a function is run for real).

    Counts by the step's attempts, so that a crash in between does not use one up.
    """

    def stub(call: Call) -> Any:
        if times is None or call.attempt <= times:
            raise error() if isinstance(error, type) else error
        return call.fn(*call.args, **call.kwargs) if then is REAL else then

    return stub


REAL: Any = object()
"""`fails(Busy, times=2, then=REAL)`: run the real body after the failures."""


def hangs() -> Stub:
    """Never return."""

    def stub(call: Call) -> Any:
        raise Hangs

    return stub


def takes(seconds: float, value: Any = None) -> Stub:
    """Return *value* after *seconds* of virtual time."""
    return lambda call: Takes(seconds, value)


class Stubs:
    """Finds the stub for a call: by the step's full id, by its id without scope and number, or by its function."""

    def __init__(self, steps: Mapping[Any, Any] | None, *, strict: bool = False) -> None:
        self._steps = {key: stub if callable(stub) else returns(stub) for key, stub in (steps or {}).items()}
        self._strict = strict

    def run(self, call: Call) -> Any:
        """Return what the call's stub (or real body) returns, raise what it raises.

        Raises:
            AssertionError: The step is not stubbed, and `strict`.
        """
        plain = call.id.rsplit("/", 1)[-1].split("#", 1)[0] if not call.id.startswith("rollback:") else call.id
        for key in (call.id, plain, call.fn, "*"):
            stub = self._steps.get(key)
            if stub is not None:
                return stub(call)
        if self._strict:
            raise AssertionError(
                f"step {call.id!r} is not stubbed. Fix: steps={{{plain!r}: returns(...)}}, or strict=False"
            )
        return call.fn(*call.args, **call.kwargs)
