"""Loggers whose calls never raise: a handler or filter of the application must not stop a worker."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any

from replay.core.errors import describe_error
from replay.core.interrupts import ends_the_process


class SafeLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that reports what a handler raises on the standard error stream, as `logging` reports its own failures."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Return both unchanged."""
        return msg, kwargs

    def log(self, level: int, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Log a record. Never raises."""
        try:
            super().log(level, msg, *args, stacklevel=kwargs.pop("stacklevel", 1) + 1, **kwargs)
        except BaseException as error:
            if ends_the_process(error):
                raise
            if logging.raiseExceptions:
                with contextlib.suppress(Exception):  # the stream may be closed
                    sys.stderr.write(f"a handler of logger {self.logger.name!r} raised {describe_error(error)}\n")


def get_logger(name: str) -> SafeLogger:
    """Return a logger for the records of *name*."""
    return SafeLogger(logging.getLogger(name), {})
