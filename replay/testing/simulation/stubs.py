"""Stubs for step bodies: `steps={"charge": fails(Busy, times=2)}`."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from replay.core.effects import Call


class Hangs(BaseException):
    """Raised by a stub whose body never returns."""


class KitRefusal(AssertionError):
    """The kit cannot run a step. Ends the test: a refusal must not look like a failure of the step."""


class NotStubbed(KitRefusal):
    """Raised in a `strict` simulation for a step without a stub."""


@attrs.frozen
class Stub:
    """Stand-in for a step's body.

    Attributes:
        run: Called with the `Call`, instead of the body.
    """

    run: Callable[[Call], Any]

    @property
    def is_real(self) -> bool:
        """True if it stands for the real body."""
        return self.run is real


def stub(fn: Callable[[Call], Any]) -> Stub:
    """Return a stub that calls *fn* with the `Call` itself: its id, arguments, attempt and token."""
    return Stub(fn)


@attrs.frozen
class RecordedCalls(Stub):
    """Stub of `calls`.

    Attributes:
        made: Positional and keyword arguments of each call, in order.
    """

    made: list[tuple[tuple[Any, ...], dict[str, Any]]] = attrs.field(factory=list)

    def __len__(self) -> int:
        return len(self.made)


def calls(fn: Any = None) -> RecordedCalls:
    """Return a stub that records its calls in `.made`, and stands for *fn*: `REAL`, a stub, a function or a value."""
    made: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def run(call: Call) -> Any:
        made.append((call.args, dict(call.kwargs)))
        return stand_in(fn, call)

    return RecordedCalls(run, made)


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
    """Return a stub that raises *error* in the first *times* attempts of each step (None: always), then acts as *then*.

    *then* is a value, `REAL` or another stub. Attempts are the step's own, so a crash does not use one up.
    """

    def run(call: Call) -> Any:
        if times is None or call.attempt <= times:
            raise error() if isinstance(error, type) else error
        return stand_in(then, call) if then is REAL or isinstance(then, Stub | Returns) else then

    return Stub(run)


class _Real:
    """Class of `REAL`."""

    def __repr__(self) -> str:
        return "REAL"


REAL: Any = _Real()
"""Stands for the real body, wherever a stub is taken: `steps={"*": REAL}`, `fails(Busy, times=2, then=REAL)`."""


def hangs() -> Stub:
    """Return a stub that never returns."""

    def run(call: Call) -> Any:
        raise Hangs

    return Stub(run)


def takes(seconds: float, value: Any = None) -> Stub:
    """Return a stub whose *value* arrives after *seconds* of virtual time. `REAL` stands for the body's result."""
    return Stub(lambda call: Takes(seconds, real(call) if value is REAL else value))


def real(call: Call) -> Any:
    """Run the real body."""
    return call.fn(*call.args, **call.kwargs)


def stand_in(what: Any, call: Call) -> Any:
    """Run *what*, a stub, a function or a value, instead of the body of *call*."""
    made = as_stub(what)
    return made.of(0) if isinstance(made, Returns) else made.run(call)


def as_stub(what: Any) -> Stub | Returns:
    """Return what a value of `steps=` means.

    A function is called with the step's own arguments. One whose first parameter is annotated as `Call`, or named `call` where
    the body has no such parameter, gets the `Call`.
    """
    if what is REAL:
        return Stub(real)
    if isinstance(what, Stub | Returns):
        return what
    if not callable(what):
        return Returns((what,))
    return Stub(what) if _annotated(what) else Stub(lambda call: _as_body(what, call))


def _annotated(fn: Callable[..., Any]) -> bool:
    """Return whether the first parameter of *fn* is annotated as `Call`."""
    first = next(iter(_parameters(fn)), "")
    try:
        return bool(first) and typing.get_type_hints(fn).get(first) is Call
    except (TypeError, NameError, AttributeError):  # the annotation is not found
        return False


def _parameters(fn: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):  # a built-in function has no signature
        return []


def _as_body(fn: Callable[..., Any], call: Call) -> Any:
    """Call *fn* as the body that it replaces, or with the `Call` if that is the name of its only parameter."""
    if _parameters(fn) == ["call"] and "call" not in _parameters(call.fn):
        return fn(call)
    try:
        inspect.signature(fn).bind(*call.args, **call.kwargs)
    except TypeError as error:
        raise KitRefusal(
            f"the stub of step {call.id!r} does not take the step's arguments ({error}). "
            f"Fix: give it the body's parameters, or write stub(fn) for a function of the Call"
        ) from None
    except ValueError:  # a built-in function has no signature
        pass
    return fn(*call.args, **call.kwargs)


class Stubs:
    """Stubs of one simulation, found by a step's full id, its id without scope and number, its function, or `*`."""

    def __init__(self, steps: Mapping[Any, Any] | None, *, strict: bool = False) -> None:
        self._steps = {key: as_stub(what) for key, what in (steps or {}).items()}
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
        found = self.find(call)
        if found is not None:
            return lambda: found.run(call)
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
            found = self._steps.get(key)
            if found is None:
                continue
            self._met.add(key)
            if isinstance(found, Returns):
                turns = self._turns.setdefault((key, call.execution_id), {})
                value = found.of(turns.setdefault(call.token, len(turns)))
                return Stub(_constant(value))
            return found
        return None


def _constant(value: Any) -> Callable[[Call], Any]:
    return lambda call: value


def plain(id: str) -> str:
    """Return a step's id without its scope and number. A compensation's id is returned unchanged."""
    return id if id.startswith("rollback:") else id.rsplit("/", 1)[-1].split("#", 1)[0]
