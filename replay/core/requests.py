"""The questions a store answers: frozen requests, each one atomic transition or one consistent read, and their replies.

Rules that every store keeps (numbered in `docs/invariants.md`, checked by `replay.testing.contracts.StoreContract`):

* An execution is *ended*, *leased* (somebody holds `token` until `lease_until`), or neither. `due_at` is the one clock of
  an execution that is not ended: ready since then, to be woken then, or its lease runs out then. A claim takes
  executions whose `due_at` has come, and so is the poller, the timer service and the recovery in one.
* All instants are seconds since the epoch, UTC, by the store's clock; durations are seconds. Payloads are opaque bytes.
* Refusals are answered as exception instances; a refused request changes nothing.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

R_co = TypeVar("R_co", covariant=True)

ENDED = frozenset({"completed", "failed", "cancelled", "compensation_failed"})
"""The statuses that an execution does not leave, except by an operator's amendment."""

PRIORITY_STEP = 1_000_000.0
"""Seconds by which one level of priority puts a due execution ahead (11 days: more than any queue is long)."""

MAX_LOST = 5
"""Leases an execution may lose in a row (no commit between) before it is parked as stuck: it kills its workers."""

CRASH_LOOP_DELAY = 600.0
"""Seconds until a crash-looping execution is tried once more. Long, so that it cannot take a fleet down."""


ACCEPTED_LIMIT = 10_000
"""Arrivals of an execution whose message ids are remembered, the newest: a sender that repeats a message does so within
minutes, and an execution that lives for years with `continue_as_new` must not remember all that it ever received."""


SCHEDULES_LIMIT = 16
"""Due schedules that one claim hands out, those that have been due longest."""


class Request(msgspec.Struct, Generic[R_co], frozen=True):
    """Base of all requests; `R_co` is the type of the reply.

    Requests, replies and entries are structs of msgspec: as frozen as attrs values, and built six times as fast.
    """


# --- values ---------------------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True):
    """Something that arrived for an execution and waits in its inbox until a commit consumes it.

    `kind` is `signal` (`name`: the signal's id, `payload`: its encoded value), `ended` (`name`: id of the execution that
    ended, `payload`: JSON object `{"status": ..., "result": ..., "error": ...}`) or `cancel` (`payload`: the encoded reason).
    """

    seq: int
    kind: str
    name: str
    payload: bytes
    at: float


class Header(msgspec.Struct, frozen=True):
    """All of an execution except its log and inbox."""

    id: str
    workflow: str
    version: str
    queue: str
    status: str
    input: bytes
    created_at: float
    updated_at: float
    result: bytes | None = None
    error: bytes | None = None
    ended_at: float | None = None
    parent_id: str | None = None
    metadata: bytes = b"{}"
    priority: int = 0
    retention: float | None = None
    deadline: float | None = None
    attempt: int = 1
    run: int = 0
    length: int = 0
    amendments: int = 0
    arrivals: int = 0
    last_commit: str = ""
    token: str | None = None
    worker: str | None = None
    lost_leases: int = 0
    due_at: float | None = None
    current: bytes = b"[]"


class Created(msgspec.Struct, frozen=True):
    """Reply of `Create`. `fresh` is False if the id already existed (nothing changed; `header` is what exists)."""

    header: Header
    fresh: bool
    now: float


class Create(Request[Created], frozen=True):
    """Make an execution, `pending` and due at `at` (default: now). Idempotent by `id`.

    Args:
        id: The execution's id; ids derived from keys make a keyed start idempotent without an index.
        input: The encoded input.
        at: Not before this instant.
        timeout: Seconds from creation (or from `at`) until `deadline`.
        parent_id: The execution that started it. When it ends, the parent's inbox gets an `ended` message in the same
            transition (if the parent has not ended).
        entries: A log to begin with (forks).
        amendments: Header field of the same name to begin with (forks).
        retention: Seconds after its end until `Purge` may remove it; None keeps it.
    """

    id: str
    workflow: str
    input: bytes
    version: str = ""
    queue: str = "default"
    at: float | None = None
    timeout: float | None = None
    parent_id: str | None = None
    metadata: bytes = b"{}"
    priority: int = 0
    retention: float | None = None
    entries: tuple[bytes, ...] = ()
    amendments: int = 0


class Schedule(msgspec.Struct, frozen=True):
    """A schedule's row. `spec` and `state` are opaque JSON; `version` grows by one with each write."""

    id: str
    workflow: str
    spec: bytes
    state: bytes = b"{}"
    next_at: float | None = None
    paused: bool = False
    version: int = 0


