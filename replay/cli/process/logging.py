"""Log format of a worker process: text for people, or one JSON object per line."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
from typing import Any

from replay.cli.text import safe_lines
from replay.worker.log_fields import StepFields

_FIELDS = ("execution_id", "schedule_id", "workflow", "step", "attempt", "action", "by", "why")
"""Fields of records about steps, and of the audit log."""


class JsonFormatter(logging.Formatter):
    """One JSON object per line, with the fields of steps and of the audit log; times are ISO 8601, UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as JSON."""
        time = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        found: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for field in _FIELDS:
            if hasattr(record, field):
                found[field] = getattr(record, field)
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found, default=str)


class TextFormatter(logging.Formatter):
    """Lines for people. Text of users and of steps neither steers a terminal nor looks like a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as text; the lines of a message and of a traceback are indented."""
        return safe_lines(super().format(record))


def set_up_logging(level: str, format: str) -> None:
    """Log to the error channel."""
    handler = logging.StreamHandler()
    handler.addFilter(StepFields())
    text = TextFormatter(f"[%(asctime)s] [{os.getpid()}] [%(levelname)s] %(message)s")
    handler.setFormatter(JsonFormatter() if format == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler])
