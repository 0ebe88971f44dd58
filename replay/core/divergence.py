"""Messages for code that does not fit its log or the rules: where, expected, found, fix."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from replay.core import entries as e
from replay.core.commands import ContinueAsNew
from replay.core.context import Context
from replay.core.errors import ForgottenYield, NonDeterminism, NotACommand
from replay.core.fibers import Fiber


def mismatch(
    execution_id: str,
    index: int,
    entry: e.Entry,
    fiber: Fiber | None,
    root: Fiber,
    ended: tuple[str, BaseException | None] | None,
) -> NonDeterminism:
    """Return the error for an *entry* that the code does not expect; *ended*: the code's status and error, if it has ended."""
    recorded = f"{e.kind_of(entry)}({entry.id!r})" + (f" in member {entry.fiber}" if entry.fiber else "")
    attempted, location = _attempted(fiber, root) if ended is None else _ended(*ended)
    change = (entry.id or "change").split("#")[0].split("/")[-1]
    return NonDeterminism(
        f"execution {execution_id!r}, log entry #{index}: the code no longer does what the log says\n"
        f"  the log has      {recorded}\n"
        f"  the code yields  {attempted}{f'   at {location}' if location else ''}\n"
        f"The workflow's code changed while this execution was under way, or it depends on something besides its log "
        f"(time, randomness, order of a set, a global, `ctx.attempt` before what an earlier attempt recorded).\n"
        f'Fix: guard the new path with `if ctx.patched("{change}-changed"):`, register the new code under another '
        f"`version=`, or restore the old code until old executions have ended. `replay lint` finds hidden inputs.",
        execution_id=execution_id,
        recorded=recorded,
        attempted=attempted,
        location=location,
        index=index,
    )


def parked_elsewhere(
    execution_id: str,
    length: int,
    reported: Mapping[str, Any],
    fiber: Fiber | None,
    root: Fiber,
    ended: tuple[str, BaseException | None] | None,
) -> NonDeterminism:
    """Return the error for code that does not wait for what the execution was parked at after *length* entries."""
    parked = _parked(reported)
    attempted, location = _attempted(fiber, root) if ended is None else _ended(*ended)
    signal = getattr(None if fiber is None else fiber.command, "signal", None)
    if isinstance(signal, str):
        attempted += f" for signal {signal!r}"
    change = str(reported.get("id") or "change").split("#")[0].split("/")[-1]
    return NonDeterminism(
        f"execution {execution_id!r}, after its {length} log entries: the code no longer waits for what the execution waits for\n"
        f"  it waits at      {parked}\n"
        f"  the code yields  {attempted}{f'   at {location}' if location else ''}\n"
        f"The workflow's code changed while this execution waited.\n"
        f'Fix: guard the new path with `if ctx.patched("{change}-changed"):`, register the new code under another '
        f"`version=`, or restore the old code until old executions have ended.",
        execution_id=execution_id,
        recorded=parked,
        attempted=attempted,
        location=location,
        index=length,
    )


def _parked(reported: Mapping[str, Any]) -> str:
    """Return a command of a progress report, as messages show commands."""
    kinds = {"step": "Step", "sleep": "Sleep", "signal": "WaitForSignal", "execution": "the wait for an execution"}
    kind, id = str(reported.get("kind")), reported.get("id")
    signal = f" for signal {reported['signal']!r}" if "signal" in reported else ""
    at = f"   at {reported['at']}" if reported.get("at") else ""
    return f"{kinds.get(kind, kind)}({id!r}){signal}{at}"


