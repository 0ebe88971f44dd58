"""`Context`: command builders and replay-safe queries for workflow code."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Never, ParamSpec, TypeVar, cast, overload

from replay.core import commands as c
from replay.core import times
from replay.core.ids import check_id, check_key, check_step_id, defined_id
from replay.core.not_yielded import NotYielded
from replay.core.outcomes import Completed, Received, TimedOut, Winner
from replay.core.protocols import EventOf, SignalOf, Sources, WorkflowOf
from replay.core.times import Instant, Seconds

if TYPE_CHECKING:
    import logging
    import random
    import uuid

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
C = TypeVar("C")
J = TypeVar("J", bound="c.All[Any] | c.Race[Any]")
U = TypeVar("U")
A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")
A4 = TypeVar("A4")
A5 = TypeVar("A5")
A6 = TypeVar("A6")
A7 = TypeVar("A7")
A8 = TypeVar("A8")
K = TypeVar("K")
In = TypeVar("In")

OnParentClose = Literal["cancel", "abandon", "wait"]


_identity = id
"""The built-in function, hidden by parameters."""


class Context:
    """One execution's view of the engine.

    Its commands do nothing until they are yielded. `now`, `uuid`, `random`, `patched`, `log`, `execution_id`, `attempt`
    and `replaying` are not yielded.
    """

    __slots__ = ("_answer_patch", "_now", "_sources", "attempt", "execution_id", "not_yielded", "replaying")

    def __init__(
        self,
        execution_id: str,
        sources: Sources,
        answer_patch: Callable[[str], bool],
        *,
        attempt: int = 1,
        now: float = 0.0,
    ) -> None:
        self.execution_id = execution_id
        self.attempt = attempt
        self.replaying = True
        self._sources = sources
        self._answer_patch = answer_patch
        self._now = now
        self.not_yielded = NotYielded()

    # --- commands ------------------------------------------------------------------------------

    @overload
    def step(self, id: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> c.Step[T]: ...
    @overload
    def step(self, id: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> c.Step[T]: ...
    def step(self, id: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> c.Step[Any]:
        """Run `fn(*args, **kwargs)` once and record what it returns (an `async def` is run to its end).

        Chain `.retry(Retry or int)`, `.timeout(seconds)`, `.down(undo)`, `.at_most_once()`, `.settled()`.

        Raises (at the yield):
            StepFailed: The function raised (after its retries); the cause is in `.cause`.
        """
        command: c.Step[Any] = c.Step(id, fn, args, kwargs)
        not_yielded = self.not_yielded
        not_yielded.append(command)
        if not self.replaying:
            not_yielded.lines[_identity(command)] = sys._getframe(1).f_lineno
        return command

    def sleep(self, duration: Seconds, id: str | None = None) -> c.Sleep:
        """Wait for *duration* (seconds or `timedelta`), durably, holding no thread."""
        return self._built(c.Sleep(_id(id, "sleep"), seconds=times.duration(duration, "ctx.sleep")))

    def sleep_until(self, when: Instant, id: str | None = None) -> c.Sleep:
        """Wait until *when* (aware `datetime`, or seconds since the epoch); at once if it has passed."""
        return self._built(c.Sleep(_id(id, "sleep"), until=times.instant(when, "ctx.sleep_until")))

    @overload
    def wait_for_signal(
        self, signal: SignalOf[T], timeout: None = None, id: str | None = None
    ) -> c.WaitForSignal[T]: ...
    @overload
    def wait_for_signal(
        self, signal: SignalOf[T], timeout: Seconds, id: str | None = None
    ) -> c.WaitForSignal[Received[T] | TimedOut]: ...
    @overload
    def wait_for_signal(
        self, signal: str, timeout: Seconds | None = None, id: str | None = None
    ) -> c.WaitForSignal[Any]: ...
    def wait_for_signal(self, signal: Any, timeout: Any = None, id: str | None = None) -> c.WaitForSignal[Any]:
        """Take the oldest waiting signal, or wait for the next one. Early signals are kept, first in first out.

        Returns (from the yield): the payload; with *timeout* (seconds or `timedelta`) `Received(payload)` or `TimedOut()`.
        """
        name = check_id(defined_id(signal, "Signal", "ctx.wait_for_signal"), "signal")
        limit = None if timeout is None else times.duration(timeout, "ctx.wait_for_signal(timeout=)")
        return self._built(c.WaitForSignal(_id(id, name), name, limit, None if isinstance(signal, str) else signal))

    def switch(
        self,
        id: str,
        value: Any,
        branches: Iterable[c.Branch[T]],
        default: c.Branch[T] | T | Callable[..., Any] | None = None,
    ) -> c.Switch[T]:
        """Run the first branch that matches *value*; the choice is recorded before it runs, matchers never run on replay.

        *default* is a `Branch`, or what such a branch would `run`.

        Raises (at the yield):
            NoBranchMatched: No branch matched, and there is no default.
        """
        if default is not None and not isinstance(default, c.Branch):
            default = c.Branch("default", None, default)
        found = tuple(branches)
        for each in found:
            if not isinstance(each, c.Branch):
                raise TypeError(f"switch {id!r}: branches are Branch(id, match, run), not {each!r}")
        names = [b.id for b in found] + ([default.id] if default is not None else [])
        if len(set(names)) != len(names):
            raise ValueError(f"switch {id!r}: branch ids must differ, not {names}")
        self.not_yielded.use(*(branch.run for branch in found), *([default.run] if default is not None else []))
        return self._built(c.Switch(id, value, found, default))

    def rollback(self) -> c.Rollback:
        """Run the registered compensations, newest first; gives a `RollbackReport`."""
        return self._built(c.Rollback())

    def emit(self, event: EventOf[T] | str, payload: T | None = None, id: str | None = None) -> c.Emit:
        """Publish *event* on the bus, once it is recorded; best effort, not repeated on replay.

        Raises:
            TypeError: *payload* is not of the event's type.
        """
        name = check_id(defined_id(event, "Event", "ctx.emit"), "event")
        if not isinstance(event, str):
            event.check(cast("T", payload))
        return self._built(c.Emit(_id(id, name), name, payload))

    def start(
        self,
        id: str,
        workflow: WorkflowOf[In, Any],
        input: In | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: Seconds | None = None,
        on_parent_close: OnParentClose = "cancel",
    ) -> c.Start[str]:
        """Start a child execution and go on; gives its execution id."""
        return self._built(_start(id, workflow, input, idempotency_key, timeout, on_parent_close, wait=False))

    def child(
        self,
        id: str,
        workflow: WorkflowOf[In, T],
        input: In | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: Seconds | None = None,
        on_parent_close: OnParentClose = "cancel",
    ) -> c.Start[T]:
        """Start a child execution and wait for its result.

        Raises (at the yield):
            ExecutionFailed, ExecutionCancelled: The child ended without a result.
        """
        return self._built(
            cast("c.Start[T]", _start(id, workflow, input, idempotency_key, timeout, on_parent_close, wait=True))
        )

    @overload
    def wait_for_execution(
        self, workflow: WorkflowOf[Any, T], execution_id: str, timeout: None = None, id: str | None = None
    ) -> c.WaitForExecution[T]: ...
    @overload
    def wait_for_execution(
        self, workflow: WorkflowOf[Any, T], execution_id: str, timeout: Seconds, id: str | None = None
    ) -> c.WaitForExecution[Completed[T] | TimedOut]: ...
    def wait_for_execution(
        self, workflow: Any, execution_id: str, timeout: Any = None, id: str | None = None
    ) -> c.WaitForExecution[Any]:
        """Wait until an execution ends; gives its result, with *timeout* `Completed(value)` or `TimedOut()`.

        Raises (at the yield):
            ExecutionFailed, ExecutionCancelled: It ended without a result.
            WrongExecution: It is this execution itself, or one of another workflow.
            UnknownExecution: There is no such execution.
        """
        check_id(execution_id, "execution id")
        if not hasattr(workflow, "key"):
            raise TypeError(
                f"ctx.wait_for_execution takes a workflow (decorated with @workflow) and an execution id, not {workflow!r}"
            )
        limit = None if timeout is None else times.duration(timeout, "ctx.wait_for_execution(timeout=)")
        return self._built(c.WaitForExecution(_id(id, f"wait:{execution_id}"[:200]), execution_id, limit, workflow.key))

    @overload
    def all(self, *, limit: int | None = None, id: str | None = None) -> c.All[tuple[()]]: ...
    @overload
    def all(  # type: ignore[overload-overlap]  # a sub-flow; a generator expression takes nothing sent
        self, a: c.Command[A1] | c.SubFlow[A1], /, *, limit: int | None = None, id: str | None = None
    ) -> c.All[tuple[A1]]: ...
    @overload
    def all(
        self,
        a: c.Member[A1],
        b: c.Member[A2],
        /,
        *,
        limit: int | None = None,
        id: str | None = None,
    ) -> c.All[tuple[A1, A2]]: ...
    @overload
    def all(
        self,
        a: c.Member[A1],
        b: c.Member[A2],
        d: c.Member[A3],
        /,
        *,
        limit: int | None = None,
        id: str | None = None,
    ) -> c.All[tuple[A1, A2, A3]]: ...
    @overload
    def all(
        self,
        a: c.Member[A1],
        b: c.Member[A2],
        d: c.Member[A3],
        e: c.Member[A4],
        /,
        *,
        limit: int | None = None,
        id: str | None = None,
    ) -> c.All[tuple[A1, A2, A3, A4]]: ...
    @overload
    def all(
        self,
        a: c.Member[A1],
        b: c.Member[A2],
        d: c.Member[A3],
        e: c.Member[A4],
        f: c.Member[A5],
        /,
        *,
        limit: int | None = None,
        id: str | None = None,
    ) -> c.All[tuple[A1, A2, A3, A4, A5]]: ...
    @overload
    def all(
        self,
        a: c.Member[A1],
        b: c.Member[A2],
        d: c.Member[A3],
        e: c.Member[A4],
        f: c.Member[A5],
        g: c.Member[A6],
        /,
        *,
        limit: int | None = None,
        id: str | None = None,
    ) -> c.All[tuple[A1, A2, A3, A4, A5, A6]]: ...
    @overload
    def all(
        self,
        a: c.Member[A1],
        b: c.Member[A2],
        d: c.Member[A3],
        e: c.Member[A4],
        f: c.Member[A5],
        g: c.Member[A6],
        h: c.Member[A7],
        /,
        *,
        limit: int | None = None,
        id: str | None = None,
    ) -> c.All[tuple[A1, A2, A3, A4, A5, A6, A7]]: ...
    @overload
    def all(
        self,
        a: c.Member[A1],
        b: c.Member[A2],
        d: c.Member[A3],
        e: c.Member[A4],
        f: c.Member[A5],
        g: c.Member[A6],
        h: c.Member[A7],
        i: c.Member[A8],
        /,
        *,
        limit: int | None = None,
        id: str | None = None,
    ) -> c.All[tuple[A1, A2, A3, A4, A5, A6, A7, A8]]: ...
    @overload
    def all(  # nine and more: members of one type
        self,
        a: c.Member[T],
        b: c.Member[T],
        d: c.Member[T],
        e: c.Member[T],
        f: c.Member[T],
        g: c.Member[T],
        h: c.Member[T],
        i: c.Member[T],
        j: c.Member[T],
        /,
        *more: c.Member[T],
        limit: int | None = None,
        id: str | None = None,
    ) -> c.All[tuple[T, ...]]: ...
    @overload
    def all(  # type: ignore[overload-overlap]
        self, members: Mapping[K, c.Member[T]], /, *, limit: int | None = None, id: str | None = None
    ) -> c.All[dict[K, T]]: ...
    @overload
    def all(
        self, members: Iterable[c.Member[T]], /, *, limit: int | None = None, id: str | None = None
    ) -> c.All[list[T]]: ...
    def all(self, *members: Any, limit: int | None = None, id: str | None = None) -> c.All[Any]:
        """Run members side by side, at most *limit* at a time; gives their results in the shape they came in.

        A member is a command, or a generator of commands. On the first failure members that wait are cancelled, running
        steps settle (so that a rollback knows them), then the failure is raised.
        """
        _check_limit(limit, "ctx.all")
        if not members:
            return self._built(c.All(_id(id, "all"), (), (), "tuple", limit))
        found, names, shape = c.shape_members(members[0], members[1:], "ctx.all")
        keys = tuple(members[0]) if shape == "dict" else ()
        return self._joined(c.All(_id(id, "all"), found, names, shape, limit, keys))

    def map(self, id: str, fn: Callable[[U], T], items: Iterable[U], *, limit: int | None = None) -> c.All[list[T]]:
        """Run step `fn(item)` for each item side by side, at most *limit* at a time; gives the list of results."""
        steps: tuple[c.Step[T], ...] = tuple(c.Step(id, fn, (item,)) for item in items)
        _check_limit(limit, "ctx.map")
        return self._built(c.All(id, steps, tuple(map(str, range(len(steps)))), "list", limit))

    @overload
    def race(self, members: Mapping[str, c.Member[T]], /) -> c.Race[Winner[T]]: ...
    @overload
    def race(self, /, **members: c.Member[T]) -> c.Race[Winner[T]]: ...
    def race(self, /, *members: Any, **named: Any) -> c.Race[Any]:
        """Run named members side by side until the first settles; gives `Winner(name, value)`, or raises its failure.

        The winner is recorded; the others are cancelled, their timers and waits removed.
        """
        if len(members) > 1 or not all(isinstance(each, Mapping) for each in members):
            raise TypeError("ctx.race takes named members, or one mapping of them: ctx.race(paid=..., expired=...)")
        found = {**(members[0] if members else {}), **named}
        if not found:
            raise ValueError("ctx.race needs at least one member; an empty race would never end")
        return self._joined(c.Race("race", tuple(found.values()), tuple(map(str, found))))

    def note(self, text: str, /, **data: Any) -> c.Note:
        """Put a line of your own into the audit trail."""
        return self._built(c.Note("note", text, data))

    def continue_as_new(self, input: object) -> Never:
        """Return this to begin anew with *input* and an empty log; the id and undelivered signals stay.

        To type checkers it is `Never`, which fits whatever the workflow returns; it does give a value, to be returned.
        """
        return self._built(c.ContinueAsNew(input))  # type: ignore[misc]

    # --- not yielded -----------------------------------------------------------------------------

    def now(self) -> float:
        """Return the time of the last log entry seen: seconds since the epoch, UTC; never goes back."""
        return self._now

    def uuid(self) -> uuid.UUID:
        """Return a UUID, the same on every replay."""
        return self._sources.uuid()

    def random(self, stream: str = "") -> random.Random:
        """Return a `random.Random` seeded by this execution and *stream*; streams do not disturb one another."""
        return self._sources.random(stream)

    def patched(self, change_id: str) -> bool:
        """Tell whether to run the code as changed: True for new executions, False where the log was written before.

        Decided once for each execution and change, and recorded.
        """
        return self._answer_patch(check_step_id(change_id, "change"))

    @property
    def log(self) -> logging.Logger | logging.LoggerAdapter[Any]:
        """A logger that is silent while replaying."""
        return self._sources.log(lambda: self.replaying)

    # --- for the engine --------------------------------------------------------------------------

    def advance_to(self, at: float) -> None:
        """Move `now` forward to *at*, the instant of a log entry (seconds since the epoch); never back."""
        if at > self._now:
            self._now = at

    def _built(self, command: C, above: int = 2) -> C:
        """Note that *command* was built by the code *above* frames up."""
        self.not_yielded.append(command)
        if not self.replaying:
            self.not_yielded.lines[_identity(command)] = sys._getframe(above).f_lineno
        return command

    def _joined(self, command: J) -> J:
        """As `_built`, for a command whose members are thereby used."""
        _check_unbegun(command.members)
        self.not_yielded.use(*command.members)
        return self._built(command, 3)


def _check_limit(limit: Any, where: str) -> None:
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"{where}(limit=...) must be a whole number, at least 1, not {limit!r}")


def _check_unbegun(members: tuple[Any, ...]) -> None:
    """Refuse a generator that runs already, or stands there twice: it would give its results to one member only."""
    seen: set[int] = set()
    for member in members:
        if not isinstance(member, Generator):
            continue
        begun = getattr(member, "gi_suspended", False) or getattr(member, "gi_frame", member) is None
        if begun or id(member) in seen:
            name = getattr(member, "__name__", "helper")
            raise ValueError(
                f"a member is a generator that {'has begun already' if begun else 'stands there twice'}. "
                f"Fix: call {name}(...) anew for each member"
            )
        seen.add(id(member))


def _id(given: str | None, default: str) -> str:
    """Return a command's id; an empty one stays, and is refused at the yield."""
    return default if given is None else given


def _start(
    id: str, workflow: Any, input: Any, key: str | None, timeout: Any, on_parent_close: str, *, wait: bool
) -> c.Start[Any]:
    if on_parent_close not in ("cancel", "abandon", "wait"):
        raise ValueError(f"on_parent_close is 'cancel', 'abandon' or 'wait', not {on_parent_close!r}")
    if not hasattr(workflow, "key"):
        raise TypeError(f"child {id!r}: pass a workflow (decorated with @workflow), not {workflow!r}")
    if key is not None:
        check_key(key, "idempotency_key")
    limit = None if timeout is None else times.time_limit(timeout, "timeout")
    return c.Start(check_step_id(id, "Start"), workflow, input, key, limit, on_parent_close, wait)
