"""Fields of the running step, for log records made in its body."""

from __future__ import annotations

import logging

from replay.worker.steps import running_step


class StepFields(logging.Filter):
    """Gives records that are made in a step's body `execution_id`, `workflow`, `step` and `attempt`. Add it to a handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; every record passes."""
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
