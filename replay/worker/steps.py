"""Running one step body: what it sees of itself (`current_step`), and what it comes to."""

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
    """What a running step body can ask about itself.

    Attributes:
        id: The step's id as it stands in the log.
        execution_id: The execution it belongs to.
        token: Stable over attempts, crashes and workers: pass it to the outside as an idempotency key.
        attempt: Which attempt this is, from 1.
        cancelled: Event-like (`is_set()`, `wait(timeout)`, truth): the body is asked to stop.
        details: What the last `heartbeat` of the previous attempt (or of this one, in a process that died) said; None: nothing.
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
        """Say how far the body got: the next attempt finds *details* in `.details`.

        So does the repetition of this attempt after its process died, though what it finds may be older by a quarter of the
        lease (words are written down when leases are renewed).
        """
        self._call.beat = details
        self._call.beats += 1


class CancelFlag:
    """As a `threading.Event` that cannot be cleared, and is true once set; its lock is made when somebody waits."""

    __slots__ = ("_event", "_set")

    _making = threading.Lock()

    def __init__(self) -> None:
        self._set = False
        self._event: threading.Event | None = None

    def __bool__(self) -> bool:
        return self._set

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it, and wake whoever waits."""
        with self._making:
            self._set = True
            if self._event is not None:
                self._event.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, *timeout* seconds at most; whether it is."""
        with self._making:
            if self._set:
                return True
            if self._event is None:
                self._event = threading.Event()
        return self._event.wait(timeout)


def current_step() -> CurrentStep:
    """Return the running step's view of itself.

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
    """As `current_step`, None outside a step's body."""
    return _current.get(None)


def run_call(call: Call, codec: Codec, payload_limit: int) -> Returned:
    """Run one call here and now; never raises what the body raises."""
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
    """Return *value* as the workflow will see it: through the codec, so that live and replayed are alike."""
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
    except Exception as error:  # a custom codec that fails: the step's outcome, not the engine's
        return Returned(call, error=NotSerializable(f"{type(error).__name__}: {error}"), seconds=seconds, final=True)
    return Returned(call, seen, data, None, seconds)


def _explained(call: Call, value: Any, refused: Exception) -> Exception:
    if not inspect.isgenerator(value):
        return refused
    return NotSerializable(
        f"step {call.id!r} returned a generator, which cannot be stored. "
        f"Fix: `yield from` sub-flows in the workflow; return a list from steps"
    )
