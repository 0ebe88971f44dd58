"""Stand-ins for step bodies: `steps={"charge": fails(Busy, times=2)}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from replay.core.effects import Call

Stub = Callable[[Call], Any]


class Hangs(BaseException):
    """Raised by a stub for a body that never returns; the simulator then loses the call."""


class NotStubbed(AssertionError):
    """A step without a stub, where `strict` refuses it."""


@attrs.frozen
class Takes:
    """A body's result that comes `seconds` of virtual time later."""

    seconds: float
    value: Any


@attrs.frozen
class Returns:
    """A stub that gives its values in turn: to each execution anew, and to a step the same value however often it runs."""

    values: tuple[Any, ...]

    def of(self, turn: int) -> Any:
        """Return the value of the *turn*-th step that meets this stub, from 0; the last one for ever."""
        return self.values[min(turn, len(self.values) - 1)] if self.values else None


def returns(*values: Any) -> Returns:
    """Return the given values in turn, the last one for ever.

    Counted for each execution by the steps that meet the stub, in the order in which they are launched; a step that runs again
    after a crash gets its value again, and each simulation counts from the beginning.
    """
    return Returns(values)


def fails(error: BaseException | type[BaseException], times: int | None = None, then: Any = None) -> Stub:
    """Raise *error*, *times* times (None: always) for each step, then return *then* (a function is run for real).

    Counts by the step's attempts, so that a crash in between does not use one up.
    """

    def stub(call: Call) -> Any:
        if times is None or call.attempt <= times:
            raise error() if isinstance(error, type) else error
        return real(call) if then is REAL else then

    return stub


REAL: Any = object()
"""`fails(Busy, times=2, then=REAL)`: run the real body after the failures."""


def hangs() -> Stub:
    """Never return."""

    def stub(call: Call) -> Any:
        raise Hangs

    return stub


def takes(seconds: float, value: Any = None) -> Stub:
    """Return *value* (`REAL`: what the body returns) after *seconds* of virtual time."""
    return lambda call: Takes(seconds, real(call) if value is REAL else value)


def real(call: Call) -> Any:
    """Run the body itself."""
    return call.fn(*call.args, **call.kwargs)


class Stubs:
    """Finds the stub for a call: by the step's full id, by its id without scope and number, or by its function.

    One for each simulation: it counts the turns of `returns`.
    """

    def __init__(self, steps: Mapping[Any, Any] | None, *, strict: bool = False) -> None:
        self._steps = {key: stub if callable(stub) else _returning(stub) for key, stub in (steps or {}).items()}
        self._strict = strict
        self._turns: dict[tuple[Any, str], dict[str, int]] = {}
        self._met: set[Any] = set()

    def launched(self, call: Call) -> None:
        """Give the call its turn: launches come in the log's order, runs in the scheduler's."""
        self.find(call)

    def prepare(self, call: Call) -> Callable[[], Any]:
        """Return what to do in the body's stead.

        Raises:
            NotStubbed: The step is not stubbed, and `strict`.
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
        """Return the stub that answers for this call, None if there is none."""
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
    """Return a step's id without its scope and number; a compensation's stays as it is."""
    return id if id.startswith("rollback:") else id.rsplit("/", 1)[-1].split("#", 1)[0]
