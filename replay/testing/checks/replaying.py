"""Cold replay of a recorded log against today's code, without a store."""

from __future__ import annotations

from typing import Any

import msgspec

from replay.client.histories import Recorded
from replay.codec import TaggedJson
from replay.core import entries as e
from replay.core.errors import NonDeterminism, RemoteError, Undecodable
from replay.core.interpreter import Interpreter
from replay.core.parking import check_place, place_of
from replay.core.requests import Header
from replay.core.workflow_end import Outcome
from replay.definition import Workflow, top_level_packages
from replay.testing.checks.shifted_environment import shifted_environment
from replay.worker.sources import make_context


def replay(
    workflow: Workflow[Any, Any], recorded: Recorded, *, upto: int | None = None, codec: Any = None
) -> Interpreter:
    """Replay the first *upto* entries of a log (default: all) on *workflow*'s code. Returns the interpreter.

    Raises:
        NonDeterminism: The code does not do what the log says.
    """
    codec = codec or TaggedJson()
    codec.trust(*top_level_packages([workflow]))
    rows = recorded.rows[:upto]
    decoded = codec.decode_rows(rows)
    amended = e.effective(decoded) if recorded.header.amendments else e.Effective()
    header = recorded.header
    if upto is not None and upto < len(recorded.rows):  # a prefix has no later attempts
        header = msgspec.structs.replace(header, attempt=1 + sum(row[0] == "AttemptFailed" for row in decoded))
    patches = {row[3] for row in codec.decode_rows(recorded.rows) if row[0] == "Patched"}
    input = codec.decode(recorded.header.input)
    interpreter = Interpreter(
        lambda ctx: workflow.generator(ctx, input),
        make_context(header, lambda change: change in patches),
        digest=codec.digest,
        strict_arguments=True,
        rollback_on_failure=workflow.rollback_on_failure,
        amended=amended,
    )
    try:
        interpreter.feed_rows(decoded)
        if upto is None or upto >= len(recorded.rows):
            place = place_of(_progress(codec, header.current), len(recorded.rows))
            if place is not None:
                check_place(interpreter, place, header.id, len(recorded.rows))
    except BaseException:
        interpreter.close()
        raise
    return interpreter


def _progress(codec: Any, current: bytes) -> Any:
    try:
        return codec.decode(current)
    except Undecodable:
        return None


def check_cold(
    workflow: Workflow[Any, Any], recorded: Recorded, world: int, *, upto: int | None = None, codec: Any = None
) -> tuple[str, ...]:
    """Replay a log (or its first *upto* entries) in shifted environment number *world*. It must fit, and end as recorded.

    Returns:
        Ids of the steps that could be undone and were not, newest first.

    Raises:
        AssertionError: It does not. The message shows both sides and the findings of `replay lint`.
    """
    codec = codec or TaggedJson()
    length = len(recorded.rows)
    whole = upto is None or upto == length
    with shifted_environment(world, workflow, bare=True):
        try:
            interpreter = replay(workflow, recorded, upto=upto, codec=codec)
        except NonDeterminism as error:
            entries = length if upto is None else upto
            raise AssertionError(
                f"workflow {workflow.key!r} is not replay-safe (replaying {entries} of {length} entries in a shifted environment):\n"
                f"{error}{suspects(workflow)}"
            ) from error
        outcome = interpreter.outcome
        problem = _differs(codec, recorded.header, outcome) if whole else None
        undoable = interpreter.undoable
        interpreter.close()
    if problem:
        raise AssertionError(
            f"workflow {workflow.key!r} is not replay-safe: {problem}. It depends on something besides its log "
            f"(time, randomness, environment, a global).{suspects(workflow)}"
        )
    return undoable


def _differs(codec: Any, header: Header, outcome: Outcome | None) -> str | None:
    """Describe the difference between the ends of a replay and of the execution, None if they agree."""
    if header.status == "completed":
        if outcome is None or outcome.status != "completed":
            came = "is not at its end" if outcome is None else f"ends {outcome.status} ({outcome.error!r})"
            return f"it completed, but a replay of its log {came}"
        again = codec.encode(outcome.value)
        if header.result != again:
            return f"its result was {_text(header.result)}, but a replay of its log gives {_text(again)}"
    if header.status == "failed" and outcome is not None and outcome.status == "failed" and header.error is not None:
        error = codec.decode(header.error)
        if type(error).__name__ != type(outcome.error).__name__ and not isinstance(error, RemoteError):
            return f"it failed with {error!r}, but a replay of its log with {outcome.error!r}"
    return None


def _text(data: bytes | None) -> str:
    return "None" if data is None else data.decode(errors="replace")[:200]


def suspects(workflow: Workflow[Any, Any]) -> str:
    """Return the findings of `replay lint` in a workflow, as lines to append to a message."""
    from replay.lint import lint_function

    try:
        found = [finding.text() for finding in lint_function(workflow)]
    except (OSError, TypeError, SyntaxError):  # its source is not available
        found = []
    return "".join(f"\n  lint: {text}" for text in found)