class WorkerRow(msgspec.Struct, frozen=True):
    """A worker's row; `info` is opaque JSON. `seen_at` is the store's time of its last registration."""

    name: str
    info: bytes = b"{}"
    seen_at: float = 0.0


# --- claiming and advancing (workers) ----------------------------------------------------------------


class Claimed(msgspec.Struct, frozen=True):
    """One execution handed to a claimer, with its whole inbox (oldest first)."""

    header: Header
    messages: tuple[Message, ...]


class Claims(msgspec.Struct, frozen=True):
    """Reply of `Claim`.

    Attributes:
        claimed: Executions on which this claim holds leases, longest due first (within each shard, if the store has several).
        next_due: Earliest instant at which these queues and workflows will have something due that is not due now
            (leases included), None if nothing is known. If more was due than `limit`, it is `now`.
        schedules: Due, unpaused schedules of these workflows, at most `SCHEDULES_LIMIT`, by `next_at`, then `id`. Schedules of other
            workflows never hide them. They are not leased: `PutSchedule` compares versions.
        outbox: Deliveries to (and creations on) other shards that this worker should perform and then `Forget` (stores without
            shards: empty).
        damaged: Ids of executions that this claim set aside, each with the reason: their stored fields are damaged. They are
            `stuck`, and due for nobody.
    """

    now: float
    claimed: tuple[Claimed, ...] = ()
    next_due: float | None = None
    schedules: tuple[Schedule, ...] = ()
    outbox: tuple[Deliver | Create, ...] = ()
    damaged: tuple[tuple[str, str], ...] = ()


class Claim(Request[Claims], frozen=True):
    """Take leases on up to `limit` due executions of `queues` whose (workflow, version) is in `workflows`.

    Each gets `status="running"` (`cancelling` if a cancel waits in its inbox), `token=nonce`, `due_at=now + lease`,
    and its `worker`. An execution taken
    from an expired lease has `lost_leases` raised by one; at `MAX_LOST` it is not handed out but set `stuck`, its
    `current` to `[{"kind": "crash_loop"}]`, its lease cleared, due again after `CRASH_LOOP_DELAY` with `lost_leases` reset to
    `MAX_LOST - 1` (one more try). Executions of other workflows or queues are untouched.

    Among due executions a higher priority goes first, whether they were ready at once or waited for an instant (`Create.at`,
    `Suspend.wake_at`, a lease's end). An instant that has come is found `priority * PRIORITY_STEP` seconds earlier from the next
    claim on, whatever it claims, so that the order of `due_at` is the order of claims.

    With `revive`, executions of these queues and workflows that are `stuck` and not in a crash loop (`lost_leases < MAX_LOST - 1`)
    become due now first.

    Idempotent by `nonce` (a random string, unique to each claim): a repetition returns the leases still held under it, and takes
    no others, for at least `lease` seconds. A claim that took nothing is not remembered.
    """

    nonce: str
    worker: str
    queues: tuple[str, ...]
    workflows: tuple[tuple[str, str], ...]
    limit: int
    lease: float
    revive: bool = False


class KeepLease(msgspec.Struct, frozen=True):
    """After the commit the lease goes on, renewed for `lease` seconds."""

    lease: float


class Suspend(msgspec.Struct, frozen=True):
    """After the commit the execution is released and sleeps until `wake_at` or a message.

    If its inbox holds a message beyond `seen`, it is not released: the lease goes on, as with `KeepLease(lease)`, and the reply
    has `parked=False`. `wake_at=None`: only a message wakes it. A `wake_at` in the past makes it due at once.
    """

    status: str
    wake_at: float | None
    lease: float


class ReleaseLease(msgspec.Struct, frozen=True):
    """After the commit the execution is released and due at once (a draining worker hands it back)."""


class End(msgspec.Struct, frozen=True):
    """The execution ends: inbox and lease are cleared, its parent and watchers get `ended` messages, all at once."""

    status: str
    result: bytes | None = None
    error: bytes | None = None


class Restart(msgspec.Struct, frozen=True):
    """The execution begins anew with `input` (`run + 1`), keeping its id, inbox and children; due now.

    The new log begins with `entries` (what it carries along) and is otherwise empty.
    """

    input: bytes
    entries: tuple[bytes, ...] = ()


class Committed(msgspec.Struct, frozen=True):
    """Reply of `Commit`.

    Attributes:
        messages: Inbox messages beyond `seen` (the lease goes on), empty if it was released or ended.
        parked: The lease was given up (`Suspend` took effect, `ReleaseLease`, `End` or `Restart`). An `End` or `Restart` that is
            not parked was refused, see `Commit`.
        woken: Queues in which this commit made executions due now (children, parents, watchers, itself): hint these.
    """

    now: float
    messages: tuple[Message, ...] = ()
    parked: bool = False
    woken: tuple[str, ...] = ()


