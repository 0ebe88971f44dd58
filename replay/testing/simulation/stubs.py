"""Stubs for step bodies: `steps={"charge": fails(Busy, times=2)}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from replay.core.effects import Call

Stub = Callable[[Call], Any]


class Hangs(BaseException):
    """Raised by a stub whose body never returns."""


class NotStubbed(AssertionError):
    """Raised in a `strict` simulation for a step without a stub."""


@attrs.frozen
class Takes:
    """Result that arrives after `seconds` of virtual time."""

    seconds: float
    value: Any


@attrs.frozen
class Returns:
    """Stub that returns its values in turn. Each execution starts with the first, and a repeated step gets its value again."""

    values: tuple[Any, ...]

    def of(self, turn: int) -> Any:
        """Return the value of turn *turn*, counted from 0. The last value repeats."""
        return self.values[min(turn, len(self.values) - 1)] if self.values else None


def returns(*values: Any) -> Returns:
    """Return a stub that returns *values* in turn. The last value repeats.

    Turns are counted for each execution, in the order in which steps start. A step that runs again after a crash gets its
    value again. Each simulation counts from the beginning.
    """
    return Returns(values)


def fails(error: BaseException | type[BaseException], times: int | None = None, then: Any = None) -> Stub:
    """Return a stub that raises *error* in the first *times* attempts of each step (None: always), then returns *then*.

    `then=REAL` runs the body instead. Attempts are the step's own, so a crash does not use one up.
    """

    def stub(call: Call) -> Any:
        if times is None or call.attempt <= times:
            raise error() if isinstance(error, type) else error
        return real(call) if then is REAL else then

    return stub


REAL: Any = object()
"""Stands for the real body: `fails(Busy, times=2, then=REAL)`."""


def hangs() -> Stub:
    """Return a stub that never returns."""

    def stub(call: Call) -> Any:
        raise Hangs

    return stub


def takes(seconds: float, value: Any = None) -> Stub:
    """Return a stub whose *value* arrives after *seconds* of virtual time. `REAL` stands for the body's result."""
    return lambda call: Takes(seconds, real(call) if value is REAL else value)


def real(call: Call) -> Any:
    """Run the real body."""
    return call.fn(*call.args, **call.kwargs)


class Stubs:
    """Stubs of one simulation, found by a step's full id, its id without scope and number, its function, or `*`."""

    def __init__(self, steps: Mapping[Any, Any] | None, *, strict: bool = False) -> None:
        self._steps = {key: stub if callable(stub) else _returning(stub) for key, stub in (steps or {}).items()}
        self._strict = strict
        self._turns: dict[tuple[Any, str], dict[str, int]] = {}
        self._met: set[Any] = set()

    def launched(self, call: Call) -> None:
        """Assign the call its turn: steps start in the log's order, but run in the scheduler's."""
        self.find(call)

    def prepare(self, call: Call) -> Callable[[], Any]:
        """Return the function to run instead of the body.

        Raises:
            NotStubbed: The simulation is `strict`, and the step has no stub.
        """
        stub = self.find(call)
        if stub is not None:
            return lambda: stub(call)
        if self._strict:
            unmet = [key for key in self._steps if key not in self._met]
            raise NotStubbed(
                f"step {call.id!r} is not stubbed{f' (stubs that no step has met: {unmet})' if unmet else ''}. "
                f"Fix: steps={{{plain(call.id)!r}: returns(...)}}, or strict=False"
            )
        return lambda: real(call)

    def find(self, call: Call) -> Stub | None:
        """Return the stub of a call, None if there is none."""
        for key in (call.id, plain(call.id), call.fn, "*"):
            stub: Any = self._steps.get(key)
            if stub is None:
                continue
            self._met.add(key)
            if isinstance(stub, Returns):
                turns = self._turns.setdefault((key, call.execution_id), {})
                value = stub.of(turns.setdefault(call.token, len(turns)))
                return lambda call: value
            found: Stub = stub
            return found
        return None


def _returning(value: Any) -> Returns:
    return value if isinstance(value, Returns) else Returns((value,))


def plain(id: str) -> str:
    """Return a step's id without its scope and number. A compensation's id is returned unchanged."""
    return id if id.startswith("rollback:") else id.rsplit("/", 1)[-1].split("#", 1)[0]
