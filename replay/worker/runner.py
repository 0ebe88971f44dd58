"""Threads for a worker: the loop is a role, not a thread.

A thread with an event takes the loop if it is free (leader and followers). A pool thread with an outcome does the turn itself
and runs the next step, so that sequential steps change no thread. The loop thread waits for timers and hints.
The heartbeat thread renews leases.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Iterator

from replay.core.effects import Call, Returned
from replay.core.errors import StoreUnavailable, describe_error
from replay.logs import get_logger
from replay.ports import Clock, Codec
from replay.worker import NewMessages, Worker
from replay.worker.async_steps import StepLoop
from replay.worker.pool import Pool
from replay.worker.steps import run_call

log = get_logger("replay.worker")

EARLIER = 0.001
"""Seconds. The loop thread is woken for a turn that is due this much before its own: clocks of stores jitter by less."""

SLOW = 2.0
"""Seconds after which workflow code that keeps the loop busy is named in a warning; repeated each time they double."""

HUNG = 30.0
"""Seconds after which busy workflow code counts as hung: as the default lease, longer than any replay, short for a liveness probe."""


class Runner:
    """Runs a worker until it is stopped.

    An exception that ends one of its threads, `SystemExit` included, is the worker's `failure`: the other threads end, too.
    Leases then expire instead of being handed back, so that an execution that does this again and again counts as a crash loop.

    Args:
        worker: The worker.
        codec: Values to text and back.
        clock: The worker's clock.
        hung_after: Seconds. See `hung`.

    Attributes:
        failure: The exception that stopped the worker; None: none.
    """

    def __init__(self, worker: Worker, *, codec: Codec, clock: Clock, hung_after: float = HUNG) -> None:
        self.worker = worker
        self.failure: BaseException | None = None
        self._codec = codec
        self._clock = clock
        self._loop = threading.Lock()
        self._ring = threading.Event()
        self._stopped = threading.Event()
        self._waiting_until = 0.0
        self._turn_began: tuple[float, int] | None = None
        self._hung_after = hung_after
        self._warn_after = SLOW
        self._warned_of_wait = False
        self._async_steps = StepLoop()
        self._pool = Pool(worker.options.concurrency, self._run, self._done, self._fail)
        self._threads = [
            threading.Thread(target=self._guard, args=(self._run_loop,), name="replay-loop", daemon=True),
            threading.Thread(target=self._guard, args=(self._run_heartbeat,), name="replay-heartbeat", daemon=True),
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def hint(self) -> None:
        """Note that there may be work. Any thread."""
        self.worker.hint()
        self._ring.set()

    def new_messages(self, id: str) -> None:
        """Note that an execution may have messages. Any thread."""
        self.worker.post(NewMessages(id))
        self._ring.set()

    def idle(self) -> bool:
        """Tell whether nothing is in progress and the last claim found nothing due."""
        worker = self.worker
        return worker.active == 0 and not worker.inbox and worker.last_claim_empty and not worker.has_hint

    @property
    def busy(self) -> float:
        """Seconds for which workflow code has kept the loop, without time spent in the store. Any thread."""
        began = self._turn_began
        if began is None or self.worker.store_link.asking:
            return 0.0
        return time.monotonic() - max(began[0], self.worker.store_link.answered)

    @property
    def hung(self) -> bool:
        """Whether workflow code keeps the loop for good: nothing is committed, and leases expire."""
        return self.busy >= self._hung_after

    def stop(self, timeout: float) -> bool:
        """Drain: wait up to *timeout* seconds for running steps, hand leases back, end. Return whether all ended in time."""
        self.worker.drain()
        self._ring.set()
        deadline = time.monotonic() + timeout
        while not self.worker.drained and time.monotonic() < deadline and self.failure is None:
            self._ring.set()
            self._stopped.wait(0.005)
        return self.halt()

    def halt(self) -> bool:
        """End now and hand leases back. Return whether nothing was in progress."""
        clean = self.worker.active == 0
        self._stopped.set()
        self._ring.set()
        for thread in self._threads:
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(1.0)
        if self._loop.acquire(timeout=1.0):
            try:
                if self.failure is None:
                    self.worker.release()
                self.worker.close()
            finally:
                self._loop.release()
        self._pool.close()
        self._async_steps.close()
        return clean

    # --- the loop's thread -------------------------------------------------------------------------

    def _run_loop(self) -> None:
        while not self._stopped.is_set():
            self._ring.clear()
            with self._loop:
                wake_at = self._turn(None)
            if self.worker.inbox and not self.worker.store_link.unreachable:
                continue
            self._waiting_until = wake_at
            wait = wake_at - self._clock.now()
            if wait > 0:
                self._ring.wait(min(wait, 1.0))

    def _turn(self, mine: list[Call] | None) -> float:
        """Do a turn (the caller holds the loop); append its first call to *mine* if given, submit the others."""
        self._turn_began = (time.monotonic(), threading.get_ident())
        try:
            turn = self.worker.turn()
        finally:
            self._turn_began = None
        for call in turn.abandoned:
            self._pool.abandon(call)
        for call in turn.calls:
            if mine is not None and not mine:
                mine.append(call)
            else:
                self._pool.submit(call)
        return turn.wake_at

    # --- pool threads ---------------------------------------------------------------------------------

    def _run(self, call: Call) -> Returned:
        if call.abandoned:
            return Returned(call)
        call.started = self.worker.now()
        limit = self.worker.options.payload_limit
        return run_call(call, self._codec, limit, loop=self._async_steps, waiting=self._make_up)

    @contextlib.contextmanager
    def _make_up(self, call: Call, execution_id: str) -> Iterator[None]:
        """Make up for the slot and the thread of a step that waits for an execution, which may need them."""
        if not self._warned_of_wait:
            self._warned_of_wait = True
            log.warning(
                "step %r of execution %r waits for execution %r and keeps a thread meanwhile; no more such waits are logged. "
                "Fix: `yield from ctx.child(...)` in the workflow, which waits without one",
                call.id,
                call.execution_id,
                execution_id,
                extra={"execution_id": call.execution_id, "workflow": call.workflow, "step": call.id},
            )
        with self.worker.step_waits(call.execution_id), self._pool.blocked(call):
            self.hint()
            yield

    def _done(self, returned: Returned) -> Call | None:
        self.worker.post(returned)
        mine: list[Call] = []
        if self._loop.acquire(blocking=False):
            try:
                wake_at = self._turn(mine) if not self._stopped.is_set() else self._waiting_until
            finally:
                self._loop.release()
            if wake_at < self._waiting_until - EARLIER or self.worker.inbox:
                self._ring.set()
        # Else the holder of the loop checks the inbox again after releasing it.
        return mine[0] if mine else None

    # --- heartbeat: leases --------------------------------------------------------------------------------------------

    def _run_heartbeat(self) -> None:
        pause = self.worker.options.lease / 4
        while not self._stopped.wait(min(pause, 1.0) if self._turn_began else pause):
            self._watch_turn()
            if self.hung:
                continue  # leases expire, so another worker tries; if it hangs, too, the execution counts as a crash loop
            with contextlib.suppress(StoreUnavailable):  # the worker has logged it
                self.worker.renew_leases()
            self._ring.set()

    def _watch_turn(self) -> None:
        busy, began = self.busy, self._turn_began
        if busy < SLOW:
            self._warn_after = SLOW
        if busy < self._warn_after or began is None:
            return
        self._warn_after = 2 * busy
        frame = sys._current_frames().get(began[1])
        where = "".join(traceback.format_stack(frame)[-3:]) if frame is not None else ""
        log.warning(
            "a turn of the loop has taken %.1f s%s: workflow code must not block. Fix: move slow work into a step\n%s",
            busy,
            ", leases are not renewed any more" if self.hung else "",
            where,
        )

    def _guard(self, run: object) -> None:
        try:
            run()  # type: ignore[operator]
        except BaseException as failure:
            self._fail(failure)

    def _fail(self, failure: BaseException) -> None:
        if self.failure is None:
            self.failure = failure
        log.critical("the worker stopped: %s", describe_error(failure), exc_info=failure)
        self._stopped.set()
        self._ring.set()
