"""Timeline of a simulation: requests of users, recorded entries, steps and faults, a line each.

Entries are decoded only when the lines are read, so an unread timeline costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from replay.codec.exceptions import safe_repr
from replay.codec.log_rows import audit_of
from replay.core import entries as e
from replay.core import requests as r
from replay.core.errors import describe_error
from replay.ports import Codec

SHORT = 20
"""Longest id shown as it is. An execution with a longer id is named after its workflow."""

WIDE = 120
"""Most characters shown of a value."""


class Timeline:
    """Timeline of one simulation.

    Args:
        codec: Decodes entries.
        now: Returns the virtual time, seconds since the epoch.

    Attributes:
        workflows: Workflow keys of all created executions, by execution id.
    """

    def __init__(self, codec: Codec, now: Callable[[], float]) -> None:
        self.workflows: dict[str, str] = {}
        self._codec = codec
        self._now = now
        self._start = now()
        self._lines: list[tuple[float, str, str | Callable[[], list[str]]]] = []
        self._names: dict[str, str] = {}
        self._commits: set[str] = set()

    def say(self, who: str, what: str) -> None:
        """Add a line."""
        self._lines.append((self._now(), who, what))

    def name(self, id: str) -> str:
        """Return a short name for an execution."""
        if len(id) <= SHORT:
            return id
        if id not in self._names:
            workflow = self.workflows.get(id, "execution")
            self._names[id] = f"{workflow}~{sum(n.startswith(f'{workflow}~') for n in self._names.values()) + 1}"
        return self._names[id]

    def lines(self, last: int | None = None) -> list[str]:
        """Return all lines, or the *last* of them."""
        found: list[str] = []
        for at, who, what in self._lines:
            for text in [what] if isinstance(what, str) else what():
                found.append(f"{at - self._start:12.3f}  {who:<4} {text}")
        return found if last is None else found[-last:]

    def around(self, word: str, before: int = 4, after: int = 5) -> list[str]:
        """Return the lines around the first that has *word*; dots stand for what is left out."""
        lines = self.lines()
        place = next((number for number, line in enumerate(lines) if word in line), len(lines))
        first, last = max(0, place - before), place + after + 1
        dots = "         ..."
        return [*([dots] if first else []), *lines[first:last], *([dots] if last < len(lines) else [])]

    def applied(self, who: str, requests: Sequence[r.Request[Any]], replies: Sequence[Any]) -> None:
        """Add the lines of requests that the store applied."""
        for request, reply in zip(requests, replies, strict=True):
            if isinstance(reply, Exception):
                continue
            match request:
                case r.Create() if reply.fresh:
                    self._created(request)
                    self._add(who, self._asked, request)
                case r.Deliver(kind="signal"):
                    self._add(who, self._asked, request, ", again" if reply.duplicate else "")
                case r.Deliver(kind="cancel") if not reply.duplicate:
                    self._add(who, self._asked, request)
                case r.Commit(commit_id=commit) if commit not in self._commits:
                    self._commits.add(commit)
                    for each in request.creates:
                        self._created(each)
                    if request.entries or isinstance(request.then, r.End | r.Restart):
                        self._add(who, self._committed, request)
                case r.PutSchedule(creates=creates):
                    for each in creates:
                        self._created(each)
                case _:
                    pass

    def _add(self, who: str, describe: Callable[..., list[str]], *about: Any) -> None:
        self._lines.append((self._now(), who, partial(describe, *about)))

    def _created(self, create: r.Create) -> None:
        self.workflows.setdefault(create.id, create.workflow)
        self.name(create.id)  # named now, so that numbers follow the order of creation

    def _asked(self, request: r.Create | r.Deliver, more: str = "") -> list[str]:
        name = self.name(request.id)
        match request:
            case r.Create(id=id, workflow=workflow, input=input):
                return [f"starts {name}{_of(id, workflow)} with {self._value(input)}"]
            case r.Deliver(kind="cancel", payload=payload):
                return [f"cancels {name}: {self._value(payload)}"]
            case r.Deliver(name=signal, payload=payload):
                return [f"sends {name} signal {signal}: {self._value(payload)}{more}"]

    def _value(self, data: bytes) -> str:
        return short(self._codec.decode(data))

    def _committed(self, request: r.Commit) -> list[str]:
        name = self.name(request.id)
        described = [self._entry(entry) for entry in audit_of(list(request.entries), self._codec)]
        lines = [f"{name}: {line}" for line in described if line]
        match request.then:
            case r.End(status=status, result=result, error=error):
                came = "" if result is None else f" with {self._value(result)}"
                came += "" if error is None else f": {_error(self._codec.decode(error))}"
                lines.append(f"{name}: ends {status}{came}")
            case r.Restart(input=input):
                lines.append(f"{name}: continues as new with {self._value(input)}")
            case _:
                pass
        return lines

    def _entry(self, entry: e.Fact) -> str:
        match entry:
            case e.AttemptStarted(attempt=attempt):
                return "begins" if attempt == 1 else f"begins attempt {attempt}"
            case e.StepDone(id=id, result=result):
                return f"{id} gives {short(result)}"
            case e.StepFailed(id=id, error=error):
                return f"{id} fails for good: {_error(error)}"
            case e.StepRetried(id=id, error=error, attempt=attempt, due=due):
                return f"{id} fails (attempt {attempt}): {_error(error)}; again at {self._instant(due)}"
            case e.StepBegun(id=id):
                return f"{id} is about to run, at most once"
            case e.TimerSet(id=id, due=due):
                return f"{id} sets a timer for {self._instant(due)}"
            case e.TimerFired(id=id):
                return f"{id}: its timer fires"
            case e.SignalReceived(signal=signal, payload=payload):
                return f"receives signal {signal}: {short(payload)}"
            case e.WaitTimedOut(id=id):
                return f"{id} times out"
            case e.BranchChosen(id=id, branch=branch):
                return f"{id} takes branch {branch}"
            case e.Emitted(event=event, payload=payload):
                return f"emits {event}: {short(payload)}"
            case e.ChildStarted(id=id, execution_id=child, workflow=workflow):
                return f"{id} starts child {self.name(child)}{_of(child, workflow)}"
            case e.ExecutionEnded(execution_id=child, status=status, result=result, error=error):
                came = short(result) if error is None else _error(error)
                return f"sees {self.name(child)} end {status}: {came}"
            case e.RaceWon(id=id, winner=winner):
                return f"{id} is won by {winner}"
            case e.NoteAdded(text=text, data=data):
                return f"notes {text} {short(data)}"
            case e.Patched(id=id):
                return f"takes the new path of {id}"
            case e.Refused(id=id, error=error):
                return f"{id} is refused: {_error(error)}"
            case e.CancelReceived(reason=reason, cause=cause):
                return f"is cancelled ({cause}): {reason}"
            case e.AttemptFailed(attempt=attempt, error=error, due=due):
                again = f"at {self._instant(due)}" if due else "at once"
                return f"attempt {attempt} fails: {_error(error)}; again {again}"
            case e.ExecutionClosed():
                return ""  # the line of the commit says it
            case e.Retried() | e.Edited() | e.Intervened():
                return f"an operator: {type(entry).__name__} {entry.why}"

    def _instant(self, at: float) -> str:
        return f"{at - self._start:.3f}"


def short(value: Any) -> str:
    """Return a value's `repr`, cut to fit a line."""
    text = safe_repr(value)
    return text if len(text) <= WIDE else f"{text[: WIDE - 3]}..."


def _error(error: Any) -> str:
    if not issubclass(type(error), BaseException):  # the reason of a cancel
        return describe_error(error)
    text = (describe_error(error).splitlines() or [""])[0]
    return text if len(text) <= WIDE else f"{text[: WIDE - 3]}..."


def _of(id: str, workflow: str) -> str:
    return f" ({workflow})" if len(id) <= SHORT else ""
