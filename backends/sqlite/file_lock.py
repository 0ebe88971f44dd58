"""The lock that keeps other processes from writing; unlike SQLite's own busy handler, it is fair and wakes at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from replay.core.errors import StoreUnavailable

PATIENCE = 30.0
"""Seconds to wait for other processes: far longer than a commit takes, short enough to be told of a process that hangs."""


class FileLock:
    """A lock on *path*, created if absent. One thread at a time may use it (the store's writer).

    The lock belongs to the open file, which forked children inherit: they close it at once, for else an orphan would hold the
    lock of a parent that was killed inside a commit.
    """

    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        self._path = path
        self._patience = patience
        self._waiter: _Waiter | None = None
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        _locks.add(self)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            StoreUnavailable: Another process has had it for the whole time that we wait.
        """
        self._acquire()
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _acquire(self) -> None:
        if self._waiter is None:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            self._waiter = _Waiter(self._file)
        # One that was given up goes on waiting, and may get the lock at any moment: then it is ours.
        if not self._waiter.done.wait(self._patience):
            raise StoreUnavailable(
                f"another process has held the lock of the SQLite file {Path(self._path).name.removesuffix('-lock')} for "
                f"{self._patience:g} s. Fix: find it (`fuser {self._path}`) and end it if it hangs"
            )
        self._waiter = None

    @property
    def descriptor(self) -> int:
        """The descriptor of the lock file, whose content is the holder's to write."""
        return self._file

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._file >= 0:
            _locks.discard(self)
            os.close(self._file)
            self._file = -1


class _Waiter:
    """A thread that waits for the lock, since the system call knows no timeout."""

    def __init__(self, file: int) -> None:
        self.done = threading.Event()
        self._file = file
        threading.Thread(target=self._run, daemon=True, name="replay-sqlite-lock").start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # closed meanwhile
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self.done.set()


_locks: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for lock in tuple(_locks):
        lock.close()


os.register_at_fork(after_in_child=_leave_to_parent)
