"""Bugs to plant in the engine, each in one place, as context managers: what the testing kit must find."""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from replay.backends.memory import MemoryStore
from replay.core import entries as e
from replay.core import requests as r
from replay.core.compensations import Compensations
from replay.core.context import Context
from replay.core.decider import Decider
from replay.core.fibers import Fiber
from replay.core.interpreter import Interpreter
from replay.core.recorder import Recorder
from replay.core.session import Session
from replay.core.transitions import Change
from replay.core.waits import JoinWait, StepWait
from replay.worker import Worker
from replay.worker.sources import ExecutionSources

Mutant = Callable[[], contextlib.AbstractContextManager[None]]
MUTANTS: dict[str, Mutant] = {}


def plant(owner: type[Any], name: str) -> Callable[[Callable[..., Any]], None]:
    """Register the decorated function as a mutant: it gets the real one, and takes its place."""

    def register(mutate: Callable[..., Any]) -> None:
        @contextlib.contextmanager
        def planted() -> Iterator[None]:
            real = getattr(owner, name)
            setattr(owner, name, lambda self, *args, **options: mutate(real, self, *args, **options))
            try:
                yield
            finally:
                setattr(owner, name, real)

        MUTANTS[mutate.__name__.replace("_", " ")] = planted

    return register


# --- the store --------------------------------------------------------------------------------------------


@plant(MemoryStore, "_commit")
def fencing_is_removed(real: Any, store: Any, request: r.Commit) -> Any:
    x = store._executions.get(request.id)
    if x is not None and x.ended_at is None:
        x.token, request = request.token, msgspec.structs.replace(request, expected=x.length)
    return real(store, request)


@plant(MemoryStore, "_commit")
def the_expected_length_is_not_compared(real: Any, store: Any, request: r.Commit) -> Any:
    x = store._executions.get(request.id)
    if x is not None and x.last_commit == request.commit_id:
        x.last_commit = ""  # so that a request that was repeated counts again
    return real(store, request if x is None else msgspec.structs.replace(request, expected=x.length))


@plant(MemoryStore, "_commit")
def a_wake_up_is_dropped_when_the_inbox_grew(real: Any, store: Any, request: r.Commit) -> Any:
    return real(store, msgspec.structs.replace(request, seen=2**53))


@plant(MemoryStore, "_claim")
def signals_are_consumed_before_the_commit(real: Any, store: Any, request: r.Claim) -> Any:
    claims = real(store, request)
    for claimed in claims.claimed:
        store._executions[claimed.header.id].inbox.clear()
    return claims


@plant(MemoryStore, "_claim")
def leases_never_expire(real: Any, store: Any, request: r.Claim) -> Any:
    return real(store, msgspec.structs.replace(request, lease=1e12))


@plant(MemoryStore, "_close")
def the_end_of_a_child_does_not_wake_its_parent(real: Any, store: Any, x: Any, payload: bytes) -> Any:
    x.parent_id = None
    return real(store, x, payload)


@plant(MemoryStore, "_deliver")
def messages_are_accepted_as_often_as_they_come(real: Any, store: Any, request: r.Deliver) -> Any:
    x = store._executions.get(request.id)
    if x is not None:
        x.dedupe.clear()
    return real(store, request)


@plant(MemoryStore, "_create")
def a_keyed_start_starts_anew(real: Any, store: Any, request: r.Create) -> Any:
    while request.id in store._executions:
        request = msgspec.structs.replace(request, id=request.id + "x")
    return real(store, request)


@plant(MemoryStore, "_put_schedule")
def two_workers_may_fire_one_tick(real: Any, store: Any, request: r.PutSchedule) -> Any:
    stored = store._schedules.get(request.row.id)
    creates = tuple(msgspec.structs.replace(each, id=f"{each.id}-{random.random()}") for each in request.creates)
    version = stored.version if stored is not None else 0
    return real(store, msgspec.structs.replace(request, creates=creates, expected=version))


