"""Definitions: `@workflow`, `Signal` and `Event`, checked when they are made."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import attrs

from replay.core.errors import NotSerializable, SignalRefused
from replay.core.ids import check_id, defined_id
from replay.core.retry import Retry
from replay.core.times import Seconds, duration, time_limit
from replay.input_types import Unfit, annotation_of, converted, type_name
from replay.payload_types import check_payload, check_type

if TYPE_CHECKING:
    from replay.core.commands import Flow
    from replay.core.context import Context
    from replay.ports import Codec

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


@attrs.frozen
class Signal(Generic[T]):
    """A message that an execution can wait for: its id, and the type of its payload (None: any value)."""

    id: str
    payload_type: type[T] | None = None

    def __attrs_post_init__(self) -> None:
        check_id(self.id, "signal")
        check_type("signal", self.id, self.payload_type)

    def check(self, payload: T) -> None:
        """Refuse a payload of another type.

        Raises:
            SignalRefused: *payload* is not of `payload_type`.
        """
        check_payload("signal", self.id, self.payload_type, payload, SignalRefused)


@attrs.frozen
class Event(Generic[T]):
    """A message that workflows emit and `engine.on` handles: its id, and the type of its payload (None: any value)."""

    id: str
    payload_type: type[T] | None = None

    def __attrs_post_init__(self) -> None:
        check_id(self.id, "event")
        check_type("event", self.id, self.payload_type)

    def check(self, payload: T) -> None:
        """Refuse a payload of another type.

        Raises:
            TypeError: *payload* is not of `payload_type`.
        """
        check_payload("event", self.id, self.payload_type, payload, TypeError)


class Workflow(Generic[In, Out]):
    """A decorated workflow function; calling it gives its generator, so that workflows compose by `yield from`.

    Attributes:
        fn: The function itself.
        key: Stable name under which executions are stored.
        version: Executions stay on the version that they were started with.
    """

    def __init__(
        self,
        fn: Callable[..., Generator[Any, Any, Out]],
        *,
        key: str | None = None,
        category: str | None = None,
        signals: Sequence[Signal[Any]] | None = None,
        retry: Retry | int | None = None,
        timeout: Seconds | None = None,
        version: str | int = "",
        queue: str = "default",
        metadata: Mapping[str, Any] | None = None,
        rollback_on_failure: bool = False,
        retention: Seconds | None = None,
        priority: int = 0,
    ) -> None:
        self.takes_input, self._has_default = _check_function(fn)
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.key = check_id(fn.__name__ if key is None else key, "workflow key")
        self.category = category
        self.signals = None if signals is None else _check_signals(signals, self.key)
        self.retry = None if retry is None else Retry.of(retry)
        self.timeout = None if timeout is None else time_limit(timeout, "workflow(timeout=)")
        self.version = _check_version(version)
        self.queue = check_id(queue, "queue")
        self.metadata = check_metadata(metadata, f"workflow {self.key!r}")
        self.rollback_on_failure = rollback_on_failure
        self.retention = None if retention is None else duration(retention, "workflow(retention=)")
        self.priority = check_priority(priority)

    @overload
    def __call__(self, ctx: Context, input: In, /) -> Flow[Out]: ...
    @overload
    def __call__(self, ctx: Context, /) -> Flow[Out]: ...
    def __call__(self, ctx: Context, /, *input: Any) -> Flow[Out]:
        """Make the workflow's generator, to delegate to with `yield from`."""
        return self.fn(ctx, *input)

    def generator(self, ctx: Context, input: Any) -> Flow[Out]:
        """Make the generator that the engine drives. Without an input (None) the function's own default applies, if it has one."""
        if not self.takes_input or (input is None and self._has_default):
            return self.fn(ctx)
        return self.fn(ctx, input)

    @property
    def signal_ids(self) -> frozenset[str] | None:
        """The ids of the signals that it takes; None: any."""
        return None if self.signals is None else frozenset(signal.id for signal in self.signals)

    @functools.cached_property
    def input_type(self) -> Any:
        """The annotated type of the input; `Any` without one. Resolved when it is first asked for."""
        return annotation_of(self.fn)

    def input_value(self, input: Any) -> Any:
        """Return *input* as the annotated type, converted from plain data where that is needed.

        Raises:
            TypeError: It is of another type, or the workflow takes none.
        """
        if not self.takes_input:
            if input is None:
                return None
            raise TypeError(f"workflow {self.key!r} takes no input, but got {str(input)[:80]!r}")
        if input is None and self._has_default:
            return None
        try:
            return converted(self.input_type, input)
        except Unfit as unfit:
            raise self._unfit_input(input, unfit) from unfit.__cause__

    def _unfit_input(self, input: Any, unfit: Unfit) -> TypeError:
        expected = type_name(self.input_type)
        why = f" ({' '.join(str(unfit.__cause__).split())[:200]})" if unfit.__cause__ is not None else ""
        inside = (
            f": input{unfit.path} is {type(unfit.value).__name__}, not {type_name(unfit.expected)}"
            if unfit.path
            else ""
        )
        return TypeError(
            f"workflow {self.key!r} takes {expected}, not {type(input).__name__} ({str(input)[:80]!r}){inside}{why}. "
            f"Fix: pass {expected}, or plain data of its fields"
        )

    def check_signal(self, id: str, payload: Any) -> None:
        """Refuse a signal that this workflow does not take, or a payload of another type.

        Raises:
            SignalRefused: The signal or its payload is refused.
        """
        if self.signals is None:
            return
        known = next((signal for signal in self.signals if signal.id == id), None)
        if known is None:
            names = ", ".join(signal.id for signal in self.signals) or "none"
            raise SignalRefused(f"workflow {self.key!r} takes no signal {id!r} (its signals: {names})")
        known.check(payload)

    def __repr__(self) -> str:
        return f"<workflow {self.key!r}{f' version {self.version}' if self.version else ''}>"


