"""Supervision, as a worker process sees it: the process reports that it works, and drains when the supervisor is gone."""

from __future__ import annotations

import contextlib
import os

import attrs

VARIABLE = "REPLAY_SUPERVISED_BY"
"""Environment variable with the supervisor's pid, and the descriptor for the report."""


@attrs.frozen
class Supervision:
    """The supervisor of this process.

    Attributes:
        pid: Process id of the supervisor.
        descriptor: File descriptor for one line, see `ready`.
    """

    pid: int
    descriptor: int

    def ready(self, grace: float) -> None:
        """Report that this process works, and the seconds that it takes at most to end after a signal."""
        with contextlib.suppress(OSError):  # the supervisor is gone
            os.write(self.descriptor, f"{grace}\n".encode())
            os.close(self.descriptor)

    @property
    def gone(self) -> bool:
        """True once the supervisor has died."""
        return os.getppid() != self.pid


def supervision() -> Supervision | None:
    """Return the supervisor of this process, on the first call only: processes started by this one have no supervisor."""
    pid, _, descriptor = os.environ.pop(VARIABLE, "").partition(" ")
    if not (pid.isdecimal() and descriptor.isdecimal()):
        return None
    with contextlib.suppress(OSError):
        os.set_inheritable(int(descriptor), False)
    return Supervision(int(pid), int(descriptor))