class Commit(Request[Committed], frozen=True):
    """One transition of a leased execution: everything in it happens, or nothing.

    Refused with `Fenced` unless the execution exists, is not ended, its `token` equals `token` and its `length` equals
    `expected` (an expired but not re-claimed lease is still good). Idempotent by `commit_id`: a repetition answers
    from what is stored. A commit resets `lost_leases` to 0.

    `End` and `Restart` yield to a cancel: if the inbox holds one beyond `seen`, nothing changes and the reply has the messages and
    `parked=False`. So an accepted cancel is never lost.

    Args:
        entries: Appended to the log in order.
        consumed: `seq`s of inbox messages to remove.
        seen: Highest inbox `seq` the session has been given.
        creates: Children to create (same rules as `Create`; those whose id exists are left alone).
        cancels: Ids of executions to cancel (as `Deliver` of a cancel without a message id, by this execution). Ended ones, unknown
            ones and those that this execution did not create (their `parent_id` is another) are ignored.
        current: Progress of the execution (opaque JSON list), None leaves it.
        attempt: The header's `attempt` from now on, None leaves it.
        amendments: Added to the header's `amendments`.
    """

    id: str
    token: str
    expected: int
    commit_id: str
    then: KeepLease | Suspend | ReleaseLease | End | Restart
    entries: tuple[bytes, ...] = ()
    consumed: tuple[int, ...] = ()
    seen: int = 0
    creates: tuple[Create, ...] = ()
    cancels: tuple[str, ...] = ()
    current: bytes | None = None
    attempt: int | None = None
    amendments: int = 0


class LeaseRef(msgspec.Struct, frozen=True):
    """A lease as its holder knows it."""

    id: str
    token: str
    seen: int


class RenewedLeases(msgspec.Struct, frozen=True):
    """Reply of `RenewLeases`: ids whose lease is lost, and ids with messages beyond `seen`."""

    now: float
    lost: tuple[str, ...] = ()
    news: tuple[str, ...] = ()


class RenewLeases(Request[RenewedLeases], frozen=True):
    """Renew leases for `lease` seconds (those whose token still matches)."""

    held: tuple[LeaseRef, ...]
    lease: float


class Load(Request[list[bytes]], frozen=True):
    """Read the log's entries from index `after` on. `UnknownExecution` if there is none.

    `Undecodable` if the store finds that an entry is not what was written; with `inspect` it gives `DAMAGED` in its place.
    """

    id: str
    after: int = 0
    inspect: bool = False


DAMAGED = b"\x00damaged"
"""Stands for an entry that is not what was written: no codec writes it."""


# --- arrivals -----------------------------------------------------------------------------------------


class Delivered(msgspec.Struct, frozen=True):
    """Reply of `Deliver` and `Watch`. `duplicate`: it had been accepted before, so that no message was added."""

    now: float
    duplicate: bool = False
    woken: tuple[str, ...] = ()


class Deliver(Request[Delivered], frozen=True):
    """Put a message into an execution's inbox; a sleeping execution becomes due now.

    `UnknownExecution` / `ExecutionEnded` if it cannot take one. Idempotent by `message_id` (of cancels apart from those of
    other messages): a repetition is a `duplicate` even when the execution has ended meanwhile, for which the ids of the
    newest `ACCEPTED_LIMIT` arrivals are remembered until the execution is removed (at least an hour after its end).
    A leased execution keeps its lease (its holder is notified by the next commit or renewal). A `cancel`: of an execution
    that lives, one is accepted (further ones are duplicates, whatever their id); an execution that was never claimed
    (`pending`, empty log) ends `cancelled` at once, as by `End("cancelled")`; a leased one gets `status="cancelling"`.
    The `name` of a cancel is the execution that cancels (empty: nobody's). One by an execution other than its `parent_id` is a
    `duplicate` that changes nothing: only who created an execution cancels it.
    A message does not wake an execution that is `stuck`, and does not advance an execution whose first `at` has not come
    (status `pending`); it waits in the inbox.
    """

    id: str
    message_id: str
    kind: str
    name: str = ""
    payload: bytes = b"null"


class Watch(Request[Delivered], frozen=True):
    """Deliver an `ended` message to `watcher`'s inbox when execution `id` ends, or now if it has ended.

    `UnknownExecution` if `id` does not exist. An inbox holds at most one `ended` message of any one execution: while one
    waits, watching what has ended is a `duplicate`; once that is consumed, it delivers another. An execution that ends
    again (an operator had it tried again) replaces what tells of its earlier end, under a new `seq`.
    """

    id: str
    watcher: str


class Forget(Request[None], frozen=True):
    """Remove a delivered item from a shard's outbox."""

    item: Deliver | Create


