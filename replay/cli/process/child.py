"""A worker process's side of supervision: it says when it works, and drains when its supervisor is gone."""

from __future__ import annotations

import contextlib
import os

import attrs

VARIABLE = "REPLAY_SUPERVISED_BY"
"""Environment variable with the supervisor's pid, and the descriptor on which it waits for a word."""


@attrs.frozen
class Supervision:
    """The supervisor of this process.

    Attributes:
        pid: Of the supervisor.
        descriptor: Takes one line, see `ready`.
    """

    pid: int
    descriptor: int

    def ready(self, grace: float) -> None:
        """Say that this process works, and within how many seconds after a signal it will have ended."""
        with contextlib.suppress(OSError):  # the supervisor is gone
            os.write(self.descriptor, f"{grace}\n".encode())
            os.close(self.descriptor)

    @property
    def gone(self) -> bool:
        """Whether the supervisor has died."""
        return os.getppid() != self.pid


def supervision() -> Supervision | None:
    """Return this process's supervisor, once: processes that this one starts are not the supervisor's."""
    pid, _, descriptor = os.environ.pop(VARIABLE, "").partition(" ")
    if not (pid.isdecimal() and descriptor.isdecimal()):
        return None
    with contextlib.suppress(OSError):
        os.set_inheritable(int(descriptor), False)
    return Supervision(int(pid), int(descriptor))
