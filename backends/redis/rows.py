"""The notation of requests and replies in Redis: headers, messages, schedules, and outbox items between shards."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from replay.backends import common, damage
from replay.backends.redis.constants import CREATE_FIELDS
from replay.backends.redis.scripts import Argument
from replay.core import requests as r
from replay.core.errors import Undecodable
from replay.logs import get_logger

log = get_logger("replay.redis")

SEPARATOR = b"\x1f"  # between the parts of names in keys and messages; ids cannot contain it


def _optional(value: Any) -> Argument:
    return b"" if value is None else value if isinstance(value, bytes | str) else repr(value)


optional: Callable[[Any], Argument] = _optional
"""Write a value that may be None. None becomes `''`, which no stored value is."""

# --- headers --------------------------------------------------------------------------------------------

_text = bytes.decode
_FIELDS: dict[bytes, tuple[str, Callable[[bytes], Any]]] = {
    b"wf": ("workflow", _text),
    b"v": ("version", _text),
    b"q": ("queue", _text),
    b"st": ("status", _text),
    b"ca": ("created_at", damage.number),
    b"ua": ("updated_at", damage.number),
    b"ea": ("ended_at", damage.number),
    b"par": ("parent_id", _text),
    b"pri": ("priority", int),
    b"ret": ("retention", float),
    b"dl": ("deadline", float),
    b"at": ("attempt", int),
    b"run": ("run", int),
    b"len": ("length", int),
    b"am": ("amendments", int),
    b"arr": ("arrivals", int),
    b"lc": ("last_commit", _text),
    b"tok": ("token", _text),
    b"wk": ("worker", _text),
    b"lost": ("lost_leases", int),
    b"due": ("due_at", damage.number),
    b"in": ("input", bytes),
    b"res": ("result", bytes),
    b"err": ("error", bytes),
    b"md": ("metadata", bytes),
    b"cur": ("current", bytes),
}


def header(row: Sequence[Any]) -> r.Header:
    """Return the header of `{id, fields, payloads}`. See `damage.salvaged` for damaged fields."""
    values: dict[str, Any] = {"input": b""}
    sound = True
    for half in (row[1], row[2]):
        for i in range(0, len(half), 2):
            field = _FIELDS.get(half[i])  # skips the fields of newer versions, and `pf` and `cn`
            if field is not None:
                try:
                    values[field[0]] = field[1](half[i + 1])
                except ValueError:
                    values[field[0]], sound = ..., False
    if sound and values.keys() >= _NEEDED:
        return r.Header(id=row[0].decode(errors="replace"), **values)
    return damage.salvaged({**values, "id": row[0].decode(errors="replace")})


_NEEDED = {"workflow", "version", "queue", "status", "created_at", "updated_at"}


# --- messages and log entries -----------------------------------------------------------------------------


def message(seq: bytes, data: bytes) -> r.Message:
    """Read a message of an inbox. A damaged message has the kind `unreadable`, and stays there."""
    try:
        kind, at, size, rest = data.split(SEPARATOR, 3)
        name = int(size)
        return r.Message(int(seq), kind.decode(), rest[:name].decode(), rest[name:], damage.number(at))
    except ValueError:
        return r.Message(int(seq) if seq.isdigit() else 0, "unreadable", "", data, 0.0)


def messages(flat: Sequence[bytes]) -> tuple[r.Message, ...]:
    """Return the messages of a flat list of numbers and data, oldest first."""
    found = [message(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]
    found.sort(key=lambda each: each.seq)
    return tuple(found)


def entry(data: bytes) -> bytes:
    """Return a log entry as stored, with its checksum in front."""
    return zlib.crc32(data).to_bytes(4, "big") + data


def checked(request: r.Load, stored: Sequence[bytes]) -> list[bytes]:
    """Return the entries of *request* without their checksums.

    Raises:
        Undecodable: An entry does not fit its checksum.
    """
    crc32, entries = zlib.crc32, [each[4:] for each in stored]
    for index, (data, each) in enumerate(zip(entries, stored, strict=True)):
        if crc32(data) == int.from_bytes(each[:4], "big"):
            continue
        if not request.inspect:
            raise Undecodable(
                f"execution {request.id!r}, log entry #{request.after + index}: its checksum is wrong (damaged data). "
                f"Fix: restore Redis from a backup, or end the execution (`replay cancel`, Operator.force_fail)"
            )
        entries[index] = r.DAMAGED
    return entries


# --- creates ----------------------------------------------------------------------------------------------


def create_block(request: r.Create, *, foreign: bool) -> list[Argument]:
    """Return the block for `lib/create.lua`, ordered as `CREATE_FIELDS`; *foreign*: the parent is on another shard."""
    return [
        request.id,
        request.workflow,
        request.version,
        request.queue,
        request.input,
        _optional(request.at),
        _optional(request.timeout),
        _optional(request.parent_id),
        b"1" if foreign else b"0",
        request.metadata,
        "\x1f".join(common.terms(request.metadata)),
        request.priority,
        _optional(request.retention),
        request.amendments,
        len(request.entries),
        *map(entry, request.entries),
    ]


# --- schedules and workers --------------------------------------------------------------------------------------


def schedule(row: Sequence[Any]) -> r.Schedule | None:
    """Return the schedule of `{id, fields}`, None of `{}`."""
    if not row:
        return None
    values = dict(zip(row[1][::2], row[1][1::2], strict=True))
    id, workflow = row[0].decode(errors="replace"), values.get(b"wf", b"?").decode(errors="replace")
    spec, state = values.get(b"spec", b""), values.get(b"state", b"")
    try:
        next_at = damage.number(values[b"next"]) if values[b"next"] else None
        return r.Schedule(id, workflow, spec, state, next_at, values[b"paused"] == b"1", int(values[b"ver"]))
    except (KeyError, ValueError):
        return r.Schedule(id, workflow, b"", state)


def worker(name: bytes, data: bytes) -> r.WorkerRow:
    """Return a worker's row."""
    seen_at, _, info = data.partition(SEPARATOR)
    try:
        return r.WorkerRow(name.decode(errors="replace"), info, damage.number(seen_at))
    except ValueError:
        return r.WorkerRow(name.decode(errors="replace"), info)


