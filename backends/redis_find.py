"""Listing executions: pages merged from all shards, newest first."""

from __future__ import annotations

from typing import Any

from replay.backends import common
from replay.backends.redis_plans import Plan, Shards
from replay.backends.redis_rows import header, optional
from replay.core import requests as r
from replay.core.requests import ENDED


class _Source:
    """What one shard has given so far, and how far it was read."""

    def __init__(self, shard: int, position: tuple[str, str]) -> None:
        self.shard = shard
        self.position = position
        self.found: list[r.Header] = []
        self.done = False


def find(shards: Shards, query: r.Find, now: bytes) -> Plan[r.Found]:
    """Return the page of executions that *query* asks for."""
    start = ("", "")
    if query.cursor is not None:
        instant, id = common.read_cursor(query.cursor)
        start = (repr(instant), id)
    if query.due_before is not None:
        few = yield from _overdue(shards, query, now)
        if few is not None:
            after = None if query.cursor is None else common.read_cursor(query.cursor)
            return _page(few, query.limit, after)
    terms = "\x1f".join(common.wanted_terms(query))
    sources = [_Source(shard, start) for shard in range(shards.count)]
    while open := [s for s in sources if not s.done and len(s.found) <= query.limit]:
        replies = yield [
            shards.script(
                s.shard,
                "find",
                now,
                *_filters(query),
                *s.position,
                query.limit + 1 - len(s.found),
                terms,
                *query.statuses,
            )
            for s in open
        ]
        for source, (done, instant, id, rows) in zip(open, replies, strict=True):
            source.done = bool(done)
            source.position = (instant.decode(), id.decode())
            source.found += [x for x in map(header, rows) if common.matches(x, query)]
    return _page([x for source in sources for x in source.found], query.limit, None)


def _filters(query: r.Find) -> list[Any]:
    return [
        optional(query.workflow),
        optional(query.parent_id),
        optional(query.id_prefix),
        optional(query.updated_after),
        optional(query.updated_before),
        optional(query.due_before),
        optional(query.created_after),
        optional(query.created_before),
    ]


def _overdue(shards: Shards, query: r.Find, now: bytes) -> Plan[list[r.Header] | None]:
    """Take the executions from the lanes, if those overdue are few; else None (then all that are open are looked at)."""
    if query.statuses and set(query.statuses) <= ENDED:
        return []
    replies = yield [shards.script(shard, "overdue", now, optional(query.due_before)) for shard in range(shards.count)]
    if not all(few for few, _ in replies):
        return None
    return [x for _, rows in replies for x in map(header, rows) if common.matches(x, query)]


def _page(found: list[r.Header], limit: int, after: tuple[float, str] | None) -> r.Found:
    found.sort(key=lambda x: (x.created_at, x.id), reverse=True)
    if after is not None:
        found = [x for x in found if (x.created_at, x.id) < after]
    page = found[:limit]
    more = len(found) > limit and page
    return r.Found(tuple(page), common.make_cursor(page[-1].created_at, page[-1].id) if more else None)
