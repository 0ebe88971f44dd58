"""The operator: what a person does to executions at 3 a.m. Each action is guarded by status, atomic, and written to the log.

Works with the store alone: no workflow code is needed.
"""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from replay.core import entries as e
from replay.core import requests as r
from replay.core.errors import OperatorRefused
from replay.engine import Engine
from replay.handles import Handle, id_of
from replay.records import Detail, Execution, Page, Status, execution_of

OPEN = ("pending", "running", "sleeping", "retrying", "cancelling", "stuck")
"""The statuses of executions that have not ended."""

OVERDUE = 60.0
"""Seconds after which work that is due and that nobody has taken is worth somebody's attention."""


@attrs.frozen
class Stuck:
    """An execution that does not go on by itself, and why.

    `reason` is `diverged`, `undecodable`, `engine` (an error of the engine's own), `crash_loop`, `compensation_failed`,
    `unknown_workflow` (no worker serves it), `overdue` (due, but nobody takes it) or `expired` (its worker fell silent).
    """

    execution: Execution
    reason: str
    message: str


class Operator:
    """Acts on executions.

    Args:
        target: An `Engine`, or the URL of a store.
        by: Who acts (kept in the audit trail; default: the user's name).
        namespace: For a URL: the namespace to work in.
    """

    def __init__(self, target: Engine | str, *, by: str | None = None, namespace: str = "default") -> None:
        self._owned = isinstance(target, str)
        self._engine = Engine(target, namespace=namespace) if isinstance(target, str) else target
        self._by = by or _user()

    def close(self) -> None:
        """Release what was opened for a URL."""
        if self._owned:
            self._engine.close()

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- looking ------------------------------------------------------------------------------------

    def executions(self, **filters: Any) -> Page[Execution]:
        """List executions; filters as in `Engine.find_executions`."""
        return self._engine.find_executions(**filters)

    def detail(self, execution: str | Handle[Any]) -> Detail:
        """Return an execution with its steps and audit trail."""
        return self._engine.detail(execution)

    def stuck(self, limit: int = 1000) -> tuple[Stuck, ...]:
        """List what needs help, newest first."""
        now = self._engine.ask(r.Ping())
        served = {w["key"] for row in self._engine.ask(r.Workers()) for w in _info(row).get("workflows", ())}
        found = []
        for header in self._engine.ask(r.Find(statuses=("stuck", "compensation_failed"), limit=limit)).headers:
            found.append(self._why(execution_of(header, self._engine.codec)))
        for header in self._engine.ask(r.Find(due_before=now - OVERDUE, limit=limit)).headers:
            if header.status == "stuck":
                continue
            execution = execution_of(header, self._engine.codec)
            since = f"due for {now - (execution.due_at or now):.0f} s"
            if header.token is not None:
                found.append(Stuck(execution, "expired", f"worker {header.worker} fell silent; {since}"))
            elif header.workflow not in served:
                found.append(
                    Stuck(execution, "unknown_workflow", f"no live worker serves {header.workflow!r}; {since}")
                )
            else:
                found.append(Stuck(execution, "overdue", f"{since}, and nobody has taken it"))
        return tuple(found)

    def _why(self, execution: Execution) -> Stuck:
        if execution.status is Status.COMPENSATION_FAILED:
            return Stuck(execution, "compensation_failed", str(execution.error))
        why = execution.current[0] if execution.current else {}
        if why.get("kind") == "crash_loop":
            return Stuck(execution, "crash_loop", "its workers died again and again while it ran")
        reason = {"NonDeterminism": "diverged", "Undecodable": "undecodable"}.get(str(why.get("error")), "engine")
        return Stuck(execution, reason, str(why.get("message", "")))

    # --- acting ---------------------------------------------------------------------------------------

    def cancel(self, execution: str | Handle[Any], reason: str | None = None) -> None:
        """Ask an execution to stop. See `Engine.cancel`."""
        self._engine.cancel(execution, f"{reason or 'cancelled'} (by {self._by})")

    def force_fail(self, execution: str | Handle[Any], reason: str) -> Execution:
        """End an execution `failed` at once, whatever it does; nothing is cleaned up.

        Raises:
            OperatorRefused: It has ended.
        """
        header = self._header(execution, OPEN, "force_fail ends what has not ended")
        error = self._engine.codec.encode(OperatorRefused(f"failed by {self._by}: {reason}"))
        entry = e.Intervened(self._now(), 0, "", self._by, reason, "force_fail")
        return self._amend(
            header, OPEN, (entry, e.Ended(self._now(), 0, "", "failed")), then=r.End("failed", error=error)
        )

    def retry(self, execution: str | Handle[Any], reason: str = "") -> Execution:
        """Try a failed execution again from its failed command; recorded results stay, unless they were rolled back.

        A stuck execution is tried again at once.

        Raises:
            OperatorRefused: It is neither failed nor stuck.
        """
        header = self._header(execution, ("failed", "stuck"), "retry takes failed or stuck executions")
        if header.status == "stuck":
            return self._amend(header, ("stuck",), (e.Intervened(self._now(), 0, "", self._by, reason, "retry"),))
        return self._retry(header, ("failed",), reason)

    def retry_rollback(self, execution: str | Handle[Any], reason: str = "") -> Execution:
        """Go on with a rollback that failed: only what is still to be undone is undone.

        Raises:
            OperatorRefused: It is not `compensation_failed`.
        """
        wanted = ("compensation_failed",)
        return self._retry(self._header(execution, wanted, "retry_rollback takes failed rollbacks"), wanted, reason)

    def skip_step(self, execution: str | Handle[Any], step_id: str, value: Any = None, reason: str = "") -> Execution:
        """Have a step that is under way or has failed count as done, with *value* as its result.

        Raises:
            OperatorRefused: The step is done, or is not what the execution waits for.
        """
        wanted = ("failed", "compensation_failed", "sleeping", "retrying", "running", "stuck")
        header = self._header(execution, wanted, "skip_step takes executions that wait for the step, or failed with it")
        rows = self._rows(header)
        now = self._now()
        if header.ended_at is None:
            waits = self._engine.codec.decode(header.current)
            fiber = next((w["fiber"] for w in waits if w.get("id") == step_id and w.get("kind") == "step"), None)
            if fiber is None:
                raise OperatorRefused(
                    f"execution {header.id!r} does not wait for step {step_id!r} now (see `replay show`)"
                )
            before: tuple[e.Fact, ...] = (e.Intervened(now, 0, "", self._by, reason, "skip_step", step_id),)
        else:
            failed = next((row for row in reversed(rows) if row[0] == "StepFailed"), None)
            if failed is None or failed[3] != step_id:
                found = "no step" if failed is None else f"step {failed[3]!r}"
                raise OperatorRefused(f"execution {header.id!r} failed with {found}, not with step {step_id!r}")
            fiber = failed[2]
            before = (e.Retried(now, 0, "", self._by, reason or f"skip {step_id}", self._voids(header, rows)),)
        done = e.StepDone(now, fiber, step_id, value)
        return self._amend(header, wanted, (*before, done), attempt=header.attempt + 1, amendments=1)

    def edit_step_result(
        self, execution: str | Handle[Any], step_id: str, value: Any, reason: str = "", *, force: bool = False
    ) -> Execution:
        """Replace the recorded result of a step.

        Raises:
            OperatorRefused: The execution has ended, the step has no result, or later entries may have used it already
                (unless *force*; if the workflow then decides otherwise, the execution becomes stuck).
        """
        header = self._header(execution, OPEN, "edit_step_result takes executions that have not ended (fork others)")
        rows = self._rows(header)
        index = next(
            (i for i in reversed(range(len(rows))) if rows[i][0] == "StepDone" and rows[i][3] == step_id), None
        )
        if index is None:
            raise OperatorRefused(f"execution {header.id!r} has no result of a step {step_id!r}")
        outside = {cls.__name__ for cls in e.OUTSIDE_FIBERS} | {"TimerSet"}
        later = [row for row in rows[index + 1 :] if row[0] not in outside]
        if later and not force:
            raise OperatorRefused(
                f"{len(later)} later entries may have used the result of step {step_id!r} (first: {later[0][0]} {later[0][3]!r}). "
                f"Fix: fork before the step, or force=True if the workflow goes the same way with the new result"
            )
        entry = e.Edited(self._now(), 0, step_id, self._by, reason, index, value)
        return self._amend(header, OPEN, (entry,), amendments=1)

    def fork(
        self, execution: str | Handle[Any], *, before: str | None = None, reason: str = "", id: str | None = None
    ) -> Handle[Any]:
        """Begin a new execution with the log of another up to its first entry of step *before* (default: the whole log
        without its end).

        Raises:
            OperatorRefused: There is no entry of that step.
        """
        header = self._engine._header(id_of(execution))
        rows: list[bytes] = self._engine.ask(r.Load(header.id))
        decoded = self._engine.codec.decode_rows(rows)
        if before is not None:
            cut = next((i for i, row in enumerate(decoded) if row[3] == before), None)
            if cut is None:
                raise OperatorRefused(f"execution {header.id!r} has no entry of {before!r} (see `replay show`)")
        else:
            cut = next((i for i in reversed(range(len(decoded))) if decoded[i][0] != "Ended"), -1) + 1
        kept = decoded[:cut]
        entry = e.Intervened(self._now(), 0, "", self._by, reason, "fork", header.id)
        create = r.Create(
            id or f"fork-{secrets.token_hex(10)}",
            header.workflow,
            header.input,
            header.version,
            header.queue,
            metadata=header.metadata,
            priority=header.priority,
            retention=header.retention,
            entries=(*rows[:cut], self._engine.codec.encode(e.to_row(entry))),
            amendments=sum(row[0] in ("AttemptFailed", "Retried", "Edited") for row in kept),
        )
        return self._engine._start(create)

    def delete(self, execution: str | Handle[Any]) -> None:
        """Remove an ended execution with its log.

        Raises:
            OperatorRefused: It has not ended.
            UnknownExecution: There is no such execution.
        """
        header = self._engine._header(id_of(execution))
        self._engine.ask(r.Delete(header.id))

    def bulk(
        self,
        action: Callable[[str], Any],
        executions: Iterable[Execution],
        *,
        on_refusal: Callable[[str, Exception], None] | None = None,
    ) -> int:
        """Apply *action* to each of *executions*; return how many it took. Refusals go to *on_refusal*."""
        done = 0
        for execution in executions:
            try:
                action(execution.id)
                done += 1
            except OperatorRefused as refusal:
                if on_refusal is not None:
                    on_refusal(execution.id, refusal)
        return done

    # --- parts --------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._engine.ask(r.Ping())

    def _header(self, execution: str | Handle[Any], statuses: tuple[str, ...], rule: str) -> r.Header:
        header = self._engine._header(id_of(execution))
        if header.status not in statuses:
            raise OperatorRefused(f"execution {header.id!r} is {header.status}; {rule}")
        return header

    def _rows(self, header: r.Header) -> list[list[Any]]:
        return self._engine.codec.decode_rows(self._engine.ask(r.Load(header.id)))

    def _voids(self, header: r.Header, rows: list[list[Any]]) -> tuple[int, ...]:
        """Return what a retry must void: what the end says, and the end."""
        index = next((i for i in reversed(range(len(rows))) if rows[i][0] == "Ended"), None)
        return () if index is None else (*rows[index][5], index)

    def _retry(self, header: r.Header, statuses: tuple[str, ...], reason: str) -> Execution:
        voids = self._voids(header, self._rows(header))
        entry = e.Retried(self._now(), 0, "", self._by, reason, voids)
        return self._amend(header, statuses, (entry,), attempt=header.attempt + 1, amendments=1)

    def _amend(
        self,
        header: r.Header,
        statuses: tuple[str, ...],
        entries: tuple[e.Fact, ...],
        *,
        then: r.End | None = None,
        attempt: int | None = None,
        amendments: int = 0,
    ) -> Execution:
        rows = tuple(self._engine.codec.encode(e.to_row(entry)) for entry in entries)
        nonce = f"op-{secrets.token_hex(8)}"
        reply = self._engine.ask(r.Amend(header.id, nonce, statuses, header.length, rows, then, attempt, amendments))
        if then is not None:
            self._engine._bus.publish(f"ended:{header.id}", b"")
        return execution_of(reply.header, self._engine.codec)


def _info(row: r.WorkerRow) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(row.info)
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
