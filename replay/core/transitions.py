"""Transitions of an execution as pure decisions: its state, a request and the time in, a `Change` out.

A store reads the state, asks for the change and applies it, all within one atomic transaction. A decision refuses by raising,
before anything has changed. Indexes (due times, statuses, purges) follow from the fields that a change sets.

A transition that touches other executions (children, parents, watchers) names them; the store asks for a decision of each.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, assert_never

import attrs
import msgspec

from replay.core import refusals
from replay.core import requests as r

CRASH_LOOP = b'[{"kind":"crash_loop"}]'
NOTHING_CURRENT = b"[]"


class State(Protocol):
    """An execution as decisions read it: parts of its header, and `cancelled`.

    Attributes:
        cancelled: A cancel was accepted since the execution last began to live (it takes one).
    """

    @property
    def id(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def ended_at(self) -> float | None: ...
    @property
    def parent_id(self) -> str | None: ...
    @property
    def priority(self) -> int: ...
    @property
    def retention(self) -> float | None: ...
    @property
    def attempt(self) -> int: ...
    @property
    def run(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def amendments(self) -> int: ...
    @property
    def arrivals(self) -> int: ...
    @property
    def last_commit(self) -> str: ...
    @property
    def token(self) -> str | None: ...
    @property
    def lost_leases(self) -> int: ...
    @property
    def due_at(self) -> float | None: ...
    @property
    def cancelled(self) -> bool: ...


@attrs.frozen
class Change:
    """One transition of one execution, to be applied as a whole.

    Attributes:
        fields: Header fields with their new values, and the two that only stores see: `cancelled` and `purge_at` (instant).
        entries: Appended to the log.
        empties_log: The log is emptied before `entries` are appended.
        consumed: `seq`s of messages to take out of the inbox.
        message: Put into the inbox. One of kind `ended` replaces an earlier one of the same name.
        accepted: Message id to remember with the new number of arrivals; empty: none.
        ended: Payload of the `ended` message for the parent and the watchers. Inbox and watchers are emptied.
        wakes: The execution is due at once: its queue gets a hint.
        duplicate: The message had been accepted before.
    """

    fields: dict[str, Any] = attrs.Factory(dict)
    entries: tuple[bytes, ...] = ()
    empties_log: bool = False
    consumed: tuple[int, ...] = ()
    message: r.Message | None = None
    accepted: str = ""
    ended: bytes | None = None
    wakes: bool = False
    duplicate: bool = False

    @property
    def releases(self) -> bool:
        """The lease is given up."""
        return self.fields.get("token", self) is None


NO_CHANGE = Change()
DUPLICATE = Change(duplicate=True)


# --- creating ------------------------------------------------------------------------------------------


def create(request: r.Create, now: float) -> r.Header:
    """Return the header of the execution that *request* makes at the instant *now*; its log is `request.entries`."""
    later = request.at is not None and request.at > now
    begin = request.at if later and request.at is not None else now
    return r.Header(
        request.id, request.workflow, request.version, request.queue, "pending", request.input, now, now,
        parent_id=request.parent_id, metadata=request.metadata, priority=request.priority, retention=request.retention,
        deadline=None if request.timeout is None else begin + request.timeout, length=len(request.entries),
        amendments=request.amendments, due_at=begin if later else now - request.priority * r.PRIORITY_STEP,
    )  # fmt: skip


# --- leasing -------------------------------------------------------------------------------------------


def claim(x: State, request: r.Claim, cancel_waits: bool, now: float) -> Change:
    """Lease a due execution; one that lost its lease too often is parked as `stuck` instead (`releases`).

    Args:
        x: The execution, whose due time has come.
        request: The claim.
        cancel_waits: Its inbox holds a cancel.
        now: The store's time.
    """
    lost = x.lost_leases + (x.token is not None)
    if lost >= r.MAX_LOST:
        return Change(
            {
                "status": "stuck", "updated_at": now, "token": None, "worker": None, "lost_leases": r.MAX_LOST - 1,
                "due_at": now + r.CRASH_LOOP_DELAY, "current": CRASH_LOOP,
            }
        )  # fmt: skip
    return Change(
        {
            "status": "cancelling" if cancel_waits else "running", "updated_at": now, "token": request.nonce,
            "worker": request.worker, "lost_leases": lost, "due_at": now + request.lease,
        }
    )  # fmt: skip


def is_revived(x: State) -> bool:
    """Tell whether a claim with `revive` makes an execution of its lanes due: it is stuck, and not in a crash loop."""
    return x.status == "stuck" and x.lost_leases < r.MAX_LOST - 1


def renew(x: State | None, lease: r.LeaseRef, seconds: float, now: float) -> Change | None:
    """Renew *lease* for *seconds*; None if its holder has lost it."""
    if x is None or x.token != lease.token:
        return None
    return Change({"due_at": now + seconds})


# --- committing ----------------------------------------------------------------------------------------


def commit(x: State, request: r.Commit, now: float) -> Change | None:
    """Record the progress of a session; None if it was recorded before. What follows from it is decided by `conclude`.

    The store applies it, then performs the request's creations and cancels. These may reach the execution itself: it reads the
    state again if there were cancels.

    Raises:
        Fenced: Another session has the lease, or has written meanwhile.
    """
    if x.last_commit == request.commit_id:
        return None
    if x.ended_at is not None or x.token != request.token:
        raise refusals.fenced(request.id, "the lease has passed on")
    if x.length != request.expected:
        raise refusals.fenced(request.id, f"the log has {x.length} entries, not {request.expected}")
    fields: dict[str, Any] = {"last_commit": request.commit_id, "updated_at": now, "lost_leases": 0}
    if request.entries:
        fields["length"] = x.length + len(request.entries)
    if request.current is not None:
        fields["current"] = request.current
    if request.attempt is not None:
        fields["attempt"] = request.attempt
    if request.amendments:
        fields["amendments"] = x.amendments + request.amendments
    return Change(fields, request.entries, consumed=request.consumed)


def yields_to_cancel(x: State, request: r.Commit) -> bool:
    """Tell whether a cancel beyond `seen` in the inbox refuses a granted commit: one that ends the execution or begins it anew.

    Nothing changes then. The reply gives the messages, so that the session records the cancel first.
    """
    return x.cancelled and isinstance(request.then, r.End | r.Restart) and x.arrivals > request.seen


def conclude(x: State, request: r.Commit, unseen: bool, now: float) -> Change:
    """Decide about the lease after a commit's progress.

    Args:
        x: The execution, after the request's cancels.
        request: The commit.
        unseen: Its inbox holds a message that the session has not been given.
        now: The store's time.
    """
    match request.then:
        case r.KeepLease(lease):
            renewed = renewed_at(x, lease, now)
            return NO_CHANGE if renewed is None else Change({"due_at": renewed})
        case r.Suspend(_, _, lease) if unseen:
            return Change({"due_at": now + lease})
        case r.Suspend(status, wake_at, _):
            wakes = wake_at is not None and wake_at <= now
            return Change({"status": status, "due_at": wake_at, "token": None, "worker": None}, wakes=wakes)
        case r.ReleaseLease():
            return Change(_ready(x, now), wakes=True)
        case r.Restart(input, entries):
            anew = {
                "input": input, "run": x.run + 1, "attempt": 1, "amendments": 0, "length": len(entries),
                "current": NOTHING_CURRENT,
            }  # fmt: skip
            return Change(_ready(x, now) | anew, entries, empties_log=True, wakes=True)
        case r.End():
            return end(x, request.then, now)
        case _:
            assert_never(request.then)


def renewed_at(x: State, lease: float, now: float) -> float | None:
    """Return the due time of a lease that a commit keeps, None if it stays: seldom moved, since each move costs an index entry."""
    return now + lease if x.due_at is None or now + lease > x.due_at + lease / 4 else None


def _ready(x: State, now: float) -> dict[str, Any]:
    return {"status": "pending", "due_at": ready_at(x, now), "token": None, "worker": None}


def ready_at(x: State, now: float) -> float:
    """Return the due time of an execution that is ready at the instant *now*."""
    return now - x.priority * r.PRIORITY_STEP


def end(x: State, how: r.End, now: float) -> Change:
    """End an execution. Its parent and its watchers are notified by `notify`."""
    fields: dict[str, Any] = {
        "status": how.status, "result": how.result, "error": how.error, "ended_at": now, "updated_at": now, "token": None,
        "worker": None, "due_at": None, "current": NOTHING_CURRENT, "cancelled": False,
        "purge_at": None if x.retention is None else now + x.retention,
    }  # fmt: skip
    return Change(fields, ended=ended_payload(how))


# --- arrivals ------------------------------------------------------------------------------------------


def deliver(x: State, request: r.Deliver, remembered: bool, now: float) -> Change:
    """Take a message into the inbox, once.

    Args:
        x: The execution.
        request: The message.
        remembered: The request's `accepted_id` is among those that the execution remembers.
        now: The store's time.

    Raises:
        ExecutionEnded: The execution takes no more messages.
    """
    if remembered:
        return DUPLICATE
    if x.ended_at is not None:
        raise refusals.has_ended(x.id, x.status)
    if not may_cancel(x, request):
        return DUPLICATE
    accepted = accepted_id(request)
    if request.kind != "cancel":
        return _arrive(x, request.kind, request.name, request.payload, accepted, now)
    if x.cancelled:
        return Change(accepted=accepted, duplicate=True)
    if x.token is None and x.status == "pending" and not x.length:  # it has not begun
        ended = end(x, r.End("cancelled", error=request.payload), now)
        return attrs.evolve(ended, accepted=accepted)
    change = _arrive(x, "cancel", request.name, request.payload, accepted, now)
    change.fields["cancelled"] = True
    if x.token is not None:
        change.fields.update(status="cancelling", updated_at=now)
    return change


def may_cancel(x: State, request: r.Deliver) -> bool:
    """Tell whether a cancel by another execution (its `name`) comes from the one that created *x*; other messages always may."""
    return request.kind != "cancel" or not request.name or request.name == x.parent_id


def notify(x: State, ended: str, payload: bytes, now: float) -> Change | None:
    """Notify a parent or watcher of the end of the execution *ended*; None if it has ended itself."""
    return None if x.ended_at is not None else _arrive(x, "ended", ended, payload, "", now)


def watch(x: State, watcher: State | None, waits: bool) -> Literal["ignore", "later", "now", "duplicate"]:
    """Decide when *watcher* is notified of the end of *x*.

    Args:
        x: The execution that is watched.
        watcher: The one that watches, None if it does not exist.
        waits: Its inbox holds an `ended` message of *x*.

    Returns:
        `later`: it becomes a watcher of *x*. `now`: `notify` it. `duplicate`: a message waits. `ignore`: it needs none.
    """
    if watcher is None or watcher.ended_at is not None:
        return "ignore"
    if x.ended_at is None:
        return "later"
    return "duplicate" if waits else "now"


def _arrive(x: State, kind: str, name: str, payload: bytes, accepted: str, now: float) -> Change:
    seq = x.arrivals + 1
    fields: dict[str, Any] = {"arrivals": seq}
    wakes = x.token is None and x.status not in ("pending", "stuck")
    if wakes:
        fields["due_at"] = ready_at(x, now)
    return Change(fields, message=r.Message(seq, kind, name, payload, now), accepted=accepted, wakes=wakes)


def accepted_id(request: r.Deliver) -> str:
    """Return the id by which a message is remembered; empty for the cancels that transitions imply, which have none."""
    if request.kind == "cancel":
        return f"c:{request.message_id}" if request.message_id else ""
    return f"m:{request.message_id}"


def ended_payload(end: r.End) -> bytes:
    """Return the payload of the `ended` message about *end*."""
    return b'{"status":"%b","result":%b,"error":%b}' % (
        end.status.encode(),
        end.result or b"null",
        end.error or b"null",
    )


# --- operators and schedules ---------------------------------------------------------------------------


def amend(x: State, request: r.Amend, now: float) -> Change | None:
    """Apply an operator's amendment; None if it was applied before.

    Raises:
        OperatorRefused: The status or the length is another than the operator saw.
    """
    if x.last_commit == request.nonce:
        return None
    if x.status not in request.statuses or x.length != request.expected:
        raise refusals.not_allowed(x.id, x.status, x.length, request.statuses, request.expected)
    fields: dict[str, Any] = {
        "length": x.length + len(request.entries),
        "last_commit": request.nonce,
        "amendments": x.amendments + request.amendments,
    }
    if request.attempt is not None:
        fields["attempt"] = request.attempt
    if request.then is not None:
        ended = end(x, request.then, now)
        return attrs.evolve(ended, fields=fields | ended.fields, entries=request.entries)
    lives = dict.fromkeys(("result", "error", "ended_at", "purge_at", "deadline"))
    return Change(fields | _ready(x, now) | lives | {"lost_leases": 0, "updated_at": now}, request.entries, wakes=True)


def check_delete(x: State) -> None:
    """Refuse to remove an execution that has not ended.

    Raises:
        OperatorRefused: It has not.
    """
    if x.ended_at is None:
        raise refusals.not_ended(x.id, x.status)


def put_schedule(stored: r.Schedule | None, request: r.PutSchedule) -> r.Schedule | None:
    """Return the row to write, None if the stored version is not the expected one."""
    if (0 if stored is None else stored.version) != request.expected:
        return None
    return msgspec.structs.replace(request.row, version=request.expected + 1)
