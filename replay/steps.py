"""Running step bodies: what they see of themselves (`current_step`), and the pool of threads that runs them."""

from __future__ import annotations

import collections
import contextvars
import inspect
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from replay.core.effects import Call, Returned
from replay.core.errors import NotSerializable, PayloadTooLarge
from replay.ports import Codec

log = logging.getLogger("replay.steps")
_current: contextvars.ContextVar[CurrentStep] = contextvars.ContextVar("replay_current_step")


class CurrentStep:
    """What a running step body can ask about itself.

    Attributes:
        id: The step's id as it stands in the log.
        execution_id: The execution it belongs to.
        token: Stable over attempts, crashes and workers: pass it to the outside as an idempotency key.
        attempt: Which attempt this is, from 1.
        cancelled: Event-like (`is_set()`, `wait(timeout)`, truth): the body is asked to stop.
        details: What the last `heartbeat` of the previous attempt said, None if nothing.
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
        """Say how far the body got; if this attempt fails, the next one finds *details* in `.details`."""
        self._call.beat = details


class Flag(threading.Event):
    """A `threading.Event` that is true once set."""

    def __bool__(self) -> bool:
        return self.is_set()


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


def run_call(call: Call, codec: Codec, payload_limit: int) -> Returned:
    """Run one call here and now; never raises what the body raises."""
    began = time.perf_counter()
    if call.cancelled is None:
        call.cancelled = Flag()
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


class Pool:
    """Daemon threads that run calls. A thread that comes back with an outcome offers to do the worker's next turn itself.

    That offer (`help`) is what makes sequential steps fast: without it every step would cost two changes of thread.

    Args:
        size: How many calls run at once.
        run: Runs one call.
        done: Takes an outcome; returns a call to go on with at once, or None.
    """

    def __init__(self, size: int, run: Callable[[Call], Returned], done: Callable[[Returned], Call | None]) -> None:
        self.size = size
        self._run = run
        self._done = done
        self._waiting: collections.deque[Call] = collections.deque()
        self._wake = threading.Condition()
        self._idle = 0
        self._threads = 0
        self._lost = 0
        self._closed = False

    def submit(self, call: Call) -> None:
        """Have *call* run as soon as a thread is free."""
        with self._wake:
            self._waiting.append(call)
            if self._idle:
                self._wake.notify()
            elif self._threads < self.size + self._lost:
                self._threads += 1
                threading.Thread(target=self._work, name=f"replay-step-{self._threads}", daemon=True).start()

    def write_off(self) -> None:
        """Replace a thread whose call was abandoned and may never return (at most as many as the pool's size)."""
        with self._wake:
            if self._lost < self.size:
                self._lost += 1
                if self._waiting and not self._idle:
                    self._threads += 1
                    threading.Thread(target=self._work, name=f"replay-step-{self._threads}", daemon=True).start()

    def came_back(self) -> None:
        """A written-off call returned after all."""
        with self._wake:
            self._lost = max(0, self._lost - 1)

    def close(self) -> None:
        """Let idle threads end. Running ones are daemons: they hold up nothing."""
        with self._wake:
            self._closed = True
            self._waiting.clear()
            self._wake.notify_all()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._idle += 1
                while not self._waiting and not self._closed and self._threads <= self.size + self._lost:
                    self._wake.wait()
                self._idle -= 1
                if self._closed or not self._waiting:
                    self._threads -= 1
                    return
                call: Call | None = self._waiting.popleft()
            while call is not None:
                call = self._done(self._run(call))
