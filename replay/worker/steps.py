"""Step bodies: running one call, and `current_step` for the body."""

from __future__ import annotations

import contextvars
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import attrs

from replay.core.contexts import copied
from replay.core.effects import Call, Returned
from replay.core.errors import Cancelled, NotSerializable, PayloadTooLarge, describe_error
from replay.observability.step_context import prepare
from replay.ports import Codec
from replay.worker.async_steps import SHARED, StepLoop

Waiting = Callable[[Call, str], AbstractContextManager[None]]
"""Makes up for a call that waits for the execution with this id, for as long as it does."""


class CurrentStep:
    """A running step, as its body sees it.

    Attributes:
        id: The step's id in the log.
        execution_id: The step's execution.
        workflow: The execution's workflow, by key.
        attempt: The number of this attempt, from 1.
        cancelled: Event-like (`is_set()`, `wait(timeout)`, truth): the body is asked to stop.
        details: Details of the last `heartbeat` of the previous attempt (or of this one, in a process that died); None: none.
    """

    def __init__(self, call: Call) -> None:
        self.id = call.id
        self.execution_id = call.execution_id
        self.workflow = call.workflow
        self.attempt = call.attempt
        self.details = call.details
        self.cancelled = call.cancelled
        self._call = call

    @property
    def token(self) -> str:
        """Idempotency key for other systems: stable over attempts, crashes and workers."""
        self._call.token_read = True
        return self._call.token

    def heartbeat(self, details: Any = None) -> None:
        """Record the body's progress: the next attempt finds *details* in `.details`.

        A repetition of this attempt after a crash finds them, too. They may then be older by a quarter of the lease, because
        heartbeats are stored when leases are renewed.
        """
        self._call.beat = details
        self._call.beats += 1


class CancelFlag:
    """A `threading.Event` that cannot be cleared, and is true once set. Its lock is made by the first `wait`."""

    __slots__ = ("_callbacks", "_event", "_set")

    _making = threading.Lock()

    def __init__(self) -> None:
        self._set = False
        self._callbacks: tuple[Callable[[], None], ...] = ()
        self._event: threading.Event | None = None

    def __bool__(self) -> bool:
        return self._set

    def is_set(self) -> bool:
        """Tell whether the flag is set."""
        return self._set

    def set(self) -> None:
        """Set the flag and wake all waiting threads."""
        with self._making:
            self._set = True
            if self._event is not None:
                self._event.set()
            callbacks, self._callbacks = self._callbacks, ()
        for callback in callbacks:
            callback()

    def on_set(self, callback: Callable[[], None]) -> None:
        """Call *callback* when the flag is set, at once if it is."""
        with self._making:
            if not self._set:
                self._callbacks += (callback,)
                return
        callback()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, *timeout* seconds at most. Return whether it is set."""
        with self._making:
            if self._set:
                return True
            if self._event is None:
                self._event = threading.Event()
        return self._event.wait(timeout)


@attrs.frozen
class _Body:
    """A body that runs, as `current_step` and waits find it."""

    step: CurrentStep
    call: Call
    loop: StepLoop
    waiting: Waiting | None


_current: contextvars.ContextVar[_Body] = contextvars.ContextVar("replay_current_step")


def current_step() -> CurrentStep:
    """Return the running step.

    Raises:
        RuntimeError: Called outside a step's body.
    """
    try:
        return _current.get().step
    except LookupError:
        raise RuntimeError(
            "current_step() works in step bodies only. Fix: call it in the function that is passed to ctx.step"
        ) from None


@contextmanager
def as_current_step(step: CurrentStep, call: Call) -> Iterator[None]:
    """Make *step*, an attempt that *call* describes, the running step of the enclosed block."""
    before = _current.set(_Body(step, call, SHARED, None))
    try:
        yield
    finally:
        _current.reset(before)


def running_step() -> CurrentStep | None:
    """Return the running step; None outside a step's body."""
    body = _current.get(None)
    return None if body is None else body.step


def waiting_for(execution_id: str) -> AbstractContextManager[None]:
    """Return a context in which the caller may wait for an execution: if it is a step, its worker makes up for it.

    Raises:
        RuntimeError: The caller is an async step, which would hold up the event loop of all of them.
    """
    body = _current.get(None)
    if body is None:
        return nullcontext()
    if body.loop.is_this_thread():
        raise RuntimeError(
            f"step {body.step.id!r} waits for execution {execution_id!r} on the event loop, which all async steps share. "
            f"Fix: `yield from ctx.child(...)` in the workflow, or `await asyncio.to_thread(handle.result)`"
        )
    return nullcontext() if body.waiting is None else body.waiting(body.call, execution_id)


def run_call(
    call: Call, codec: Codec, payload_limit: int, *, loop: StepLoop = SHARED, waiting: Waiting | None = None
) -> Returned:
    """Run one call on this thread, in its own copy of the workflow's context. An exception of the body becomes its outcome.

    Args:
        call: The call.
        codec: Values to text and back.
        payload_limit: Largest encoded result, bytes.
        loop: Runs the body if it is a coroutine; default: one that all such calls of the process share.
        waiting: Makes up for a body that waits for executions.
    """
    began = time.perf_counter()
    if call.cancelled is None:
        call.cancelled = CancelFlag()
    context = copied(call.context)
    context.run(_current.set, _Body(CurrentStep(call), call, loop, waiting))
    context.run(prepare, call)
    try:
        value = context.run(call.fn, *call.args, **call.kwargs)
        if inspect.iscoroutine(value):
            value = loop.run(value, context, call.cancelled.on_set)
    except BaseException as error:
        return Returned(call, error=_asked(call, error), seconds=time.perf_counter() - began)
    return encoded(call, value, time.perf_counter() - began, codec, payload_limit)


def _asked(call: Call, error: BaseException) -> BaseException:
    """Return *error*, or `Cancelled` for a coroutine that was cancelled because its step was asked to stop."""
    if isinstance(error, Exception) or not call.cancelled.is_set() or type(error).__name__ != "CancelledError":
        return error
    return Cancelled("the step was asked to stop")


_ATOMS = (str, bool, type(None))


def encoded(call: Call, value: Any, seconds: float, codec: Codec, payload_limit: int) -> Returned:
    """Return *value* as an outcome, passed through the codec, so that the workflow sees the same live and replayed."""
    try:
        data = codec.encode(value)
        if len(data) > payload_limit:
            raise PayloadTooLarge(
                f"the result of step {call.id!r} takes {len(data):,} bytes, over the limit of {payload_limit:,}. "
                f"Fix: store it elsewhere and return a reference, or raise payload_limit"
            )
        seen = value if type(value) in _ATOMS else codec.decode(data)
    except (NotSerializable, PayloadTooLarge) as refused:
        return Returned(call, error=_explained(call, value, refused), seconds=seconds, final=True)
    except Exception as error:  # a failure of a custom codec is the step's outcome, not the engine's
        return Returned(call, error=NotSerializable(describe_error(error)), seconds=seconds, final=True)
    return Returned(call, seen, data, None, seconds)


def _explained(call: Call, value: Any, refused: Exception) -> Exception:
    if not inspect.isgenerator(value):
        return refused
    return NotSerializable(
        f"step {call.id!r} returned a generator, which cannot be stored. "
        f"Fix: `yield from` sub-flows in the workflow; return a list from steps"
    )
