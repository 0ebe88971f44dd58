"""Claims: leases on due executions from all shards at once, never more than the limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from replay.backends.redis import rows
from replay.backends.redis.round_trips import RoundTrips
from replay.backends.redis.scripts import Call
from replay.backends.redis.shards import Shards, portions
from replay.core import requests as r


def claim(shards: Shards, request: r.Claim, now: Callable[[], bytes]) -> RoundTrips[r.Claims]:
    """Claim a portion from each shard at once, then the rest from shards that have more."""
    order = shards.rotation()
    again = shards.count > 1 and shards.is_repeated(request.nonce)
    quotas = dict(zip(order, portions(request.limit, len(order)), strict=True))
    first = b"0" if again else b"1"
    replies = yield [_call(shards, now(), request, shard, quota, first) for shard, quota in quotas.items()]
    answers = dict(zip(quotas, replies, strict=True))
    claimed = {row[0]: row for reply in replies for row in reply[3]}
    repeated = again or any(reply[2] for reply in replies)
    outbox = [(shard, reply[5]) for shard, reply in answers.items()]
    schedules = [row for reply in replies for row in reply[4]]
    damaged = [pair for reply in replies for pair in _pairs(reply[6])]
    if shards.count > 1 and not repeated:
        rest = request.limit - len(claimed)
        for shard in order:
            instant, due = answers[shard][0], answers[shard][1]
            if rest <= 0 or not due or float(due) > float(instant):
                continue
            (reply,) = yield [_call(shards, now(), request, shard, rest, b"2")]
            claimed |= {row[0]: row for row in reply[3]}
            outbox.append((shard, reply[5]))
            damaged += _pairs(reply[6])
            answers[shard] = reply
            rest = request.limit - len(claimed)
    return _reply(shards, list(answers.values()), list(claimed.values()), schedules, outbox, damaged)


def _call(shards: Shards, now: bytes, request: r.Claim, shard: int, limit: int, round: bytes) -> Call:
    lanes = [f"{q}\x1f{w}\x1f{v}" for q in request.queues for w, v in request.workflows]
    known = list(dict.fromkeys(w for w, _ in request.workflows))
    return shards.script(
        shard, "claim", now, *lanes, *known, nonce=request.nonce, worker=request.worker, limit=limit,
        lease=repr(request.lease), revive=b"1" if request.revive else b"0", round=round, n_lanes=len(lanes),
        n_workflows=len(known),
    )  # fmt: skip


def _pairs(flat: list[bytes]) -> list[tuple[str, str]]:
    texts = [each.decode(errors="replace") for each in flat]
    return list(zip(texts[::2], texts[1::2], strict=True))


def _reply(
    shards: Shards,
    replies: list[Any],
    claimed: list[Any],
    schedules: list[Any],
    outbox: list[Any],
    damaged: list[tuple[str, str]],
) -> r.Claims:
    now = max(float(reply[0]) for reply in replies)
    if shards.count > 1:
        claimed.sort(key=lambda row: float(row[4]))  # longest due first
    dues = [float(reply[1]) for reply in replies if reply[1]]
    due_schedules = sorted(filter(None, map(rows.schedule, schedules)), key=lambda s: s.next_at or 0.0)
    return r.Claims(
        now,
        tuple(r.Claimed(rows.header(row), rows.messages(row[3])) for row in claimed),
        max(min(dues), now) if dues else None,
        tuple(due_schedules[:16]),
        tuple(item for shard, items in outbox for item in rows.readable_outbox_items(shard, items)),
        tuple(damaged),
    )
