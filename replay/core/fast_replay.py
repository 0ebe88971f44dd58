"""Fast replay: feeds runs of plain steps of the workflow itself, about eight times as fast as `Interpreter.feed`.

The rule: a row is fed here if it is the `StepDone` of a step without options, yielded by the workflow itself right after it
was built, with the recorded arguments and a plain id. All else goes the general way, with the same result in either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from replay.core.commands import PLAIN, Step
from replay.core.cursor import LogCursor
from replay.core.errors import NonDeterminism
from replay.core.ids import is_plain
from replay.core.interrupts import ends_the_process
from replay.core.scheduler import Scheduler
from replay.core.waits import StepWait

Digest = Callable[[tuple[Any, ...], dict[str, Any]], int | None]
"""Fingerprints a step's arguments."""


def feed_plain_steps(
    scheduler: Scheduler, cursor: LogCursor, digest: Digest | None, rows: Sequence[list[Any]], index: int
) -> int:
    """Feed the run of plain steps that starts at *index* of *rows* (decoded); return the index at which it ends.

    Raises:
        NonDeterminism: The workflow's code raised it.
    """
    root = scheduler.root
    wait, id = root.wait, root.id
    if not isinstance(wait, StepWait) or wait.command.options is not PLAIN or rows[index][0] != "StepDone":
        return index
    if root.gen is None or wait.failures or root.cancel is not None:
        return index
    command: Any = wait.command
    send: Callable[[Any], Any] = partial(root.context.run, root.gen.send)  # type: ignore[call-arg]  # the stub knows no such partial
    advance_to, not_yielded = scheduler.context.advance_to, scheduler.context.not_yielded
    counts, unique, began, end = scheduler.ids.counts, scheduler.ids.unique, index, len(rows)
    while index < end:
        row = rows[index]
        if (
            row[0] != "StepDone"
            or row[2] != 0
            or row[3] != id
            or command.options is not PLAIN
            or (digest is not None and row[5] is not None and digest(command.args, command.kwargs) != row[5])
        ):
            break
        advance_to(row[1])
        root.id, root.wait = id, None
        index += 1
        try:
            command = send(row[4])
        except StopIteration as stop:
            return _go_on(scheduler, cursor, index, scheduler.finish, stop.value, None)
        except NonDeterminism:
            raise
        except BaseException as error:
            if ends_the_process(error):
                raise
            return _go_on(scheduler, cursor, index, scheduler.finish, None, error)
        if command.__class__ is not Step or len(not_yielded) != 1 or not_yielded[0] is not command:
            return _go_on(scheduler, cursor, index, scheduler.begin, command)
        id = command.id
        if id in counts:
            id = unique("", id, "Step")
        elif is_plain(id):
            counts[id] = 1
        else:
            return _go_on(scheduler, cursor, index, scheduler.begin, command)
        not_yielded.pop()
        cursor.position += 1
    if index > began:
        root.id, root.wait = id, StepWait(command)
    return index


def _go_on(scheduler: Scheduler, cursor: LogCursor, index: int, then: Callable[..., None], *args: Any) -> int:
    """Treat what came of the last row in the general way; return *index*."""
    then(scheduler.root, *args)
    scheduler.drive()
    cursor.position += 1
    return index
