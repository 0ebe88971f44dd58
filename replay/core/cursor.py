"""The place in the log at which an execution's code is."""

from __future__ import annotations


class LogCursor:
    """The log index of the entry that is fed, or of the next one; and whether the recorded log has ended.

    Whoever feeds entries moves it: `Interpreter` and `fast_replay`.
    """

    __slots__ = ("live", "position")

    def __init__(self) -> None:
        self.position = 0
        self.live = False  # entries are made, not read
