"""Supervision: worker processes are replaced when they die (`-p`), and restarted when code changes (`--reload`).

The supervisor runs no user code. It starts the same command once for each process and passes signals on.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from replay.cli import exit_codes
from replay.cli.process.child import VARIABLE
from replay.cli.process.signals import handle

log = logging.getLogger("replay.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds until a process that died young is replaced; doubled each time, so that a broken deploy does not spin."""

YOUNG = 10.0
"""Seconds; a process that worked longer is replaced at once."""

LOOK = 0.1
"""Seconds between two checks of the processes; files are checked at every fifth."""

MARGIN = 2.0
"""Seconds that a process gets beyond its own limit for ending."""


class Child:
    """A slot for a process, and the process in it.

    Attributes:
        ready_at: Time of the process's report that it works (`time.monotonic`), None before.
        proven: True once any process in this slot has reported.
        grace: Seconds that the process takes at most to end after a signal.
    """

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number = number
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.ready_at: float | None = None
        self.proven = False
        self.grace = 0.0
        self.pause = 0.0
        self.start_at = 0.0
        self.finished = False
        self._report = -1

    def start(self) -> None:
        """Start a process."""
        self._report, their_end = os.pipe()
        os.set_blocking(self._report, False)
        self.ready_at, self.finished = None, False
        # A session of its own: Ctrl-C reaches the supervisor alone, which passes one signal on, not two.
        environment = {**os.environ, VARIABLE: f"{os.getpid()} {their_end}"}
        self.process = subprocess.Popen(  # noqa: S603  # our own command
            self.command, env=environment, start_new_session=True, pass_fds=(their_end,)
        )
        os.close(their_end)

    def listen(self) -> None:
        """Read the process's report that it works."""
        if self._report < 0:
            return
        try:
            word = os.read(self._report, 64)
        except BlockingIOError:
            return
        os.close(self._report)
        self._report = -1
        if word:
            self.ready_at, self.proven, self.grace = time.monotonic(), True, float(word)

    def died(self) -> int | None:
        """Return the exit code of a process that has ended, on one call only."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        self.listen()
        self.process = None
        now = time.monotonic()
        matured = self.ready_at is not None and now - self.ready_at > YOUNG
        self.pause = 0.0 if matured else min(LONGEST_PAUSE, max(FIRST_PAUSE, self.pause * 2))
        self.start_at = now + self.pause
        return code


class Supervisor:
    """Keeps processes running until a signal comes.

    Args:
        commands: One command line for each process.
        replace: Replace a process that ended without an error (`--max-executions`); False with `--burst`.
        watch: Folder with Python files; a change restarts the processes. None: no folder.
    """

    def __init__(self, commands: Sequence[Sequence[str]], *, replace: bool, watch: Path | None = None) -> None:
        self._children = [Child(number, command) for number, command in enumerate(commands, 1)]
        self._replace = replace
        self._watch = watch
        self._signals = 0

    def run(self) -> int:
        """Supervise; return the exit code."""
        # The handler only counts. The loop signals all processes, so one that is just being started gets the signal, too.
        handle(self._count)
        signal.signal(signal.SIGQUIT, lambda *_: self._send(signal.SIGQUIT))
        changed = changes(self._watch) if self._watch is not None else None
        if changed is not None:
            next(changed)  # notes the state of the files
        looks = 0
        while not self._signals:
            code = self._look_after_all()
            if code is not None:
                self._stop_all()
                return code
            time.sleep(LOOK)
            looks += 1
            if changed is not None and looks % 5 == 0 and (name := next(changed)) is not None:
                log.info("%s changed: starting again", name)
                self._stop_all()
        return self._stop_all()

    def _count(self, number: signal.Signals) -> None:
        self._signals += 1

    def _look_after_all(self) -> int | None:
        """Start missing processes; return the exit code once all have finished, or one cannot work."""
        for child in self._children:
            child.listen()
            code = child.died()
            if code is not None and (end := self._judge(child, code)) is not None:
                return end
            if child.process is None and time.monotonic() >= child.start_at:
                child.start()
        return exit_codes.OK if all(child.finished for child in self._children) else None

    def _judge(self, child: Child, code: int) -> int | None:
        """Decide about a process that ended; return the exit code if all must end."""
        if code == exit_codes.OK and not self._replace:
            child.start_at, child.finished = float("inf"), True
        elif code == exit_codes.USAGE and self._watch is not None:
            child.start_at = float("inf")
            log.warning("process %d cannot start; the next change of a file starts it again", child.number)
        elif code == exit_codes.USAGE and not child.proven:
            return code  # it would be the same again
        elif code == exit_codes.UNREACHABLE and not any(each.proven for each in self._children):
            return code  # nothing ever answered there
        else:
            log.warning("process %d ended with code %d; replaced in %.1f s", child.number, code, child.pause)
        return None

    def _send(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(number)

    def _stop_all(self) -> int:
        """Drain all processes; kill them after a second signal or the time limit."""
        for child in self._children:
            child.listen()
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + max(child.grace for child in self._children) + MARGIN
        worst = exit_codes.OK
        while any(child.process is not None for child in self._children):
            if self._signals > 1 or time.monotonic() >= deadline:
                self._send(signal.SIGKILL)
            for child in self._children:
                code = child.died()
                # A process that was still starting Python dies of the signal, and has begun nothing.
                if code is not None and code not in (exit_codes.OK, -signal.SIGTERM):
                    worst = exit_codes.FAILURE
            time.sleep(LOOK / 10)
        for child in self._children:
            child.start_at, child.pause = 0.0, 0.0
        return worst


def command_line(arguments: Sequence[str]) -> list[str]:
    """Return the command line of one worker with *arguments*."""
    return [sys.executable, "-m", "replay.cli.worker", *arguments]


def changes(folder: Path) -> Iterator[str | None]:
    """Yield the name of a Python file below *folder* that changed since the last `next`, or None."""
    before = _stamps(folder)
    while True:
        now = _stamps(folder)
        different = {path for path, _ in before.items() ^ now.items()}
        before = now
        yield min(different, default=None)


def _stamps(folder: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in _python_files(folder):
        try:
            found[str(path.relative_to(folder))] = path.stat().st_mtime_ns
        except OSError:  # it was removed at this moment
            continue
    return found


def _python_files(folder: Path, skip: Callable[[str], bool] = lambda name: name.startswith((".", "__"))) -> list[Path]:
    found: list[Path] = []
    for path in folder.iterdir():
        if path.is_dir() and not skip(path.name) and not (path / "pyvenv.cfg").exists():
            found += _python_files(path, skip)
        elif path.suffix == ".py":
            found.append(path)
    return found