def arguments(execution_id: str, index: int, fiber: Fiber) -> NonDeterminism:
    """Return the error for a step whose arguments are not those that were recorded (of which only a digest is kept)."""
    location = fiber.where()
    what = f"Step({fiber.id!r})"
    given = ", ".join(
        [*map(_brief, fiber.command.args), *(f"{k}={_brief(v)}" for k, v in fiber.command.kwargs.items())]
    )
    return NonDeterminism(
        f"execution {execution_id!r}, log entry #{index}: {what} is called with other arguments than were recorded"
        f"{f' at {location}' if location else ''}\n"
        f"  the code gives   ({given})\n"
        f"Fix: derive a step's arguments from the input, earlier results and ctx only; "
        f"or set argument_policy='off' if the difference does not matter.",
        execution_id=execution_id,
        recorded=f"{what} with the recorded arguments",
        attempted=f"{what} with ({given})",
        location=location,
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
    if isinstance(value, ContinueAsNew):
        return NotACommand(
            f"the workflow yielded ctx.continue_as_new(...){at}, with which it ends. Fix: write `return ctx.continue_as_new(...)`"
        )
    if callable(value) and hasattr(value, "__name__"):
        name = value.__name__
        if isinstance(getattr(value, "__self__", None), Context):
            return NotACommand(f"the workflow yielded ctx.{name} itself{at}. Fix: write `yield ctx.{name}(...)`")
        return NotACommand(
            f"the workflow yielded {name} itself{at}. "
            f"Fix: write `yield ctx.step(id, {name}, ...)`, or `yield from {name}(ctx, ...)` if it is a workflow"
        )
    if isinstance(value, list | tuple | dict):
        return NotACommand(f"the workflow yielded a {type(value).__name__}{at}. Fix: write `yield ctx.all(...)`")
    return NotACommand(
        f"the workflow yielded {type(value).__name__} {shown(value, 80)!r}{at}, which is not a command. "
        f"Fix: yield a command, such as `yield ctx.step(id, function, ...)`; "
        f"ctx.now(), ctx.uuid(), ctx.random() and ctx.patched() give their answers without"
    )


def forgotten(lost: tuple[Any, int], where: str = "") -> ForgottenYield:
    """Return the error for a command that was never yielded, or a `continue_as_new` that was not returned.

    Args:
        lost: The command and the line on which it was built (0: unknown).
        where: `file:line` of the yield at which the loss was found.
    """
    command, line = lost
    kind = type(command).__name__
    file = where.rpartition(":")[0]
    at = (f" at line {line}" + (f" of {file}" if file else "")) if line else ""
    before = f" (the next yield is at {where})" if where else ""
    if isinstance(command, ContinueAsNew):
        return ForgottenYield(
            f"ctx.continue_as_new(...) was called{at} but the workflow did not return what it gave{before}, "
            f"so it would not begin anew.\nFix: write `return ctx.continue_as_new(...)`, and hand on what a sub-flow returns"
        )
    return ForgottenYield(
        f"{kind} {command.id!r} was built{at} but never yielded{before}, so it would not happen.\n"
        f"Fix: write `yield ctx....` (or `yield from`) in front of it; build commands only where they are yielded"
    )


def shown(value: object, most: int) -> str:
    """Return up to *most* characters of a user's value, for a message. A `__str__` that fails is named instead."""
    try:
        return str(value)[:most]
    except Exception as error:
        return f"<{type(value).__name__} whose str() raises {type(error).__name__}>"


def _brief(value: object) -> str:
    return shown(repr(value) if isinstance(value, str | bytes) else value, 80)


def returned_generator(value: Any) -> NotACommand:
    """Return the error for a workflow that returned a generator."""
    name = getattr(value, "__name__", "helper")
    value.close()
    return NotACommand(f"the workflow returned a generator. Fix: write `return (yield from {name}(...))`")


def _ended(status: str, error: BaseException | None) -> tuple[str, str]:
    """Return a text about the code's end, and the innermost line of the user's that raised."""
    location, trace = "", None if error is None else error.__traceback__
    while trace is not None:
        if "replay.core" not in trace.tb_frame.f_globals.get("__name__", ""):
            location = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    why = "" if error is None else f", {type(error).__name__}: {shown(error, 200)}"
    return f"nothing: it has ended ({status}{why})", location


def _attempted(fiber: Fiber | None, root: Fiber) -> tuple[str, str]:
    if fiber is None:
        return ("nothing yet" if root.command is None else "nothing in that member"), root.where()
    return f"{type(fiber.command).__name__}({fiber.id!r})", fiber.where()
