"""TCP ports for private servers, reserved between all test processes of this machine.

They lie below the ephemeral range. A client that reconnects to a dead local server on an *ephemeral* port may be given
that very port as its own and then talks to itself; and a server that restarts must find its port still free.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

FIRST, LAST = 11_000, 20_999  # Redis Cluster adds 10,000 for its bus: 21,000-30,999, below Linux's 32,768 as well.
BUS_OFFSET = 10_000

_reserved: dict[int, IO[bytes]] = {}  # The open files hold the locks until this process ends, however it ends.


def free_port() -> int:
    """Return a port that nobody listens on and that no other test process will be given while this one lives."""
    directory = Path(tempfile.gettempdir()) / f"replay-test-ports-{os.getuid()}"
    directory.mkdir(exist_ok=True)
    for port in random.sample(range(FIRST, LAST + 1), 1_000):
        if port not in _reserved and _reserve(directory / str(port), port):
            return port
    raise RuntimeError(f"no free TCP port between {FIRST} and {LAST}")


def _reserve(path: Path, port: int) -> bool:
    lock = path.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return False
    if not (_is_free(port) and _is_free(port + BUS_OFFSET)):
        lock.close()
        return False
    _reserved[port] = lock
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