def check_metadata(metadata: Any, where: str) -> dict[str, Any]:
    """Return *metadata* as a dict, empty for None. It is stored as JSON, readable for people and indexes.

    Raises:
        TypeError: It is no mapping.
        NotSerializable: JSON would change it, or cannot hold it.
    """
    if not isinstance(metadata, Mapping | None):
        raise TypeError(f"{where}: metadata takes a mapping, not {metadata!r}. Fix: metadata={{'team': 'red'}}")
    found = dict(metadata or {})
    if not found:
        return found
    import json  # takes a while to load

    try:
        changed = json.loads(json.dumps(found, allow_nan=False)) != found
    except (TypeError, ValueError, RecursionError):
        changed = True
    if changed:
        raise NotSerializable(
            f"{where}: metadata {str(found)[:200]} is not what JSON can hold. "
            f"Fix: texts as keys; texts, finite numbers, booleans, None, lists and dicts of these as values"
        )
    return found


def _check_version(version: Any) -> str:
    """Return *version* as text. Refuse others: `None` must not become a version of that name."""
    if isinstance(version, bool) or not isinstance(version, str | int):
        raise TypeError(f"workflow(version=) takes a text or a whole number, not {version!r}. Fix: version='2'")
    return check_id(str(version), "workflow version") if version != "" else ""


