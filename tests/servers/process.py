"""A child process that can be killed, paused and started again, and that never outlives us."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PATIENCE = 300.0
"""Seconds until a test gives up waiting: a guard against hangs, far beyond what a busy machine needs, and no measure."""

# Asks Linux to kill this process when its parent (strictly: the thread that started it) dies, then becomes the server.
# A launcher, because `preexec_fn` is unsafe and warned about once threads run.
_LAUNCHER = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class MissingServer(Exception):
    """A server program that the tests need is not installed."""


class StartFailed(Exception):
    """A server did not start; the message ends with what it wrote."""


def find_program(name: str, package: str, *directories: str) -> str:
    """Return the path of the program *name*, looking in *directories* first.

    Raises:
        MissingServer: It is not installed.
    """
    path = os.pathsep.join(
        [*directories, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"]
    )
    found = shutil.which(name, path=path)
    if found is None:
        raise MissingServer(
            f"{name!r} is not installed and these tests run against the real server (they are never skipped). "
            f"Fix: apt-get install {package}  (macOS: brew install redis rabbitmq postgresql; or run tests/run as root)"
        )
    return found


def until(condition: Callable[[], object], *, timeout: float = PATIENCE, what: str = "", every: float = 0.005) -> None:
    """Wait until *condition* is true; the condition is polled, so it ends as soon as it can.

    Raises:
        TimeoutError: It did not come true within *timeout* seconds; tells *what* was waited for.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what or condition!r}")
        time.sleep(every)


class Process:
    """One child process, started by `start` and ended by `kill` or `stop`; both may be followed by `start`.

    Start it from a thread that lives as long as the process shall: on Linux it dies with the thread that started it.
    """

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.command = list(command)
        self.log = log
        self.env = dict(env) if env is not None else None
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id; the process must have been started."""
        assert self._popen is not None, "not started"
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Tell whether the process is running (a paused one counts as running)."""
        return self._popen is not None and self._popen.poll() is None

    def start(self, ready: Callable[[], object], *, timeout: float = PATIENCE) -> None:
        """Start it and wait until *ready* answers true.

        Raises:
            StartFailed: It ended, or was not ready in time.
        """
        assert not self.alive, "already running"
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *self.command]
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                launcher, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, start_new_session=True
            )
        atexit.register(self.kill)
        try:
            until(lambda: not self.alive or ready(), timeout=timeout, what=f"{self.command[0]} to be ready")
        except TimeoutError as error:
            self.kill()
            raise StartFailed(f"{error}\n{self._tail()}") from None
        if not self.alive:
            raise StartFailed(f"{self.command[0]} ended with code {self._popen.returncode}\n{self._tail()}")

    def kill(self) -> None:
        """End it at once (SIGKILL), as a power cut would; safe to call twice."""
        atexit.unregister(self.kill)
        if self.alive:
            self._signal(signal.SIGKILL)
            self._wait(PATIENCE)

    def stop(self, timeout: float = 10.0) -> None:
        """End it politely (SIGTERM), after *timeout* seconds at once; safe to call twice."""
        if self.alive:
            self.resume()
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._wait(timeout)
        self.kill()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._popen is not None
        self._popen.send_signal(number)

    def _wait(self, timeout: float) -> None:
        assert self._popen is not None
        self._popen.wait(timeout)

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:]) if self.log.exists() else ""
