"""Threads for a worker: the loop is a role, not a thread.

Whichever thread has news takes the loop if it is free (leader and followers): a pool thread that comes back with an outcome does
the turn itself and goes on with the next step, so that sequential steps change no thread. A thread of the loop's own waits for
timers and hints, one more renews leases.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
import traceback

from replay.core.effects import Call, Returned
from replay.core.errors import StoreUnavailable
from replay.ports import Clock, Codec
from replay.worker import NewMessages, Worker
from replay.worker.pool import Pool
from replay.worker.steps import run_call

log = logging.getLogger("replay.worker")

EARLIER = 0.001
"""Seconds by which something must be due before the loop's thread would look, to wake it: clocks of stores jitter by less."""

SLOW = 2.0
"""Seconds after which workflow code that keeps the loop busy is named in a warning; then each time they have doubled."""

HUNG = 30.0
"""Seconds after which it counts as hung: as the default lease, far beyond any replay, and soon enough for a liveness probe."""


class Runner:
    """Runs a worker until it is stopped.

    Whatever ends one of its threads, `SystemExit` included, is the worker's `failure`: the others end, too. Leases are not handed
    back then but run out, so that an execution that does this to its workers counts as a crash loop.

    Args:
        worker: What the threads turn.
        codec: Values to text and back.
        clock: The worker's.
        hung_after: See `hung`.
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
        self._pool = Pool(worker.options.concurrency, self._run, self._done, self._fail)
        self._threads = [
            threading.Thread(target=self._guard, args=(self._run_loop,), name="replay-loop", daemon=True),
            threading.Thread(target=self._guard, args=(self._run_beat,), name="replay-heartbeat", daemon=True),
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def hint(self) -> None:
        """Say that there may be work. Any thread."""
        self.worker.hint()
        self._ring.set()

    def news(self, id: str) -> None:
        """Say that an execution may have messages. Any thread."""
        self.worker.post(NewMessages(id))
        self._ring.set()

    def idle(self) -> bool:
        """Whether there is nothing to do now: nothing under way, and the last claim found nothing due."""
        worker = self.worker
        return worker.active == 0 and not worker.mail and worker.looked and not (worker.hinted and not worker.exhausted)

    @property
    def busy(self) -> float:
        """For how many seconds workflow code has kept the loop; time spent in the store does not count. Any thread."""
        began = self._turn_began
        if began is None or self.worker.reach.asking:
            return 0.0
        return time.monotonic() - max(began[0], self.worker.reach.answered)

    @property
    def hung(self) -> bool:
        """Whether workflow code does not give the loop back: nothing can be committed, and leases are left to others."""
        return self.busy >= self._hung_after

    def stop(self, timeout: float) -> bool:
        """Drain: wait up to *timeout* seconds for running steps, hand leases back, end; whether all ended in time."""
        self.worker.drain()
        self._ring.set()
        deadline = time.monotonic() + timeout
        while not self.worker.drained and time.monotonic() < deadline and self.failure is None:
            self._ring.set()
            self._stopped.wait(0.005)
        return self.halt()

    def halt(self) -> bool:
        """End now; what is under way is handed back. Whether nothing was."""
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
        return clean

    # --- the loop's thread -------------------------------------------------------------------------

    def _run_loop(self) -> None:
        while not self._stopped.is_set():
            self._ring.clear()
            with self._loop:
                wake_at = self._turn(None)
            if self.worker.mail and not self.worker.reach.away:
                continue
            self._waiting_until = wake_at
            wait = wake_at - self._clock.now()
            if wait > 0:
                self._ring.wait(min(wait, 1.0))

    def _turn(self, mine: list[Call] | None) -> float:
        """Do a turn (the loop is held); hand its calls out, the first one to *mine* if that is given."""
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
        return run_call(call, self._codec, self.worker.options.payload_limit)

    def _done(self, returned: Returned) -> Call | None:
        self.worker.post(returned)
        mine: list[Call] = []
        if self._loop.acquire(blocking=False):
            try:
                wake_at = self._turn(mine) if not self._stopped.is_set() else self._waiting_until
            finally:
                self._loop.release()
            if wake_at < self._waiting_until - EARLIER or self.worker.mail:
                self._ring.set()
        # Else whoever holds the loop looks at the mail once more after letting go of it.
        return mine[0] if mine else None

    # --- leases --------------------------------------------------------------------------------------------

    def _run_beat(self) -> None:
        pause = self.worker.options.lease / 4
        while not self._stopped.wait(min(pause, 1.0) if self._turn_began else pause):
            self._watch_turn()
            if self.hung:
                continue  # another worker may try; if it hangs there, too, the execution counts as a crash loop
            with contextlib.suppress(StoreUnavailable):  # the worker has told of it
                self.worker.beat()
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
        self.failure = self.failure or failure
        log.critical("the worker stopped: %r", failure, exc_info=failure)
        self._stopped.set()
        self._ring.set()
