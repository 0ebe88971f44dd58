"""Log fields of the running step."""

from __future__ import annotations

import logging

from replay.worker.steps import running_step


class StepFields(logging.Filter):
    """A filter that adds `execution_id`, `workflow`, `step` and `attempt` to the log records of step bodies.

    Add it to a handler.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields. Every record passes."""
        step = running_step()
        if step is not None:
            fields = {
                "execution_id": step.execution_id,
                "workflow": step.workflow,
                "step": step.id,
                "attempt": step.attempt,
            }
            for name, value in fields.items():
                if not hasattr(record, name):
                    setattr(record, name, value)
        return True
