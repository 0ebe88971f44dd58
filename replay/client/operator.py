"""The operator: manual actions on executions. Each is guarded by status, atomic, and written to the log.

It needs the store alone, no workflow code.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from typing import Any, cast

import attrs

from replay.client import amendments
from replay.client.client import Client
from replay.client.handles import Handle, id_of
from replay.client.port import ClientPort
from replay.client.records import UNREADABLE, Detail, Execution, Page, Status, execution_of, worker_facts
from replay.codec.log_rows import skeleton
from replay.core import entries as e
from replay.core import requests as r
from replay.core.errors import OperatorRefused, ReplayError, StoreUnavailable
from replay.core.ids import check_id
from replay.observability.audit import audit, user

OPEN = ("pending", "running", "sleeping", "retrying", "cancelling", "stuck")
"""The statuses of executions that have not ended."""

FAILED = ("failed", "cancelled", "compensation_failed")
"""The statuses of executions that ended without a result."""

OVERDUE = 60.0
"""Seconds after which a due execution that no worker has claimed is reported."""


@attrs.frozen
class Stuck:
    """An execution that needs help, and the reason.

    `reason` is `damaged` (its stored fields), `diverged`, `undecodable`, `engine` (an error of the engine's own),
    `crash_loop`, `compensation_failed`, `unknown_workflow` (no live worker has the workflow), `overdue` (due, but not
    claimed) or `expired` (its lease expired).
    """

    execution: Execution
    reason: str
    message: str


class Operator:
    """Acts on executions.

    Args:
        target: An `Engine`, or the URL of a store.
        by: The actor's name in the audit trail; default: the user's name.
        namespace: The namespace, if *target* is a URL.
    """

    def __init__(self, target: ClientPort | str, *, by: str | None = None, namespace: str = "default") -> None:
        self._own = Client.open(target, namespace=namespace) if isinstance(target, str) else None
        self._engine = self._own or cast("ClientPort", target)
        self._by = by or user()

    def close(self) -> None:
        """Release what was opened for a URL."""
        if self._own is not None:
            self._own.close()

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
        return self._engine.detail(id_of(execution))

    def stuck(self, limit: int = 1000) -> tuple[Stuck, ...]:
        """List executions that need help, newest first: at most *limit* that are stuck, and as many that are overdue."""
        now = self._engine.ask(r.Ping())
        served = {w["key"] for row in self._engine.ask(r.Workers()) for w in worker_facts(row).get("workflows", ())}
        found = []
        for header in self._engine.ask(r.Find(statuses=("stuck", "compensation_failed"), limit=limit)).headers:
            found.append(self._why(execution_of(header, self._engine.codec)))
        for header in self._engine.ask(r.Find(due_before=now - OVERDUE, limit=limit)).headers:
            late = now - _due(header, now)
            if header.status == "stuck" or late < OVERDUE:
                continue
            execution = execution_of(header, self._engine.codec)
            since = f"due for {late:.0f} s"
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
        if why.get("kind") in ("damaged", UNREADABLE):
            return Stuck(
                execution, "damaged", f"{why.get('error')}. Fix: `replay delete {execution.id}`, or force-fail it"
            )
        reason = {"NonDeterminism": "diverged", "Undecodable": "undecodable"}.get(str(why.get("error")), "engine")
        return Stuck(execution, reason, str(why.get("message", "")))

    # --- acting ---------------------------------------------------------------------------------------

    def cancel(self, execution: str | Handle[Any], reason: str | None = None) -> None:
        """Ask an execution to stop. See `Engine.cancel`."""
        self._engine.cancel(id_of(execution), self._reason(reason))

    def cancel_many(self, executions: Iterable[str], reason: str | None = None) -> dict[str, ReplayError]:
        """Ask many executions to stop; return the refusals by id. See `Engine.cancel_many`."""
        return self._engine.cancel_many(executions, self._reason(reason))

    def _reason(self, reason: str | None) -> str:
        return f"{reason or 'cancelled'} (by {self._by})"

    def force_fail(self, execution: str | Handle[Any], reason: str) -> Execution:
        """End an execution as `failed` at once. Nothing is cleaned up.

        Raises:
            OperatorRefused: It has ended.
        """
        header = self._header(execution, OPEN, "force_fail ends what has not ended")
        error = self._engine.codec.encode(OperatorRefused(f"failed by {self._by}: {reason}"))
        entry = e.Intervened(self._now(), 0, "", self._by, reason, "force_fail")
        return self._amend(
            header, OPEN, (entry, e.ExecutionClosed(self._now(), 0, "", "failed")), then=r.End("failed", error=error)
        )

    def retry(self, execution: str | Handle[Any], reason: str = "") -> Execution:
        """Retry a failed execution from its failed command. Recorded results stay, unless they were rolled back.

        A stuck execution is tried again at once.

        Raises:
            OperatorRefused: It is neither failed nor stuck.
        """
        header = self._header(execution, ("failed", "stuck"), "retry takes failed or stuck executions")
        if header.status == "stuck":
            return self._amend(header, ("stuck",), (e.Intervened(self._now(), 0, "", self._by, reason, "retry"),))
        return self._retry(header, ("failed",), reason)

    def retry_rollback(self, execution: str | Handle[Any], reason: str = "") -> Execution:
        """Resume a failed rollback: run the compensations that have not completed.

        Raises:
            OperatorRefused: It is not `compensation_failed`.
        """
        allowed = ("compensation_failed",)
        return self._retry(self._header(execution, allowed, "retry_rollback takes failed rollbacks"), allowed, reason)

    def skip_step(self, execution: str | Handle[Any], step_id: str, value: Any = None, reason: str = "") -> Execution:
        """Record *value* as the result of a step that is running or has failed.

        Raises:
            OperatorRefused: The step has a result, or the execution does not wait for it.
        """
        allowed = ("failed", "compensation_failed", "sleeping", "retrying", "running", "stuck")
        header = self._header(
            execution, allowed, "skip_step takes executions that wait for the step, or failed with it"
        )
        self._engine.encode(value, f"the result of step {step_id!r}")
        rows, now = self._rows(header), self._now()
        if header.ended_at is None:
            fiber = amendments.fiber_running(header.id, step_id, rows, json.loads(header.current))
            before: e.Fact = e.Intervened(now, 0, "", self._by, reason, "skip_step", step_id)
            attempt = header.attempt
        else:
            voids = amendments.retry_voids(rows)
            fiber = amendments.fiber_of_failure(header.id, step_id, rows, voids)
            dissolved = amendments.dissolved(rows)
            before = e.Retried(now, 0, "", self._by, reason or f"skip {step_id}", voids, dissolved)
            attempt = header.attempt + 1
        done = e.StepDone(now, fiber, step_id, value)
        return self._amend(header, allowed, (before, done), attempt=attempt, amendments=1)

    def edit_step_result(
        self, execution: str | Handle[Any], step_id: str, value: Any, reason: str = "", *, force: bool = False
    ) -> Execution:
        """Replace the recorded result of a step.

        Raises:
            OperatorRefused: The execution has ended, the step has no result, or later entries may have used it.
                *force* allows the latter; if the workflow then diverges from its log, the execution becomes stuck.
        """
        header = self._header(execution, OPEN, "edit_step_result takes executions that have not ended (fork others)")
        self._engine.encode(value, f"the result of step {step_id!r}")
        index = amendments.editable(header.id, step_id, self._rows(header), force=force)
        entry = e.Edited(self._now(), 0, step_id, self._by, reason, index, value)
        return self._amend(header, OPEN, (entry,), amendments=1)

    def fork(
        self, execution: str | Handle[Any], *, before: str | None = None, reason: str = "", id: str | None = None
    ) -> Handle[Any]:
        """Start a new execution with the valid entries of another one's log, up to the first entry of step *before*.

        Edits and voids of operators apply. The fork begins before the first step that was rolled back later.
        By default it takes the whole log without its end, or up to its cancel. Its timeout is the other execution's.

        Raises:
            OperatorRefused: There is no entry of that step, or an execution called *id* exists already.
        """
        new_id = f"fork-{secrets.token_hex(10)}" if id is None else check_id(id, "execution id")
        header = self._engine.header(id_of(execution))
        stored: list[bytes] = self._engine.ask(r.Load(header.id))
        kept = amendments.fork_prefix(header.id, [skeleton(row) for row in stored], before)
        now = self._now()
        new: list[e.Fact] = []
        if kept.amends:
            new.append(e.Retried(now, 0, "", self._by, reason, kept.voids, kept.dissolved, kept.anew))
        new.append(e.Intervened(now, 0, "", self._by, reason, "fork", header.id))
        create = r.Create(
            new_id,
            header.workflow,
            header.input,
            header.version,
            header.queue,
            timeout=None if header.deadline is None else header.deadline - header.created_at,
            metadata=header.metadata,
            priority=header.priority,
            retention=header.retention,
            entries=(*stored[: kept.cut], *(stored[index] for index in kept.edits), *map(self._row, new)),
            amendments=kept.amendments,
        )
        self._begin(create)
        for child in amendments.awaited(kept.rows, kept.voids):  # they will notify the other execution only
            self._engine.ask(r.Watch(child, new_id))
        return Handle(self._engine, new_id)

    def delete(self, execution: str | Handle[Any], reason: str = "") -> None:
        """Remove an ended execution with its log. The logger `replay.audit` records actor and reason.

        Raises:
            OperatorRefused: It has not ended.
            UnknownExecution: There is no such execution.
        """
        header = self._engine.header(id_of(execution))
        if self._engine.ask(r.Delete(header.id)):
            audit("delete", "execution", header.id, by=self._by, why=reason)

    def bulk(
        self,
        action: Callable[[str], Any],
        executions: Iterable[Execution],
        *,
        on_refusal: Callable[[str, Exception], None] | None = None,
    ) -> int:
        """Apply *action* to each of *executions*; return the number of successes. *on_refusal* takes each refusal.

        Raises:
            StoreUnavailable: The store cannot be reached; a second call is safe.
        """
        done = 0
        for execution in executions:
            try:
                action(execution.id)
                done += 1
            except StoreUnavailable:
                raise
            except ReplayError as refusal:  # it ended or was deleted meanwhile
                if on_refusal is not None:
                    on_refusal(execution.id, refusal)
        return done

    # --- parts --------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._engine.ask(r.Ping())

    def _header(self, execution: str | Handle[Any], statuses: tuple[str, ...], rule: str) -> r.Header:
        header = self._engine.header(id_of(execution))
        if header.status not in statuses:
            raise OperatorRefused(f"execution {header.id!r} is {header.status}; {rule}")
        return header

    def _rows(self, header: r.Header) -> list[list[Any]]:
        return [skeleton(row) for row in self._engine.ask(r.Load(header.id))]

    def _row(self, entry: e.Fact) -> bytes:
        return self._engine.codec.encode(e.to_row(entry))

    def _begin(self, fork: r.Create) -> None:
        if self._engine.ask(fork).fresh:
            self._engine.announce(fork.queue)
            return
        there = self._engine.ask(r.Load(fork.id))  # it may be ours: a create without an answer is repeated
        if tuple(there[: len(fork.entries)]) != fork.entries:
            raise OperatorRefused(f"execution {fork.id!r} exists already. Fix: choose another id for the fork")

    def _retry(self, header: r.Header, statuses: tuple[str, ...], reason: str) -> Execution:
        rows = self._rows(header)
        voids = set(amendments.retry_voids(rows))
        for id, index in amendments.restarted(rows, sorted(voids)).items():
            child = self._engine.ask(r.Get(id))
            if child is not None and child.status not in FAILED:
                voids.discard(index)  # the child was retried by itself: its result is taken
        dissolved = amendments.dissolved(rows)
        entry = e.Retried(self._now(), 0, "", self._by, reason, tuple(sorted(voids)), dissolved)
        # A child that ended meanwhile has notified nobody, or an inbox that was cleared.
        watches = tuple(r.Watch(id, header.id) for id in amendments.awaited(rows, tuple(voids)))
        return self._amend(header, statuses, (entry,), attempt=header.attempt + 1, amendments=1, watches=watches)

    def _amend(
        self,
        header: r.Header,
        statuses: tuple[str, ...],
        entries: tuple[e.Fact, ...],
        *,
        then: r.End | None = None,
        attempt: int | None = None,
        amendments: int = 0,
        watches: tuple[r.Watch, ...] = (),
    ) -> Execution:
        rows = tuple(map(self._row, entries))
        nonce = f"op-{secrets.token_hex(8)}"
        amend = r.Amend(header.id, nonce, statuses, header.length, rows, then, attempt, amendments)
        # One batch, so that no crash comes between. Children on other shards may notify before the amendment: ask again below.
        reply, *_ = self._engine.store.apply([amend, *watches])
        if isinstance(reply, Exception):
            raise reply
        for queue in reply.woken:
            self._engine.announce(queue)
        for watch in watches:
            self._engine.ask(watch)
        self._engine.notify_observers(header, entries)
        if then is not None:
            self._engine.announce_end(header.id)
        return execution_of(reply.header, self._engine.codec)


class Rehearsal(Operator):
    """An operator that checks the rules of amendments, and changes nothing: what it returns is the execution as it is."""

    def _amend(self, header: r.Header, *args: Any, **options: Any) -> Execution:
        return execution_of(header, self._engine.codec)


def _due(header: r.Header, now: float) -> float:
    """Return the due time of an execution. The stored instant is earlier by days with a priority."""
    due = now if header.due_at is None else header.due_at
    return due + header.priority * r.PRIORITY_STEP if due < now - r.PRIORITY_STEP / 2 else due
