"""The pool of threads that runs step bodies: as many as there are bodies that block, few when bodies are short."""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
from collections.abc import Callable

from replay.core.effects import Call, Returned

log = logging.getLogger("replay.steps")


class Pool:
    """Daemon threads that run calls. A thread that comes back with an outcome offers to do the worker's next turn itself.

    That offer is what makes sequential steps fast: without it every step would cost two changes of thread. And threads come
    one after another: each that takes a call rouses the next, which gets the interpreter only when a body blocks or is slow.
    So short bodies are run by few threads, whose outcomes share a batch, and long ones all at once.

    Args:
        size: How many calls run at once, not counting abandoned ones (of which at most *size* are made up for).
        run: Runs one call.
        done: Takes an outcome; returns a call to go on with at once, or None.
        failed: Told of what *run* or *done* raised, `SystemExit` included; the thread has ended then.
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
        self._coming = 0  # threads that were roused and have not looked for a call yet
        self._running: set[Call] = set()
        self._abandoned: set[Call] = set()  # running, made up for by other threads
        self._closed = False

    def submit(self, call: Call) -> None:
        """Have *call* run as soon as a thread is free."""
        self._waiting.append(call)
        self._have_one_come()

    def abandon(self, call: Call) -> None:
        """Make up for the thread whose call was abandoned and may never return, until it does."""
        with self._wake:
            if len(self._abandoned) >= self.size:
                log.warning(
                    "%d abandoned step bodies still run; new steps wait for their threads. "
                    "Fix: let bodies look at current_step().cancelled, and give what they call a timeout of its own",
                    len(self._abandoned),
                )
                return
            self._abandoned.add(call)
            if call not in self._running:  # it has come back meanwhile
                self._abandoned.discard(call)
            self._rouse()

    def close(self) -> None:
        """Let idle threads end. Running ones are daemons: they hold up nothing."""
        with self._wake:
            self._closed = True
            self._waiting.clear()
            self._wake.notify_all()

    def _have_one_come(self) -> None:
        """Have a thread come for what waits, unless one is on its way; that one looks for it once it has said to be there.

        Without the lock, which a thread that is on its way may own already while it waits for the interpreter: to wait for
        it would mean to change threads at each step.
        """
        if self._waiting and not self._coming:
            with self._wake:
                self._rouse()

    def _rouse(self) -> None:
        """Have a thread come for the first call, unless one is on its way (the lock is held)."""
        if not self._waiting or self._coming:
            return
        if self._idle:
            self._idle -= 1
            self._coming += 1
            self._wake.notify()
        elif self._threads < self.size + len(self._abandoned):
            try:
                threading.Thread(target=self._work, name=f"replay-step-{self._threads + 1}", daemon=True).start()
            except RuntimeError:  # the system has no more of them
                if not self._threads:
                    raise
                log.warning("no more than %d threads can be started; steps wait for them", self._threads)
                return
            self._threads += 1
            self._coming += 1

    def _work(self) -> None:
        with self._wake:
            self._coming -= 1
        try:
            while (call := self._next()) is not None:
                while call is not None:
                    call = self._done(self._run_one(call))
                    if call is not None and self._waiting:
                        call = self._swapped(call)
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
                self._came_back(call)

    def _next(self) -> Call | None:
        """Return the first call, when there is one; None to end."""
        try:
            call: Call | None = self._waiting.popleft()
        except IndexError:
            call = self._wait()
        self._have_one_come()
        return call

    def _wait(self) -> Call | None:
        with self._wake:
            while True:
                with contextlib.suppress(IndexError):
                    return self._waiting.popleft()
                if self._closed or self._threads > self.size + len(self._abandoned):
                    self._threads -= 1
                    return None
                self._idle += 1
                self._wake.wait()
                if not self._closed:
                    self._coming -= 1

    def _swapped(self, call: Call) -> Call | None:
        """Put *call* at the end and return the first: an execution's next step does not go before the steps of others."""
        self._waiting.append(call)
        try:
            first = self._waiting.popleft()
        except IndexError:
            return None  # others were quicker
        self._have_one_come()
        return first

    def _came_back(self, call: Call) -> None:
        with self._wake:
            self._abandoned.discard(call)