def check_priority(value: int) -> int:
    """Return *value* if it is a priority (0 to 9, 9 first).

    Raises:
        ValueError: *value* is no priority.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9:
        raise ValueError(f"priority is a whole number from 0 to 9 (9 goes first), not {value!r}")
    return value


def _check_signals(signals: Any, key: str) -> tuple[Signal[Any], ...]:
    """Return *signals* as a tuple. Refuse all but lists of `Signal`s."""
    many = isinstance(signals, Iterable) and not isinstance(signals, str | bytes)
    for each in signals if many else [signals]:
        if not many or not isinstance(each, Signal):
            meant = (
                f"Signal({each!r})"
                if isinstance(each, str)
                else repr(each)
                if isinstance(each, Signal)
                else "Signal(...)"
            )
            raise TypeError(
                f"workflow {key!r}: signals= takes a list of Signals, not {signals!r}. Fix: signals=[{meant}]"
            )
    found: dict[str, Signal[Any]] = {}
    for each in signals:
        other = found.setdefault(each.id, each)
        if other.payload_type is not each.payload_type:
            raise TypeError(
                f"workflow {key!r}: signals= has {each.id!r} with two types, {type_name(other.payload_type)} and "
                f"{type_name(each.payload_type)}. Fix: one Signal for each id, perhaps Signal({each.id!r}, A | B)"
            )
    return tuple(found.values())


def _check_function(fn: Any) -> tuple[bool, bool]:
    """Return whether *fn* takes an input, and whether it has a default. Refuse functions that cannot be workflows."""
    name = getattr(fn, "__name__", repr(fn))
    if not hasattr(fn, "__name__") and callable(fn):
        raise TypeError(
            f"a workflow must be a function, not the {type(fn).__name__} {name}: its name is the key under which executions "
            f"are stored, and its code is what is replayed. Fix: write `def ...(ctx, input)` that delegates with `yield from`"
        )
    if inspect.isasyncgenfunction(fn) or inspect.iscoroutinefunction(fn):
        raise TypeError(
            f"workflow {name!r} is `async def`, but workflows are plain generators. "
            f"Fix: write `def {name}(ctx, ...)` and `yield` its commands; run async functions as steps"
        )
    if not inspect.isgeneratorfunction(fn):
        raise TypeError(
            f"workflow {name!r} is not a generator function: it never yields. "
            f"Fix: yield at least one command, such as `yield ctx.step(...)`, or write a plain function and run it as a step"
        )
    parameters = [
        p for p in inspect.signature(fn).parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    required = [p for p in parameters if p.default is p.empty]
    keyword_only = [
        p.name for p in inspect.signature(fn).parameters.values() if p.kind is p.KEYWORD_ONLY and p.default is p.empty
    ]
    if not parameters or len(required) > 2 or keyword_only:
        raise TypeError(
            f"workflow {name!r} must take `(ctx)` or `(ctx, input)`. Fix: bundle several inputs in one value"
        )
    return len(parameters) >= 2, len(parameters) >= 2 and len(required) < 2


@overload
def workflow(fn: Callable[[Context, In], Generator[Any, Any, Out]], /) -> Workflow[In, Out]: ...
@overload
def workflow(fn: Callable[[Context], Generator[Any, Any, Out]], /) -> Workflow[None, Out]: ...
@overload
def workflow(
    key: str | None = None,
    *,
    category: str | None = None,
    signals: Sequence[Signal[Any]] | None = None,
    retry: Retry | int | None = None,
    timeout: Seconds | None = None,
    version: str | int = "",
    queue: str = "default",
    metadata: Mapping[str, Any] | None = None,
    rollback_on_failure: bool = False,
    retention: Seconds | None = None,
    priority: int = 0,
) -> _Decorator: ...
def workflow(fn: Any = None, /, **options: Any) -> Any:
    """Make a generator function a workflow; bare, or with options.

    Args:
        fn: The function (bare use), or the key: the stable name under which executions are stored.
        key: The same by keyword (default: the function's name).
        category: For grouping in listings.
        signals: The signals that it takes; None: any.
        retry: Policy for further attempts of the whole workflow after an uncaught `StepFailed`.
        timeout: Seconds (or `timedelta`) within which an execution must end.
        version: Executions stay on the version that they were started with; register old and new side by side.
        queue: The execution queue, which workers choose.
        metadata: Shown by `engine.workflows()`, and copied to each execution.
        rollback_on_failure: Roll back by itself before an execution ends failed or cancelled.
        retention: Seconds (or `timedelta`) for which ended executions are kept; None: the engine's setting.
        priority: 0 to 9; executions of higher priority are taken first.

    Raises:
        TypeError: The function is not a generator function of `(ctx)` or `(ctx, input)`; `signals` is no list of them;
            `metadata` is not what JSON can hold.
        ValueError: The key is no id.
    """
    if fn is None or isinstance(fn, str):
        if fn is not None:
            options["key"] = fn
        return lambda function: Workflow(function, **options)
    return Workflow(fn, **options)


class _Decorator:
    """The type of `workflow(...)` with options. It has no instances."""

    @overload
    def __call__(self, fn: Callable[[Context, In], Generator[Any, Any, Out]], /) -> Workflow[In, Out]: ...
    @overload
    def __call__(self, fn: Callable[[Context], Generator[Any, Any, Out]], /) -> Workflow[None, Out]: ...
    def __call__(self, fn: Any, /) -> Any:
        raise NotImplementedError


def signal_id(signal: Signal[Any] | str) -> str:
    """Return the id of a signal given as a definition or by its id."""
    return check_id(defined_id(signal, "Signal", "signal"), "signal")


def top_level_packages(workflows: Iterable[Workflow[Any, Any]]) -> list[str]:
    """Return the top-level packages of *workflows*, whose classes may appear in their values."""
    found = {w.fn.__module__ for w in workflows}
    return sorted({name if name == "__main__" else name.partition(".")[0] for name in found})


def register(workflows: Iterable[Workflow[Any, Any]], codec: Codec) -> dict[tuple[str, str], Workflow[Any, Any]]:
    """Return *workflows* by key and version; make the codec trust their packages.

    Raises:
        TypeError: One is not a workflow.
        ValueError: Two different ones share key and version.
    """
    found: dict[tuple[str, str], Workflow[Any, Any]] = {}
    if isinstance(workflows, Workflow):
        raise TypeError(
            f"workflows= takes a list of workflows, not {workflows!r} itself. Fix: workflows=[{workflows.fn.__name__}]"
        )
    for each in workflows:
        if not isinstance(each, Workflow):
            raise TypeError(f"workflows=[...] takes functions decorated with @workflow, not {each!r}")
        other = found.setdefault((each.key, each.version), each)
        if other is not each:
            raise ValueError(
                f"two workflows have the key {each.key!r} and version {each.version!r}. Fix: give one another key= or version="
            )
    codec.trust(*top_level_packages(found.values()))
    return found
