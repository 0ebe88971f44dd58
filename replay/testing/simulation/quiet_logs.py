"""Log filter of simulated workers: a simulation plans outages and failures, and its timeline shows them."""

from __future__ import annotations

import logging


class QuietLog(logging.Filter):
    """Context manager that drops a logger's messages inside its block; with *start*, those alone that start so."""

    def __init__(self, logger: str, start: str = "") -> None:
        super().__init__()
        self._start = start
        self._depth = 0
        logging.getLogger(logger).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        return not (self._depth and str(record.msg).startswith(self._start))

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *exc: object) -> None:
        self._depth -= 1


quiet_outages = QuietLog("replay.worker", "the store can")
"""Filter around the effects of a simulation. Loggers are shared by all simulations of a process."""

quiet_workers = QuietLog("replay.worker")
"""Filter around the many runs of a check: what a worker warns of is in the timeline of the run that fails."""
