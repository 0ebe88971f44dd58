"""Cold replay of a recorded log against today's code, without a store: the ground of all replay checks."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from typing import Any

from replay.codec import TaggedJson
from replay.core import entries as e
from replay.core.interpreter import Interpreter
from replay.definition import Workflow, packages
from replay.determinism import make_context
from replay.histories import Recorded

SHIFT = 36.7 * 86_400.0 + 1.37
"""Seconds between worlds: another day, hour and minute, and an odd number of seconds, so that no even division hides it."""


def replay(
    workflow: Workflow[Any, Any], recorded: Recorded, *, upto: int | None = None, codec: Any = None
) -> Interpreter:
    """Feed the first *upto* entries of a log (default: all) to *workflow*'s code and return the interpreter.

    Raises:
        NonDeterminism: The code does not do what the log says.
    """
    codec = codec or TaggedJson()
    codec.trust(*packages([workflow]))
    rows = recorded.rows[:upto]
    decoded = codec.decode_rows(rows)
    amended = e.effective(decoded) if recorded.header.amendments else e.Effective()
    patches = {row[3] for row in codec.decode_rows(recorded.rows) if row[0] == "Patched"}
    input = codec.decode(recorded.header.input)
    interpreter = Interpreter(
        lambda ctx: workflow.generator(ctx, input),
        make_context(recorded.header, lambda change: change in patches),
        digest=codec.digest,
        strict_arguments=True,
        rollback_on_failure=workflow.rollback_on_failure,
        changes=amended.changes,
    )
    try:
        interpreter.feed_rows(decoded)
    except BaseException:
        interpreter.close()
        raise
    return interpreter


@contextlib.contextmanager
def another_world(number: int) -> Iterator[None]:
    """Shift what a workflow must not look at: the clock, and the global random generator."""
    real = {name: getattr(time, name) for name in ("time", "monotonic", "perf_counter", "time_ns")}
    state = random.getstate()
    shift = SHIFT * number
    for name, function in real.items():
        offset = shift if not name.endswith("_ns") else int(shift * 1e9)
        setattr(time, name, lambda function=function, offset=offset: function() + offset)
    random.seed(number)
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(time, name, function)
        random.setstate(state)
