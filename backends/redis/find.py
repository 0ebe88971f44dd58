"""Listing executions: pages merged from all shards, newest first."""

from __future__ import annotations

from replay.backends import common
from replay.backends.redis.round_trips import RoundTrips
from replay.backends.redis.rows import header, optional
from replay.backends.redis.scripts import Argument, Call
from replay.backends.redis.shards import Shards
from replay.core import requests as r


class _Source:
    """The findings of one shard so far, and the position of the next read."""

    def __init__(self, shard: int, position: tuple[str, str]) -> None:
        self.shard = shard
        self.position = position
        self.found: list[r.Header] = []
        self.done = False


def find(shards: Shards, query: r.Find, now: bytes) -> RoundTrips[r.Found]:
    """Return the page of executions of *query*."""
    start = ("", "")
    if query.cursor is not None:
        instant, id = common.read_cursor(query.cursor)
        start = (repr(instant), id)
    terms = "\x1f".join(common.wanted_terms(query))
    sources = [_Source(shard, start) for shard in range(shards.count)]
    while open := [s for s in sources if not s.done and len(s.found) <= query.limit]:
        replies = yield [_call(shards, source, query, now, terms) for source in open]
        for source, (done, instant, id, rows) in zip(open, replies, strict=True):
            source.done = bool(done)
            source.position = (instant.decode(), id.decode())
            source.found += [x for x in map(header, rows) if common.matches(x, query)]
    return _page([x for source in sources for x in source.found], query.limit)


def _call(shards: Shards, source: _Source, query: r.Find, now: bytes, terms: str) -> Call:
    return shards.script(
        source.shard, "find", now, *query.statuses, **_filters(query), position=source.position[0],
        position_id=source.position[1], wanted=query.limit + 1 - len(source.found), terms=terms,
    )  # fmt: skip


def _filters(query: r.Find) -> dict[str, Argument]:
    return {
        "workflow": optional(query.workflow),
        "parent": optional(query.parent_id),
        "prefix": optional(query.id_prefix),
        "updated_after": optional(query.updated_after),
        "updated_before": optional(query.updated_before),
        "due_before": optional(query.due_before),
        "created_after": optional(query.created_after),
        "created_before": optional(query.created_before),
    }


def _page(found: list[r.Header], limit: int) -> r.Found:
    found.sort(key=lambda x: (x.created_at, x.id), reverse=True)
    page = found[:limit]
    more = len(found) > limit and page
    return r.Found(tuple(page), common.make_cursor(page[-1].created_at, page[-1].id) if more else None)
