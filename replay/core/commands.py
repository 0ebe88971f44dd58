"""Commands: inert, frozen values that a workflow yields. Nothing happens until one is yielded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast, overload

import attrs
import msgspec

from replay.core.outcomes import Err, Ok
from replay.core.retry import ONCE, Retry
from replay.core.times import Seconds, time_limit

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


class Signalled(Protocol):
    """The part of a signal's definition that `wait_for_signal` needs."""

    @property
    def id(self) -> str:
        """The signal's id."""
        ...


class Startable(Protocol):
    """The part of a workflow's definition that starting a child needs."""

    @property
    def key(self) -> str:
        """The workflow's stable key."""
        ...


class Command(Generic[T_co]):
    """Base of all commands. `T_co` is the type of the command's result.

    `yield command` gives the result as `Any`; `yield from command` gives it with its precise type.
    """

    __slots__ = ()

    def __iter__(self) -> Generator[Command[Any], Any, T_co]:
        return cast("T_co", (yield self))


Flow: TypeAlias = Generator[Command[Any], Any, T]
"""The return annotation of a workflow, and of the helpers it delegates to with `yield from`."""


@attrs.frozen
class StepOptions:
    """The options of a step, set by its chained methods."""

    retry: Retry = ONCE
    timeout: float | None = None
    down: Callable[[Any], Any] | None = None
    at_most_once: bool = False
    settled: bool = False


PLAIN = StepOptions()


class Step(Command[T_co], msgspec.Struct, frozen=True, eq=False):
    """Call `fn(*args, **kwargs)` in the thread pool, at least once. Its result is recorded for ever.

    It is a struct of msgspec, as frozen as an attrs value and built six times as fast: building steps is half of replaying them.
    Chain `.retry`, `.timeout`, `.down`, `.at_most_once`, `.settled`; each returns a new command.
    """

    id: str
    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict)
    options: StepOptions = PLAIN
    origin: Command[Any] | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        ours, theirs = ((s.id, s.fn, s.args, s.kwargs, s.options) for s in (self, other))
        return ours == theirs

    def __repr__(self) -> str:
        return f"Step(id={self.id!r}, args={self.args!r}, kwargs={self.kwargs!r}, options={self.options!r})"

    def _with(self, **changes: Any) -> Any:
        options = attrs.evolve(self.options, **changes)
        return Step(self.id, self.fn, self.args, self.kwargs, options, self.origin or self)

    def retry(self, policy: Retry | int) -> Step[T_co]:
        """Try again when the function raises; an integer counts all tries."""
        return cast("Step[T_co]", self._with(retry=Retry.of(policy)))

    def timeout(self, seconds: Seconds) -> Step[T_co]:
        """Fail an attempt with `StepTimeout` after *seconds* (or a `timedelta`); its thread is abandoned."""
        return cast("Step[T_co]", self._with(timeout=time_limit(seconds, f"step {self.id!r}: .timeout")))

    def down(self, undo: Callable[[T_co], Any]) -> Step[T_co]:
        """Register *undo*, called with the step's result if the workflow rolls back."""
        if not callable(undo):
            raise TypeError(f"step {self.id!r}: .down(...) takes a function of the step's result, not {undo!r}")
        return cast("Step[T_co]", self._with(down=undo))

    def at_most_once(self) -> Step[T_co]:
        """Record the beginning first; after a crash in between raise `StepInterrupted` instead of running again."""
        return cast("Step[T_co]", self._with(at_most_once=True))

    def settled(self) -> Step[Ok[T_co] | Err]:
        """Give the outcome as a value, `Ok(value)` or `Err(error)`, instead of raising."""
        return cast("Step[Ok[T_co] | Err]", self._with(settled=True))


@attrs.frozen
class Sleep(Command[None]):
    """Wait for `seconds` from now, or until the instant `until` (seconds since the epoch); holds no thread."""

    id: str
    seconds: float | None = None
    until: float | None = None


@attrs.frozen
class WaitForSignal(Command[T_co]):
    """Wait for the next buffered or arriving signal; with `timeout` (seconds) the result says which came first."""

    id: str
    signal: str
    timeout: float | None = None
    definition: Any = attrs.field(default=None, eq=False, repr=False)


Matcher: TypeAlias = "Callable[[Any], object] | object"


