"""Step bodies: running one call, and `current_step` for the body."""

from __future__ import annotations

import contextvars
import inspect
import threading
import time
from typing import Any

from replay.core.effects import Call, Returned
from replay.core.errors import NotSerializable, PayloadTooLarge
from replay.ports import Codec

_current: contextvars.ContextVar[CurrentStep] = contextvars.ContextVar("replay_current_step")


class CurrentStep:
    """A running step, as its body sees it.

    Attributes:
        id: The step's id in the log.
        execution_id: The step's execution.
        workflow: The execution's workflow, by key.
        token: Stable over attempts, crashes and workers: pass it to other systems as an idempotency key.
        attempt: The number of this attempt, from 1.
        cancelled: Event-like (`is_set()`, `wait(timeout)`, truth): the body is asked to stop.
        details: Details of the last `heartbeat` of the previous attempt (or of this one, in a process that died); None: none.
    """

    def __init__(self, call: Call) -> None:
        self.id = call.id
        self.execution_id = call.execution_id
        self.workflow = call.workflow
        self.token = call.token
        self.attempt = call.attempt
        self.details = call.details
        self.cancelled = call.cancelled
        self._call = call

    def heartbeat(self, details: Any = None) -> None:
        """Record the body's progress: the next attempt finds *details* in `.details`.

        A repetition of this attempt after a crash finds them, too. They may then be older by a quarter of the lease, because
        heartbeats are stored when leases are renewed.
        """
        self._call.beat = details
        self._call.beats += 1


class CancelFlag:
    """A `threading.Event` that cannot be cleared, and is true once set. Its lock is made by the first `wait`."""

    __slots__ = ("_event", "_set")

    _making = threading.Lock()

    def __init__(self) -> None:
        self._set = False
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

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, *timeout* seconds at most. Return whether it is set."""
        with self._making:
            if self._set:
                return True
            if self._event is None:
                self._event = threading.Event()
        return self._event.wait(timeout)


def current_step() -> CurrentStep:
    """Return the running step.

    Raises:
        RuntimeError: Called outside a step's body.
    """
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError(
            "current_step() works in step bodies only. Fix: call it in the function that is passed to ctx.step"
        ) from None


def running_step() -> CurrentStep | None:
    """Return the running step; None outside a step's body."""
    return _current.get(None)


def run_call(call: Call, codec: Codec, payload_limit: int) -> Returned:
    """Run one call on this thread. An exception of the body becomes its outcome."""
    began = time.perf_counter()
    if call.cancelled is None:
        call.cancelled = CancelFlag()
    reset = _current.set(CurrentStep(call))
    try:
        value = call.fn(*call.args, **call.kwargs)
        if inspect.iscoroutine(value):
            import asyncio  # seldom needed, and slow to load

            value = asyncio.run(value)
    except BaseException as error:
        return Returned(call, error=error, seconds=time.perf_counter() - began)
    finally:
        _current.reset(reset)
    return encoded(call, value, time.perf_counter() - began, codec, payload_limit)


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
        return Returned(call, error=NotSerializable(f"{type(error).__name__}: {error}"), seconds=seconds, final=True)
    return Returned(call, seen, data, None, seconds)


def _explained(call: Call, value: Any, refused: Exception) -> Exception:
    if not inspect.isgenerator(value):
        return refused
    return NotSerializable(
        f"step {call.id!r} returned a generator, which cannot be stored. "
        f"Fix: `yield from` sub-flows in the workflow; return a list from steps"
    )
