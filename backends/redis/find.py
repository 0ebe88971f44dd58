"""Listing executions: pages merged from all shards, newest first."""

from __future__ import annotations

from typing import Any

from replay.backends import common
from replay.backends.redis.plans import Plan, Shards
from replay.backends.redis.rows import header, optional
from replay.core import requests as r


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
    return _page([x for source in sources for x in source.found], query.limit)


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


def _page(found: list[r.Header], limit: int) -> r.Found:
    found.sort(key=lambda x: (x.created_at, x.id), reverse=True)
    page = found[:limit]
    more = len(found) > limit and page
    return r.Found(tuple(page), common.make_cursor(page[-1].created_at, page[-1].id) if more else None)
