"""Supervision: worker processes that are replaced when they die (`-p`), and started again when code changes (`--reload`).

The supervisor runs no user code; it starts the same command once for each process and passes signals on.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from replay.cli import shell

log = logging.getLogger("replay.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds until a process that died young is replaced; doubled each time, so that a broken deploy does not spin."""

YOUNG = 10.0
"""Seconds: a process that lived longer is replaced at once."""

LOOK = 0.1
"""Seconds between looks at the processes; at the files, five times as long."""


SUPERVISED_BY = "REPLAY_SUPERVISED_BY"
"""Environment variable with the supervisor's pid: a worker whose supervisor was killed drains."""


def orphaned() -> bool:
    """Tell whether this process was started by a supervisor that is gone."""
    return os.environ.get(SUPERVISED_BY, str(os.getppid())) != str(os.getppid())


class Child:
    """One place among the processes, and the process that holds it."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number = number
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.began = 0.0
        self.pause = 0.0
        self.start_at = 0.0

    def start(self) -> None:
        """Start a process."""
        self.began = time.monotonic()
        # A session of its own: Ctrl-C reaches the supervisor alone, which passes one signal on, not two.
        environment = {**os.environ, SUPERVISED_BY: str(os.getpid())}
        self.process = subprocess.Popen(self.command, env=environment, start_new_session=True)  # noqa: S603  # our own

    def died(self) -> int | None:
        """Return the exit code of a process that has ended, once."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        self.process = None
        now = time.monotonic()
        self.pause = 0.0 if now - self.began > YOUNG else min(LONGEST_PAUSE, max(FIRST_PAUSE, self.pause * 2))
        self.start_at = now + self.pause
        return code


class Supervisor:
    """Keeps processes running until a signal comes.

    Args:
        commands: One command line for each process.
        replace: Replace a process that ended by itself without an error (`--max-executions`); False with `--burst`.
        watch: Folder whose Python files, when changed, have the processes started again; None: no folder.
        patience: Seconds that processes get to end before they are killed.
    """

    def __init__(
        self, commands: Sequence[Sequence[str]], *, replace: bool, watch: Path | None = None, patience: float = 40.0
    ) -> None:
        self._children = [Child(number, command) for number, command in enumerate(commands, 1)]
        self._replace = replace
        self._watch = watch
        self._patience = patience
        self._wake = threading.Event()
        self._signals = 0

    def run(self) -> int:
        """Supervise; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._on_stop())
        signal.signal(signal.SIGQUIT, lambda *_: self._send(signal.SIGQUIT))
        changed = changes(self._watch) if self._watch is not None else None
        if changed is not None:
            next(changed)  # what the files are like now
        looks = 0
        while not self._signals:
            code = self._look_after_all()
            if code is not None:
                self._send(signal.SIGTERM)
                self._wait_for_all()
                return code
            self._wake.wait(LOOK)
            looks += 1
            if changed is not None and looks % 5 == 0 and (name := next(changed)) is not None:
                log.info("%s changed: starting again", name)
                self._send(signal.SIGTERM)
                self._wait_for_all()
        return self._wait_for_all()

    def _on_stop(self) -> None:
        self._signals += 1
        self._send(signal.SIGTERM)  # the second one has them stop cold
        self._wake.set()

    def _look_after_all(self) -> int | None:
        """Start what does not run; return the exit code if nothing is left to do, or nothing can be done."""
        for child in self._children:
            code = child.died()
            if code == shell.USAGE:
                return code  # it would be the same again
            if code == shell.OK and not self._replace:
                child.start_at = float("inf")
            elif code is not None:
                log.warning("process %d ended with code %d; replaced in %.1f s", child.number, code, child.pause)
            if child.process is None and time.monotonic() >= child.start_at:
                child.start()
        if all(child.start_at == float("inf") for child in self._children):
            return shell.OK
        return None

    def _send(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(number)

    def _wait_for_all(self) -> int:
        deadline = time.monotonic() + self._patience
        worst = shell.OK
        for child in self._children:
            if child.process is None:
                continue
            try:
                code = child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                code = child.process.wait()
            worst = worst or (shell.FAILURE if code else shell.OK)
            child.process, child.start_at = None, 0.0
        return worst


def command_line(arguments: Sequence[str]) -> list[str]:
    """Return the command that runs one worker with *arguments*."""
    return [sys.executable, "-m", "replay.cli.worker", *arguments]


def changes(folder: Path) -> Iterator[str | None]:
    """Yield, each time, the name of a Python file below *folder* that changed since the last time, or None."""
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
