"""Rules that every log obeys, whatever the workflow (invariant I9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from replay.core import entries as e


def violation(audit: Sequence[e.Fact]) -> str | None:
    """Return the first violated rule in the log of an execution without operator actions, None if there is none.

    * Time does not go back. No timer, timeout or retry is early.
    * No step is recorded twice, and its attempts have no gap.
    * Compensations run newest first, each once.
    * No entry follows the end.
    """
    return next(_problems(audit), None)


def _problems(audit: Sequence[e.Fact]) -> Iterator[str]:
    void = {index for entry in audit if isinstance(entry, e.AttemptFailed | e.Retried) for index in entry.voids}
    due: dict[tuple[int, str], float] = {}
    attempts: dict[str, int] = {}
    settled: set[str] = set()
    undoing = _Undoing()
    last = 0.0
    for index, entry in enumerate(audit):
        where = f"entry #{index}, {e.kind_of(entry)} {entry.id!r}"
        if entry.at < last:
            yield f"{where}: time goes back by {last - entry.at:g} s"
        last = entry.at
        timer = due.pop((entry.fiber, entry.id), None)
        match entry:
            case e.TimerSet(due=at):
                due[entry.fiber, entry.id] = at
            case e.TimerFired() | e.WaitTimedOut():
                if timer is not None and entry.at < timer:
                    yield f"{where}: {timer - entry.at:g} s too early"
            case e.StepRetried(attempt=attempt):
                due[entry.fiber, entry.id] = entry.due
                if attempt != attempts.get(entry.id, 0) + 1:
                    yield f"{where}: attempt {attempt} follows attempt {attempts.get(entry.id, 0)}"
                attempts[entry.id] = attempt
            case e.StepDone(attempts=count) | e.StepFailed(attempts=count):
                if timer is not None and entry.at < timer:
                    yield f"{where}: tried {timer - entry.at:g} s too early"
                if entry.id in settled:
                    yield f"{where}: it was recorded before"
                if count != attempts.pop(entry.id, 0) + 1:
                    yield f"{where}: {count} attempts are claimed, others are recorded"
                if index not in void:
                    settled.add(entry.id)
                if isinstance(entry, e.StepDone):
                    problem = undoing.follow(index, entry.id)
                    if problem:
                        yield f"{where}: {problem}"
            case e.AttemptFailed():
                due.clear()
                attempts.clear()
            case e.ExecutionClosed() if index != len(audit) - 1:
                yield f"{where}: entries follow the end"
            case _:
                pass


class _Undoing:
    """Checks the order of compensations."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}  # step -> log index
        self._last = (-1, -1)  # the last compensation: log index of its step, and its own

    def follow(self, index: int, id: str) -> str | None:
        """Record a completed step or compensation. Return the violated rule, None if there is none."""
        if not id.startswith("rollback:"):
            self._done[id] = index
            return None
        step = id.removeprefix("rollback:")
        done = self._done.pop(step, None)
        if done is None:
            return f"step {step!r} is not done, or was undone before"
        (last, undone), self._last = self._last, (done, index)
        return f"step {step!r} should have been undone before an older one" if last < done < undone else None