@attrs.frozen(init=False)
class Branch(Generic[T_co]):
    """One way out of a `ctx.switch`.

    Args:
        id: Recorded when the branch is chosen; must stay stable.
        match: A value to compare with `==`, or a predicate of the switched value. Never runs on replay.
        run: A value, a function giving one, or a function giving a generator to run; called without arguments, or with
            the switched value if it takes one.
    """

    id: str
    match: Any
    run: Any = None

    @overload
    def __init__(self, id: str, match: Matcher, run: Callable[[], Member[T_co]]) -> None: ...
    @overload
    def __init__(self, id: str, match: Matcher, run: Callable[[Any], Member[T_co]]) -> None: ...
    @overload
    def __init__(self, id: str, match: Matcher, run: Callable[[], T_co]) -> None: ...
    @overload
    def __init__(self, id: str, match: Matcher, run: Callable[[Any], T_co]) -> None: ...
    @overload
    def __init__(self, id: str, match: Matcher, run: Member[T_co]) -> None: ...
    @overload
    def __init__(self, id: str, match: Matcher, run: T_co) -> None: ...
    @overload
    def __init__(self: Branch[None], id: str, match: Matcher) -> None: ...
    def __init__(self, id: str, match: Any, run: Any = None) -> None:
        self.__attrs_init__(id, match, run)  # attrs makes it


@attrs.frozen
class Switch(Command[T_co]):
    """Choose a branch, record the choice, then run it."""

    id: str
    value: Any = attrs.field(repr=False)
    branches: tuple[Branch[Any], ...] = ()
    default: Branch[Any] | None = None


@attrs.frozen
class RollbackReport:
    """The step ids that a rollback undid, in order (newest first)."""

    undone: tuple[str, ...] = ()


@attrs.frozen
class Rollback(Command[RollbackReport]):
    """Run the registered compensations, newest first, each recorded as it ends."""

    id: str = "rollback"


@attrs.frozen
class Emit(Command[None]):
    """Publish an event on the bus once it is recorded; best effort, not repeated on replay."""

    id: str
    event: str
    payload: Any = attrs.field(default=None, repr=False)


@attrs.frozen
class Start(Command[T_co]):
    """Start a child execution; with `wait` the result is the child's, else its execution id."""

    id: str
    workflow: Startable
    input: Any = attrs.field(default=None, repr=False)
    key: str | None = None
    timeout: float | None = None
    on_parent_close: str = "cancel"
    wait: bool = False


@attrs.frozen
class WaitForExecution(Command[T_co]):
    """Wait until an execution ends; with `timeout` (seconds) the result is `Completed(value)` or `TimedOut()`.

    `workflow`: the key of the workflow that the execution must be of; None: of any.
    """

    id: str
    execution_id: str
    timeout: float | None = None
    workflow: str | None = None


Member: TypeAlias = "Command[T] | Generator[Command[Any], Any, T]"
"""A member of `ctx.all` or `ctx.race`: a command, or a generator of commands."""

SubFlow: TypeAlias = "Generator[Command[Any], object, T]"
"""A generator that takes what is sent to it: a sub-flow, and not a generator expression (which takes None)."""


@attrs.frozen
class All(Command[T_co]):
    """Run members side by side (at most `limit` at a time) and give their results in the shape they came in."""

    id: str
    members: tuple[Any, ...] = attrs.field(repr=False)
    names: tuple[str, ...] = ()
    shape: str = "tuple"
    limit: int | None = None
    keys: tuple[Any, ...] = ()


@attrs.frozen
class Race(Command[T_co]):
    """Run members side by side until the first settles; the others are cancelled."""

    id: str
    members: tuple[Any, ...] = attrs.field(repr=False)
    names: tuple[str, ...] = ()


@attrs.frozen
class Note(Command[None]):
    """Put a line of the user's own into the audit trail."""

    id: str
    text: str
    data: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class ContinueAsNew(Generic[T]):
    """Returned by a workflow (not yielded): begin anew with `input` and an empty log, under the same execution id."""

    input: T


AnyCommand: TypeAlias = (
    "Step[Any] | Sleep | WaitForSignal[Any] | Switch[Any] | Rollback | Emit | Start[Any] | WaitForExecution[Any]"
    " | All[Any] | Race[Any] | Note"
)
"""The closed union of commands: every `match` over it ends in `assert_never`."""


def _is_expression(generator: Generator[Any, Any, Any]) -> bool:
    """Tell whether *generator* is a generator expression, which gives members, and not a sub-flow, which is one."""
    code = getattr(generator, "gi_code", None)
    return code is not None and code.co_name == "<genexpr>"


def shape_members(first: Any, rest: tuple[Any, ...], what: str) -> tuple[tuple[Any, ...], tuple[str, ...], str]:
    """Return members, their names and the result's shape for `ctx.all(*cmds)`, `(iterable)` or `(mapping)`."""
    if rest or isinstance(first, Command) or (isinstance(first, Generator) and not _is_expression(first)):
        members = (first, *rest)
        return members, tuple(map(str, range(len(members)))), "tuple"
    if isinstance(first, Mapping):
        return tuple(first.values()), tuple(map(str, first)), "dict"
    if isinstance(first, Iterable) and not isinstance(first, str | bytes):
        members = tuple(first)
        return members, tuple(map(str, range(len(members)))), "list"
    raise TypeError(f"{what} takes commands, generators, one iterable of them or one mapping, not {first!r}")
