"""One event loop for the async steps of a worker, on a thread of its own."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

CLOSING = 1.0
"""Seconds that `close` waits for cancelled coroutines. The thread is a daemon, so a longer one keeps no process."""


class StepLoop:
    """Runs the coroutines of step bodies, concurrently. Its thread starts with the first coroutine.

    All coroutines share the loop, so what one of them leaves behind (a client, a pool of connections) serves the next.
    """

    def __init__(self, name: str = "replay-async-steps") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._pending: set[Future[Any]] = set()
        self._closed = False

    def run(
        self,
        coroutine: Coroutine[Any, Any, Any],
        context: contextvars.Context,
        on_cancel: Callable[[Callable[[], None]], None],
    ) -> Any:
        """Run *coroutine* in *context* and return its result. The calling thread waits for it.

        Args:
            coroutine: A step's body.
            context: The context variables that it sees.
            on_cancel: Takes a function that cancels the coroutine, and calls it when the step is asked to stop.

        Raises:
            RuntimeError: The loop is closed.
        """
        result: Future[Any] = Future()
        loop = self._started(coroutine, result)

        def begin() -> None:
            task = loop.create_task(_into(result, coroutine), context=context)
            on_cancel(lambda: _cancel(loop, task))

        loop.call_soon_threadsafe(begin)
        try:
            return result.result()
        finally:
            self._pending.discard(result)

    def is_this_thread(self) -> bool:
        """Return whether the caller runs on the loop's thread."""
        return self._thread is threading.current_thread()

    def close(self) -> None:
        """Cancel all coroutines and end the thread. Safe to call twice."""
        with self._lock:
            self._closed = True
            thread, loop, stop = self._thread, self._loop, self._stop
        if thread is None or loop is None or stop is None:
            return
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            loop.call_soon_threadsafe(stop.set)
        if thread is not threading.current_thread():
            thread.join(CLOSING)

    def _started(self, coroutine: Coroutine[Any, Any, Any], result: Future[Any]) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                coroutine.close()
                raise RuntimeError("the worker of this step has ended, and its event loop with it")
            self._pending.add(result)
            if self._loop is None:
                ready = threading.Event()
                self._thread = threading.Thread(target=self._serve, args=(ready,), name=self._name, daemon=True)
                self._thread.start()
                ready.wait()
            assert self._loop is not None
            return self._loop

    def _serve(self, ready: threading.Event) -> None:
        import asyncio  # seldom needed, and slow to load

        async def until_closed() -> None:
            assert self._stop is not None
            await self._stop.wait()

        with asyncio.Runner() as runner:  # its end cancels all tasks and closes asynchronous generators
            self._loop, self._stop = runner.get_loop(), asyncio.Event()
            ready.set()
            runner.run(until_closed())
        for result in tuple(self._pending):
            result.cancel()  # of a coroutine that had not begun


async def _into(result: Future[Any], coroutine: Coroutine[Any, Any, Any]) -> None:
    """Await *coroutine* and leave its outcome in *result*. `SystemExit` must not reach the loop: it would end it."""
    try:
        value = await coroutine
    except BaseException as error:
        result.set_exception(error)
    else:
        result.set_result(value)


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has closed
        loop.call_soon_threadsafe(task.cancel)


SHARED = StepLoop("replay-shared-async-steps")
"""The event loop of calls outside a worker with threads: of all simulations in this process."""