@plant(MemoryStore, "_deliver")
def a_cancel_gets_lost(real: Any, store: Any, request: r.Deliver) -> Any:
    return r.Delivered(store._now) if request.kind == "cancel" else real(store, request)


@plant(MemoryStore, "_apply")
def a_cancel_does_not_wake_a_parked_execution(real: Any, store: Any, x: Any, change: Change) -> None:
    due = x.due_at
    real(store, x, change)
    if change.message is not None and change.message.kind == "cancel" and x.token is None:
        store._set_due(x, due)


@plant(MemoryStore, "_renew_leases")
def a_beat_does_not_compare_the_token(real: Any, store: Any, request: r.RenewLeases) -> Any:
    holders = {h.id: x.token for h in request.held if (x := store._executions.get(h.id)) is not None}
    held = tuple(msgspec.structs.replace(h, token=holders.get(h.id) or h.token) for h in request.held)
    return real(store, msgspec.structs.replace(request, held=held))


@plant(MemoryStore, "_commit")
def children_of_a_cancelled_parent_go_on(real: Any, store: Any, request: r.Commit) -> Any:
    return real(store, msgspec.structs.replace(request, cancels=()))


@plant(MemoryStore, "_commit")
def consumed_messages_return(real: Any, store: Any, request: r.Commit) -> Any:
    x = store._executions.get(request.id)
    kept = dict(x.inbox) if x is not None else {}
    reply = real(store, request)
    if x is not None and x.ended_at is None:
        x.inbox = dict(sorted({**{seq: kept[seq] for seq in request.consumed if seq in kept}, **x.inbox}.items()))
    return reply


@plant(MemoryStore, "_conclude")
def signals_are_dropped_by_continue_as_new(real: Any, store: Any, x: Any, request: r.Commit) -> Any:
    if isinstance(request.then, r.Restart):
        x.inbox.clear()
    return real(store, x, request)


@plant(MemoryStore, "_create")
def timeouts_of_executions_are_dropped(real: Any, store: Any, request: r.Create) -> Any:
    return real(store, msgspec.structs.replace(request, timeout=None))


@plant(MemoryStore, "_take")
def leased_executions_are_taken(real: Any, store: Any, request: r.Claim, lanes: Any) -> Any:
    for x in store._executions.values():
        if x.token is not None and x.ended_at is None:
            x.token = None
            store._set_due(x, store._now)
    return real(store, request, lanes)


# --- the session ------------------------------------------------------------------------------------------


@plant(Decider, "next_entry")
def timers_fire_early(real: Any, decider: Any, now: float) -> Any:
    return real(decider, now + 5.0) if decider.interpreter.live else real(decider, now)


@plant(Decider, "wake_at")
def timers_are_forgotten_when_parking(real: Any, decider: Any) -> Any:
    return None


@plant(Session, "fits")
def a_live_generator_is_used_again_after_foreign_entries(real: Any, session: Any, claimed: r.Claimed) -> Any:
    if session._interpreter is None or not session.parked:
        return False
    session._length, session._last_commit = claimed.header.length, claimed.header.last_commit
    return True


@plant(Recorder, "step_done")
def results_are_not_recorded(real: Any, recorder: Any, entry: e.StepDone, data: bytes) -> None:
    real(recorder, entry, data)
    recorder.entries.pop()


@plant(Recorder, "step_done")
def the_workflow_sees_another_value_than_is_recorded(real: Any, recorder: Any, entry: e.StepDone, data: bytes) -> None:
    seen = f"{entry.result}!" if isinstance(entry.result, str) else entry.result
    real(recorder, msgspec.structs.replace(entry, result=seen), data)


@plant(Interpreter, "_step_retried")
def attempts_are_not_counted(real: Any, interpreter: Any, fiber: Fiber, wait: StepWait, entry: e.StepRetried) -> None:
    real(interpreter, fiber, wait, entry)
    wait.failures = 0


