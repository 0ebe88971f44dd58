"""Timeline of an execution: its audit trail as lines for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from replay.cli.output import chain_of, message_of, name_of, plain, when
from replay.cli.text import safe
from replay.client.records import Detail, WaitingMessage
from replay.codec.exceptions import safe_repr, safe_text, traceback_of
from replay.codec.log_rows import Unreadable
from replay.core import entries as e
from replay.core.errors import CompensationFailed, ExecutionFailed, StepFailed


def lines(detail: Detail) -> list[str]:
    """Return the timeline of *detail*: one line for each entry, with the time since the start."""
    start = detail.execution.created_at
    found = [f"{0:>9.3f}s  created"]
    for entry in detail.audit:
        found.append(f"{entry.at - start:>9.3f}s  {_indent(entry)}{safe(describe(entry))}")
    for wait in detail.execution.current:
        found.append(f"{'now':>10}  {safe(describe_wait(wait))}")
    for message in detail.inbox:
        found.append(f"{'inbox':>10}  {safe(_message(message))}, since {message.at - start:.3f}s")
    return found


def _message(message: WaitingMessage) -> str:
    match message.kind:
        case "signal":
            return f"signal {message.name} <- {_short(message.payload)}, kept until the workflow waits for it"
        case "cancel":
            return f"cancel: {_short(message.payload)}"
        case _:
            return f"{message.kind}: {message.name}"


def _indent(entry: e.Entry) -> str:
    return "  " * min(entry.id.count("/"), 4)


def describe(entry: e.Fact | Unreadable) -> str:
    """Return *entry* in words."""
    match entry:
        case e.AttemptStarted():
            return f"began on {entry.worker}" + (f", attempt {entry.attempt}" if entry.attempt > 1 else "")
        case e.StepDone():
            tries = f" (attempt {entry.attempts})" if entry.attempts > 1 else ""
            return f"step {entry.id} -> {_short(entry.result)}{tries}, {entry.seconds * 1000:.1f} ms"
        case e.StepFailed():
            return f"step {entry.id} failed after {entry.attempts}: {_error(entry.error)}"
        case e.StepRetried():
            return f"step {entry.id} failed (attempt {entry.attempt}), again in {entry.due - entry.at:.1f} s: {_error(entry.error)}"
        case e.StepBegun():
            return f"step {entry.id} begun (at most once)"
        case e.TimerSet():
            return f"{entry.id}: waits at most {entry.due - entry.at:.1f} s"
        case e.TimerFired():
            return f"{entry.id}: time is up"
        case e.SignalReceived():
            return f"signal {entry.signal} <- {_short(entry.payload)}"
        case e.WaitTimedOut():
            return f"{entry.id}: timed out"
        case e.BranchChosen():
            return f"switch {entry.id}: {entry.branch}"
        case e.Emitted():
            return f"emitted {entry.event} {_short(entry.payload)}"
        case e.ChildStarted():
            return f"child {entry.id}: started {entry.workflow} as {entry.execution_id}"
        case e.ExecutionEnded():
            return f"{entry.id}: execution {entry.execution_id} ended {entry.status}"
        case e.RaceWon():
            return f"race {entry.id}: won by {entry.winner}"
        case e.NoteAdded():
            return f"note: {entry.text}" + (f" {_short(entry.data)}" if entry.data else "")
        case e.Patched():
            return f"patched: {entry.id}"
        case e.Refused():
            return f"{entry.id}: refused, {_error(entry.error)}"
        case e.CancelReceived():
            return f"{entry.cause}: {entry.reason or 'no reason given'}"
        case e.AttemptFailed():
            return f"attempt {entry.attempt} failed, again in {max(0.0, entry.due - entry.at):.1f} s: {_error(entry.error)}"
        case e.ExecutionClosed():
            return f"ended {entry.status}"
        case e.Retried():
            return f"operator {entry.by} retried: {entry.why}"
        case e.Edited():
            return f"operator {entry.by} edited entry #{entry.index} to {_short(entry.result)}: {entry.why}"
        case e.Intervened():
            return f"operator {entry.by}: {entry.action} ({entry.why})"
        case Unreadable():
            return f"{entry.id or 'entry'} cannot be read: {entry.why}"


def describe_wait(wait: dict[str, Any]) -> str:
    """Return in words an item of `Execution.current`: a command under way, or a wait."""
    where = f" at {wait['at']}" if wait.get("at") else ""
    if type(wait.get("due")) in (int, float):
        where += f", due {when(wait['due'])}"
    match wait.get("kind"):
        case "signal":
            return f"waits for signal {wait.get('signal')}{where}"
        case "sleep":
            return f"sleeps ({wait.get('id')}){where}"
        case "step":
            return f"step {wait.get('id')}, attempt {wait.get('attempt', 1)}{where}"
        case "execution":
            return f"waits for execution {wait.get('execution_id')}{where}"
        case "attempt":
            return f"waits for attempt {wait.get('attempt')}{where}"
        case "stuck":
            return f"stuck: {wait.get('error')}: {wait.get('message')}"
        case "crash_loop":
            return "stuck: its workers died again and again"
        case "damaged" | "unreadable" as kind:
            return f"{kind}: {wait.get('error')}"
        case kind:
            return f"{kind} {wait.get('id', '')}{where}"


def entry_json(entry: e.Entry) -> dict[str, Any]:
    """Return *entry* for programs: its type and its fields."""
    return {"type": e.kind_of(entry), **plain(entry)}


_ENGINE_FRAME = re.compile(r"""File ".*[/\\]replay[/\\](core[/\\]\w+|(worker[/\\])?(steps|pool))\.py\"""")
"""A traceback's line for a frame of the engine; version 0.1 recorded `steps` and `pool` without a folder."""


def failure_lines(error: BaseException) -> Iterator[str]:
    """Yield the lines for an error: its class, message and traceback, then the same for each cause.

    An error that the engine raises because of another one is shown without the engine's frames.
    """
    for number, each in enumerate(chain_of(error)):
        yield f"{'caused by' if number else 'error':<9} {safe(name_of(each))}: {safe(message_of(each))}"
        frames = re.split(r"(?m)^(?=  File )", traceback_of(each) or "")
        if isinstance(each, StepFailed | ExecutionFailed | CompensationFailed):
            frames = [frame for frame in frames if not _ENGINE_FRAME.search(frame)]
        for line in "".join(frames).splitlines():
            yield "  " + safe(line)


def text_of(value: Any) -> str:
    """Return the text of any value, even if its `__str__` fails."""
    return safe(safe_text(value))


def _short(value: Any) -> str:
    text = safe_repr(value)
    return text if len(text) <= 70 else text[:67] + "..."


def _error(error: Any) -> str:
    return f"{name_of(error)}: {message_of(error)}"[:120] if isinstance(error, BaseException) else _short(error)
