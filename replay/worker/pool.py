"""The thread pool for step bodies: one thread for each body that blocks, few threads for short bodies."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator

from replay.core.effects import Call, Returned
from replay.logs import get_logger

log = get_logger("replay.steps")


class Pool:
    """Daemon threads that run calls. A thread with an outcome does the worker's next turn itself if the loop is free.

    So sequential steps are fast: without it each step would cost two changes of thread.
    Threads wake each other in a chain, so short calls run on few threads and blocking calls on many.
    The outcomes of short calls share a batch.

    Args:
        size: Number of calls that run at once, besides abandoned ones (at most *size* of these are replaced) and blocked ones.
        run: Runs one call.
        done: Takes an outcome; returns a call to run next, or None.
        failed: Takes an exception of *run* or *done*, `SystemExit` included. The thread has ended.
    """

    def __init__(
        self,
        size: int,
        run: Callable[[Call], Returned],
        done: Callable[[Returned], Call | None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.size = size
        self._run = run
        self._done = done
        self._failed = failed
        self._waiting: collections.deque[Call] = collections.deque()
        self._wake = threading.Condition()
        self._threads = 0
        self._idle = 0
        self._waking = 0  # threads that were woken or started and have not taken a call yet
        self._running: set[Call] = set()
        self._abandoned: set[Call] = set()  # running, and replaced by other threads
        self._blocked: collections.Counter[Call] = collections.Counter()  # likewise, while they wait for executions
        self._closed = False

    def submit(self, call: Call) -> None:
        """Queue *call* for the next free thread."""
        self._waiting.append(call)
        self._wake_one()

    def abandon(self, call: Call) -> None:
        """Allow one more thread in place of an abandoned call's, which may never return, until it does."""
        with self._wake:
            if len(self._abandoned) >= self.size:
                log.warning(
                    "%d abandoned step bodies still run; new steps wait for their threads. "
                    "Fix: let bodies look at current_step().cancelled, and give what they call a timeout of its own",
                    len(self._abandoned),
                )
                return
            self._abandoned.add(call)
            if call not in self._running:  # it returned meanwhile
                self._abandoned.discard(call)
            self._wake_locked()

    @contextlib.contextmanager
    def blocked(self, call: Call) -> Iterator[None]:
        """Allow one more thread in place of *call*'s, which waits for other calls, for as long as it does.

        There is no limit: with one, the calls that are waited for might find no thread.
        """
        with self._wake:
            self._blocked[call] += 1
            self._wake_locked()
        try:
            yield
        finally:
            with self._wake:
                self._blocked[call] -= 1
                self._blocked += collections.Counter()  # drops what is zero

    def close(self) -> None:
        """End idle threads. Running ones are daemons: the process does not wait for them."""
        with self._wake:
            self._closed = True
            self._waiting.clear()
            self._wake.notify_all()

    def _wake_one(self) -> None:
        """Wake or start one thread if calls are queued and none is already waking up.

        The check takes no lock. A waking thread may hold it while it waits for the interpreter, and waiting for the lock
        would change threads at each step. A waking thread checks the queue again after `_waking` has changed.
        """
        if self._waiting and not self._waking:
            with self._wake:
                self._wake_locked()

    def _wake_locked(self) -> None:
        """Wake or start one thread as `_wake_one` does; the caller holds the lock."""
        if not self._waiting or self._waking:
            return
        if self._idle:
            self._idle -= 1
            self._waking += 1
            self._wake.notify()
        elif self._threads < self._most():
            try:
                threading.Thread(target=self._work, name=f"replay-step-{self._threads + 1}", daemon=True).start()
            except RuntimeError:  # the system's limit
                if not self._threads:
                    raise
                log.warning("no more than %d threads can be started; steps wait for them", self._threads)
                return
            self._threads += 1
            self._waking += 1

    def _most(self) -> int:
        return self.size + len(self._abandoned) + len(self._blocked)

    def _work(self) -> None:
        with self._wake:
            self._waking -= 1
        try:
            while (call := self._next()) is not None:
                while call is not None:
                    call = self._done(self._run_one(call))
                    if call is not None and self._waiting:
                        call = self._rotate(call)
        except BaseException as failure:
            with self._wake:
                self._threads -= 1
            self._failed(failure)

    def _run_one(self, call: Call) -> Returned:
        self._running.add(call)
        try:
            return self._run(call)
        finally:
            self._running.discard(call)
            if self._abandoned:
                self._replaced_returned(call)

    def _next(self) -> Call | None:
        """Wait for the first call in the queue and return it; None ends the thread."""
        try:
            call: Call | None = self._waiting.popleft()
        except IndexError:
            call = self._wait()
        self._wake_one()
        return call

    def _wait(self) -> Call | None:
        with self._wake:
            while True:
                with contextlib.suppress(IndexError):
                    return self._waiting.popleft()
                if self._closed or self._threads > self._most():
                    self._threads -= 1
                    return None
                self._idle += 1
                self._wake.wait()
                if not self._closed:
                    self._waking -= 1

    def _rotate(self, call: Call) -> Call | None:
        """Put *call* at the end of the queue and return the first, so that no execution runs its next step before other steps."""
        self._waiting.append(call)
        try:
            first = self._waiting.popleft()
        except IndexError:
            return None  # other threads took them all
        self._wake_one()
        return first

    def _replaced_returned(self, call: Call) -> None:
        with self._wake:
            self._abandoned.discard(call)