@plant(Interpreter, "_step_retried")
def a_retry_does_not_wait(real: Any, interpreter: Any, fiber: Fiber, wait: StepWait, entry: e.StepRetried) -> None:
    real(interpreter, fiber, wait, msgspec.structs.replace(entry, due=entry.at) if interpreter.live else entry)


@plant(Interpreter, "_race_won")
def the_winner_of_a_race_is_not_taken_from_the_log(
    real: Any, interpreter: Any, fiber: Fiber, join: JoinWait, entry: e.RaceWon
) -> None:
    if not interpreter.live:
        join.winner = 0
        entry = msgspec.structs.replace(entry, winner=join.command.names[0])
    real(interpreter, fiber, join, entry)


@plant(Compensations, "enter")
def compensations_run_oldest_first(real: Any, compensations: Any, fiber: Fiber) -> bool:
    compensations._undoable.reverse()
    begins: bool = real(compensations, fiber)
    return begins


@plant(Decider, "_take_up_step")
def an_at_most_once_step_runs_again(real: Any, decider: Any, fiber: Fiber, wait: StepWait, now: float) -> Any:
    if wait.begun == "recorded":
        wait.begun = "live"
    return real(decider, fiber, wait, now)


@plant(Session, "_park")
def what_is_not_committed_is_forgotten_when_parking(real: Any, session: Any) -> Any:
    session._recorder.entries.clear()
    return (yield from real(session))


@plant(Session, "_decide")
def the_executions_deadline_is_ignored(real: Any, session: Any) -> Any:
    session._decider.deadline = None
    return real(session)


@plant(Recorder, "record")
def events_are_published_twice(real: Any, recorder: Any, entry: e.Fact, consumed: tuple[int, ...] = ()) -> None:
    real(recorder, entry, consumed)
    if isinstance(entry, e.Emitted):
        recorder.publish.append(recorder.publish[-1])


@plant(Recorder, "record")
def the_beginning_of_an_at_most_once_step_is_not_recorded(real: Any, recorder: Any, entry: e.Fact, *rest: Any) -> None:
    real(recorder, entry, *rest)
    if isinstance(entry, e.StepBegun):
        recorder.entries.pop()


@plant(Interpreter, "_check_arguments")
def arguments_are_not_compared(real: Any, interpreter: Any, fiber: Fiber, wait: StepWait, recorded: int | None) -> None:
    return None


@plant(Interpreter, "_branch_chosen")
def a_switch_chooses_again_on_replay(
    real: Any, interpreter: Any, fiber: Fiber, wait: Any, entry: e.BranchChosen
) -> None:
    if not interpreter.live:
        branches = wait.command.branches
        entry = msgspec.structs.replace(
            entry, branch=next((b.id for b in branches if b.match(wait.command.value)), entry.branch)
        )
    real(interpreter, fiber, wait, entry)


@plant(Decider, "_take_up_step")
def a_retry_is_at_once_after_a_replay(real: Any, decider: Any, fiber: Fiber, wait: StepWait, now: float) -> Any:
    if wait.retry_at is not None:
        wait.retry_at = now
    return real(decider, fiber, wait, now)


@plant(Decider, "_next_signal")
def signals_are_taken_newest_first(real: Any, decider: Any, now: float) -> Any:
    for waiting in decider._signals.values():
        if len(waiting) > 1:
            waiting.rotate(1)
    return real(decider, now)


# --- the worker, and what workflows are given ---------------------------------------------------------------


@plant(Worker, "renew_leases")
def heartbeats_are_missing(real: Any, worker: Any) -> None:
    return None


@plant(Context, "now")
def the_time_is_the_walls(real: Any, context: Any) -> float:
    import time

    return time.time()


@plant(ExecutionSources, "random")
def random_numbers_are_not_seeded(real: Any, sources: Any, stream: str) -> random.Random:
    return random.Random()


@plant(ExecutionSources, "uuid")
def uuids_are_not_seeded(real: Any, sources: Any) -> uuid.UUID:
    return uuid.uuid4()