# --- outbox items ------------------------------------------------------------------------------------------------


@attrs.frozen
class OutboxItem:
    """An item's place: the shard whose outbox holds it, and its name there."""

    shard: int
    name: bytes


class OutboxCreate(r.Create, frozen=True, kw_only=True):
    """A creation that another shard's transition asked for."""

    origin: OutboxItem


class OutboxDeliver(r.Deliver, frozen=True, kw_only=True):
    """A `cancel` or `ended` message from another shard."""

    origin: OutboxItem


def fields(*values: Argument) -> bytes:
    """Write values for `split_fields`."""
    out = []
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        out.append(b"%d:%b" % (len(data), data))
    return b"".join(out)


def split_fields(data: bytes) -> list[bytes]:
    """Return the values that `fields` (or its twin in `lib/outbox.lua`) wrote."""
    found, at = [], 0
    while at < len(data):
        colon = data.index(b":", at)
        end = colon + 1 + int(data[at:colon])
        found.append(data[colon + 1 : end])
        at = end
    return found


def outbox_create(block: Sequence[Argument]) -> bytes:
    """Write a creation for another shard."""
    return fields(b"c", *block)


def outbox_cancel(id: str, by: str) -> bytes:
    """Write a cancellation for another shard, by the execution *by* (empty: by a schedule)."""
    return fields(b"x", id, by)


def readable_outbox_items(shard: int, items: Sequence[bytes]) -> list[OutboxCreate | OutboxDeliver]:
    """Return the requests of a flat list of names and values. A damaged item stays in its outbox, and is logged."""
    found = []
    for i in range(0, len(items), 2):
        try:
            found.append(read_outbox_item(shard, items[i], items[i + 1]))
        except (ValueError, LookupError, TypeError):
            log.error(
                "outbox item %r of shard %d is damaged and is not delivered. Fix: HDEL it from the hash `o` of its shard",
                items[i],
                shard,
            )
    return found


def read_outbox_item(shard: int, name: bytes, value: bytes) -> OutboxCreate | OutboxDeliver:
    """Return the request of the item *name* in *shard*'s outbox."""
    kind, *rest = split_fields(value)
    origin = OutboxItem(shard, name)
    if kind == b"x":
        by = rest[1].decode() if len(rest) > 1 else ""  # version 0.1 wrote the id alone
        return OutboxDeliver(rest[0].decode(), name.hex(), "cancel", by, origin=origin)
    if kind == b"e":
        return OutboxDeliver(rest[0].decode(), name.hex(), "ended", rest[1].decode(), rest[2], origin=origin)
    size = len(CREATE_FIELDS)
    block = dict(zip(CREATE_FIELDS, rest[:size], strict=True))
    return OutboxCreate(
        id=block["id"].decode(),
        workflow=block["workflow"].decode(),
        input=block["input"],
        version=block["version"].decode(),
        queue=block["queue"].decode(),
        at=float(block["at"]) if block["at"] else None,
        timeout=float(block["timeout"]) if block["timeout"] else None,
        parent_id=block["parent"].decode() or None,
        metadata=block["metadata"],
        priority=int(block["priority"]),
        retention=float(block["retention"]) if block["retention"] else None,
        entries=tuple(each[4:] for each in rest[size:]),
        amendments=int(block["amendments"]),
        origin=origin,
    )
