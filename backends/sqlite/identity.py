"""The identity of the file under a store: noticed when it is deleted, moved or replaced, or put back under an older WAL."""

from __future__ import annotations

import os
import time
from pathlib import Path

from replay.core.errors import StoreUnavailable
from replay.logs import get_logger

log = get_logger("replay.sqlite")


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at *path*, None if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def check(path: Path, opened: tuple[int, int] | None) -> None:
    """Check that the file at *path* is the one that was opened. Else what is written would be seen by nobody.

    Raises:
        StoreUnavailable: It was deleted, moved or replaced.
    """
    now = identity_of(path)
    if now != opened:
        what = "is gone: it was deleted or moved" if now is None else "was replaced by another file"
        raise StoreUnavailable(
            f"the SQLite file {path} {what} while this process had it open, so nothing is written any more. "
            f"Fix: put the file back and restart the process; stop all processes before a file is restored"
        )


def set_stale_wal_aside(path: Path, lock: int) -> None:
    """Rename a WAL that belongs to another file than the one at *path*: else SQLite would lay it over a restored backup.

    The lock file tells which file its directory held last. A directory that was copied as a whole keeps its WAL: its lock file
    is a copy, too. The caller holds the lock.

    Args:
        path: The store's file.
        lock: Descriptor of the lock file.
    """
    own = os.fstat(lock)
    here = f"{own.st_dev}:{own.st_ino} "
    found = identity_of(path)
    file = "" if found is None else f"{found[0]}:{found[1]}"
    recorded = os.pread(lock, 200, 0).decode(errors="replace")
    wal = path.with_name(path.name + "-wal")
    if recorded.startswith(here) and recorded != here + file and wal.exists() and wal.stat().st_size:
        aside = wal.with_name(f"{wal.name}.of-replaced-file-{time.time_ns()}")
        wal.rename(aside)
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        log.warning("%s was replaced: the WAL of the file before it was set aside as %s", path, aside.name)
    if recorded != here + file:
        os.ftruncate(lock, 0)
        os.pwrite(lock, (here + file).encode(), 0)
