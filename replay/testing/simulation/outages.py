"""Log filter that hides a simulated worker's outage warnings: the simulation plans outages, and its timeline shows them."""

from __future__ import annotations

import logging


class OutageFilter(logging.Filter):
    """Context manager that drops outage warnings of `replay.worker` inside its block."""

    def __init__(self) -> None:
        super().__init__()
        self._active = False

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        return not (self._active and str(record.msg).startswith("the store can"))

    def __enter__(self) -> None:
        self._active = True

    def __exit__(self, *exc: object) -> None:
        self._active = False


quiet_outages = OutageFilter()
"""The one filter: loggers are shared by all simulations of a process."""

logging.getLogger("replay.worker").addFilter(quiet_outages)
