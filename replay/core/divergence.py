"""What to say when a workflow's code and its log, or its code and the rules, do not fit: where, expected, found, fix."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from replay.core import entries as e
from replay.core.errors import NonDeterminism, NotACommand
from replay.core.fibers import Fiber


def mismatch(execution_id: str, index: int, entry: e.Entry, fiber: Fiber | None, root: Fiber) -> NonDeterminism:
    """Return the error for an *entry* of the log that the code does not want."""
    recorded = f"{type(entry).__name__}({entry.id!r})" + (f" in member {entry.fiber}" if entry.fiber else "")
    attempted, location = _attempted(fiber, root)
    change = (entry.id or "change").split("#")[0].split("/")[-1]
    return NonDeterminism(
        f"execution {execution_id!r}, log entry #{index}: the code no longer does what the log says\n"
        f"  the log has      {recorded}\n"
        f"  the code yields  {attempted}{f'   at {location}' if location else ''}\n"
        f"The workflow's code changed while this execution was under way, or it depends on something besides its log "
        f"(time, randomness, order of a set, a global).\n"
        f'Fix: guard the new path with `if ctx.patched("{change}-changed"):`, register the new code under another '
        f"`version=`, or restore the old code until old executions have ended. `replay lint` finds hidden inputs.",
        execution_id=execution_id,
        recorded=recorded,
        attempted=attempted,
        location=location,
        index=index,
    )


def arguments(execution_id: str, index: int, fiber: Fiber) -> NonDeterminism:
    """Return the error for a step whose arguments are not those that were recorded."""
    location = fiber.where()
    what = f"Step({fiber.id!r})"
    return NonDeterminism(
        f"execution {execution_id!r}, log entry #{index}: {what} is called with other arguments than were recorded"
        f"{f' at {location}' if location else ''}\n"
        f"Fix: derive a step's arguments from the input, earlier results and ctx only; "
        f"or set argument_policy='off' if the difference does not matter.",
        execution_id=execution_id,
        recorded=f"{what} with the recorded arguments",
        attempted=f"{what} with other arguments",
        location=location,
        index=index,
    )


def surplus(execution_id: str, index: int, entry: e.Entry, outcome: Any) -> NonDeterminism:
    """Return the error for a log that goes on after the code has ended."""
    recorded = f"{type(entry).__name__}({entry.id!r})"
    return NonDeterminism(
        f"execution {execution_id!r}, log entry #{index}: the log goes on where the code ends\n"
        f"  the log has      {recorded}\n"
        f"  the code         has ended ({outcome.status})\n"
        f"Fix: restore the removed commands, or guard their removal with ctx.patched(...).",
        execution_id=execution_id,
        recorded=recorded,
        attempted=f"the end ({outcome.status})",
        index=index,
    )


def not_a_command(value: Any, fiber: Fiber) -> NotACommand:
    """Return the error for something yielded that is not a command."""
    location = fiber.where()
    at = f" at {location}" if location else ""
    if isinstance(value, Generator):
        name = getattr(value, "__name__", "helper")
        return NotACommand(f"the workflow yielded a generator{at}. Fix: write `yield from {name}(...)`")
    if hasattr(value, "__await__"):
        return NotACommand(
            f"the workflow yielded an awaitable{at}. Fix: run it as a step: `yield ctx.step(id, async_function, ...)`"
        )
    if isinstance(value, list | tuple | dict):
        return NotACommand(f"the workflow yielded a {type(value).__name__}{at}. Fix: write `yield ctx.all(...)`")
    return NotACommand(
        f"the workflow yielded {type(value).__name__} {str(value)[:80]!r}{at}, which is not a command. "
        f"Fix: yield what a method of ctx returns, such as `yield ctx.step(id, function, ...)`"
    )


def returned_generator(value: Any) -> NotACommand:
    """Return the error for a workflow that returned a generator."""
    name = getattr(value, "__name__", "helper")
    value.close()
    return NotACommand(f"the workflow returned a generator. Fix: write `return (yield from {name}(...))`")


def _attempted(fiber: Fiber | None, root: Fiber) -> tuple[str, str]:
    if fiber is None:
        return ("nothing in that member" if root.command is not None else "nothing: it has ended"), root.where()
    if fiber.command is None:
        return "nothing yet", fiber.where()
    return f"{type(fiber.command).__name__}({fiber.id!r})", fiber.where()
