"""Executions that a workflow must not wait for: its own, and those of other workflows than it names."""

from __future__ import annotations

from replay.core.errors import WrongExecution


def waits_for_itself(id: str, workflow: str | None) -> WrongExecution:
    """Return the refusal of a wait for the workflow's own execution."""
    named = "" if workflow is None else f", named as one of workflow {workflow!r}"
    return WrongExecution(
        f"execution {id!r} waits for its own end{named}, which would never come. Fix: pass the id of another execution"
    )


def of_another_workflow(id: str, found: str, expected: str) -> WrongExecution:
    """Return the refusal of a wait for an execution of workflow *found*, where *expected* was named."""
    return WrongExecution(
        f"execution {id!r} is of workflow {found!r}, not of {expected!r}, whose result is waited for. "
        f"Fix: name the workflow {found!r}, or pass the id of an execution of {expected!r}"
    )