# --- reading -------------------------------------------------------------------------------------------


class Get(Request["Header | None"], frozen=True):
    """Read one execution's header."""

    id: str


class Inbox(Request[tuple[Message, ...]], frozen=True):
    """Read an execution's waiting messages, oldest first (for displays and tests)."""

    id: str


class Found(msgspec.Struct, frozen=True):
    """A page of headers, newest first; `cursor` continues it (None at the end)."""

    headers: tuple[Header, ...]
    cursor: str | None = None


class Find(Request[Found], frozen=True):
    """List executions, newest (`created_at`, then `id`) first; all given filters must hold.

    `metadata` holds (key, JSON text of the value) pairs that the header's top-level metadata must hold, compared as JSON:
    neither spaces nor the order of keys count, `1`, `1.0` and `true` differ.
    `due_before`: not ended, and `due_at` is before it.
    """

    statuses: tuple[str, ...] = ()
    workflow: str | None = None
    parent_id: str | None = None
    id_prefix: str | None = None
    created_after: float | None = None
    created_before: float | None = None
    updated_after: float | None = None
    updated_before: float | None = None
    due_before: float | None = None
    metadata: tuple[tuple[str, bytes], ...] = ()
    limit: int = 100
    cursor: str | None = None


class Count(Request[dict[str, int]], frozen=True):
    """Count executions by status (of one workflow, or all). Statuses without executions are absent."""

    workflow: str | None = None


# --- operators -----------------------------------------------------------------------------------------


class Amended(msgspec.Struct, frozen=True):
    """Reply of `Amend`."""

    header: Header
    now: float
    woken: tuple[str, ...] = ()


class Amend(Request[Amended], frozen=True):
    """An operator's transition: appends `entries`, and makes the execution due (`then=None`) or ended.

    Refused with `OperatorRefused` unless the status is one of `statuses` and the log's length is `expected`.
    Any lease is broken (its holder is fenced). With `then=None` the execution becomes `pending`, due now, result, error,
    `ended_at` and `deadline` cleared, `lost_leases` 0. Idempotent by `nonce` (kept as `last_commit`).
    """

    id: str
    nonce: str
    statuses: tuple[str, ...]
    expected: int
    entries: tuple[bytes, ...] = ()
    then: End | None = None
    attempt: int | None = None
    amendments: int = 0


class Delete(Request[bool], frozen=True):
    """Remove an ended execution with its log and all traces. False if unknown; `OperatorRefused` if not ended."""

    id: str


class Purge(Request[int], frozen=True):
    """Remove ended executions, up to `limit`; returns how many.

    First those whose retention has passed. Then, with `keep`, as many as there are beyond that number, those created first
    (`created_at`, then `id`).
    """

    limit: int = 100
    keep: int | None = None


# --- schedules and workers --------------------------------------------------------------------------------


class ScheduleWritten(msgspec.Struct, frozen=True):
    """Reply of `PutSchedule`/`DropSchedule`: `row` is what is stored now; `applied` is False if `expected` did not match."""

    applied: bool
    row: Schedule | None
    now: float
    woken: tuple[str, ...] = ()


class PutSchedule(Request[ScheduleWritten], frozen=True):
    """Write a schedule's row if its stored version is `expected` (0: it does not exist), as version `expected + 1`.

    `creates` (existing ids are left alone) and `cancels` happen in the same transition: a tick is this request, so no
    tick fires twice and none is lost. `row.version` is ignored.
    """

    row: Schedule
    expected: int
    creates: tuple[Create, ...] = ()
    cancels: tuple[str, ...] = ()


class DropSchedule(Request[ScheduleWritten], frozen=True):
    """Remove a schedule if its version is `expected`; its executions stay."""

    id: str
    expected: int


class GetSchedule(Request["Schedule | None"], frozen=True):
    """Read one schedule."""

    id: str


class ListSchedules(Request[tuple[Schedule, ...]], frozen=True):
    """Read up to `limit` schedules with ids after `after`, in order of id."""

    after: str = ""
    limit: int = 1000


class Register(Request[float], frozen=True):
    """Record a worker (forgotten after `ttl` seconds without repetition); returns the store's now."""

    row: WorkerRow
    ttl: float


class Workers(Request[tuple[WorkerRow, ...]], frozen=True):
    """Read the workers that registered within their `ttl`, in order of name."""


class Ping(Request[float], frozen=True):
    """Return the store's now; proves that it answers."""


READS: frozenset[type[Request[Any]]] = frozenset(
    (Load, Get, Inbox, Find, Count, GetSchedule, ListSchedules, Workers, Ping)
)
"""Requests that change nothing."""
