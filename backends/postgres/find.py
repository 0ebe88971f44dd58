"""Listing executions in PostgreSQL, newest first: by age, unless an index leads to few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from replay.backends import common, damage
from replay.backends.postgres import schema
from replay.backends.postgres.connection import Database
from replay.core import requests as r

FEW = 5000
"""Executions that are looked at one by one for whatever else is asked of them (about 10 ms)."""

_HEADER = ", ".join(f"e.{name}" for name in schema.COLUMNS)
_HAS_TERM = "EXISTS (SELECT 1 FROM @metadata AS t WHERE t.ns = e.ns AND t.term=%s AND t.created_at = e.created_at AND t.id = e.id)"
_HAS_PREFIX = "e.id >= %s AND e.id <= %s || chr(1114111)"  # the last character of all
_CHANGED = "e.updated_tick BETWEEN %s AND %s"
_NEXT_LANE = (
    "SELECT queue, workflow, version FROM @execution WHERE ns=%s AND due_at IS NOT NULL"
    " AND (queue, workflow, version) > (%s, %s, %s) ORDER BY queue, workflow, version LIMIT 1"
)
_DUE_IN_LANE = (
    "SELECT x FROM @execution WHERE ns=%s AND queue=%s AND workflow=%s AND version=%s AND due_at < %s LIMIT %s"
)
_BEGINNING, _END = 0, 10**17


def find(query: r.Find, namespace: str, db: Database, count: Callable[[r.Count], dict[str, int]]) -> r.Found:
    """Return the page of executions that *query* asks for; *count* counts by status."""
    listing = _Listing(query, namespace)
    if not _is_few(query, count):
        listing.lead(db)
    found = tuple(damage.header_of(row) for row in db.execute(*listing.select()))
    page = found[: query.limit]
    more = len(found) > query.limit and page
    return r.Found(page, common.make_cursor(page[-1].created_at, page[-1].id) if more else None)


def _is_few(query: r.Find, count: Callable[[r.Count], dict[str, int]]) -> bool:
    """Tell whether statuses, workflow or parent leave so few that their own indexes lead."""
    if query.parent_id is not None:
        return True
    counts = count(r.Count(query.workflow))
    return sum(n for status, n in counts.items() if not query.statuses or status in query.statuses) <= FEW


class _Listing:
    """A query in the making: from which table, and under which conditions."""

    def __init__(self, query: r.Find, namespace: str) -> None:
        self._query = query
        self._ns = namespace
        self._from = "@execution AS e"
        self._by = "e"  # whose created_at and id are compared, and the order
        self._terms = list(common.wanted_terms(query))
        self._where = ["e.ns=%s"]
        self._values: list[Any] = [namespace]

    def _must(self, condition: str, *values: Any) -> None:
        self._where.append(condition)
        self._values += values

    def lead(self, db: Database) -> None:
        """Go by an index that leads to few, if there is one; else by the rarest of the metadata's terms, if any are asked for."""
        few = self._few(db)
        if few is not None:
            self._must("e.x = ANY(%s)", few)
        elif self._terms:
            sizes = {term: self._size(term, db) for term in self._terms}
            rarest, *self._terms = sorted(sizes, key=sizes.__getitem__)
            self._from = "@metadata AS m JOIN @execution AS e ON e.ns = m.ns AND e.id = m.id"
            self._by = "m"
            self._must("m.ns=%s AND m.term=%s", self._ns, rarest)

    def _few(self, db: Database) -> list[int] | None:
        """Return those that an index leads to, None if each leads to too many."""
        q = self._query
        if q.due_before is not None and len(found := self._overdue(q.due_before, db)) <= FEW:
            return found
        indexes: list[tuple[str, tuple[Any, ...]]] = []
        if q.id_prefix is not None:
            indexes.append((_HAS_PREFIX, (q.id_prefix, q.id_prefix)))
        if q.updated_after is not None or q.updated_before is not None:
            first = _BEGINNING if q.updated_after is None else _tick(q.updated_after)
            indexes.append((_CHANGED, (first, _END if q.updated_before is None else _tick(q.updated_before))))
        for condition, values in indexes:
            rows = db.execute(
                f"SELECT x FROM @execution AS e WHERE e.ns=%s AND {condition} LIMIT {FEW + 1}", (self._ns, *values)
            )
            found = [x for (x,) in rows]
            if len(found) <= FEW:
                return found
        return None

    def _overdue(self, before: float, db: Database) -> list[int]:
        """Return who is due before an instant, lane by lane, up to one more than are few."""
        found: list[int] = []
        lane = ("", "", "")
        while len(found) <= FEW and (row := db.execute(_NEXT_LANE, (self._ns, *lane)).fetchone()) is not None:
            lane = row
            found += [x for (x,) in db.execute(_DUE_IN_LANE, (self._ns, *lane, before, FEW + 1))]
        return found

    def _size(self, term: str, db: Database) -> int:
        rows = db.execute(f"SELECT 1 FROM @metadata WHERE ns=%s AND term=%s LIMIT {FEW + 1}", (self._ns, term))
        return len(rows.fetchall())

    def select(self) -> tuple[str, list[Any]]:
        """Return the statement for the page and one row more, and its values."""
        q, by = self._query, self._by
        if q.statuses:
            self._must("e.status = ANY(%s)", list(q.statuses))
        for condition, value in (
            ("e.workflow=%s", q.workflow),
            ("e.parent_id=%s", q.parent_id),
            (f"{by}.created_at>%s", q.created_after),
            (f"{by}.created_at<%s", q.created_before),
            (f"{by}.created_at<%s", q.updated_before),  # nobody was changed before he was created
            ("e.updated_at>%s", q.updated_after),
            ("e.updated_at<%s", q.updated_before),
            ("e.ended_at IS NULL AND e.due_at<%s", q.due_before),
        ):
            if value is not None:
                self._must(condition, value)
        if q.id_prefix is not None:
            self._must(f"starts_with({by}.id, %s)", q.id_prefix)
        if q.cursor is not None:
            self._must(f"({by}.created_at, {by}.id) < (%s, %s)", *common.read_cursor(q.cursor))
        for term in self._terms:
            self._must(_HAS_TERM, term)
        where, order = " AND ".join(self._where), f"{by}.created_at DESC, {by}.id DESC"
        statement = f"SELECT {_HEADER} FROM {self._from} WHERE {where} ORDER BY {order} LIMIT %s"
        return statement, [*self._values, q.limit + 1]


def _tick(instant: float) -> int:
    return max(_BEGINNING, min(_END, int(max(-1e15, min(1e15, instant)) * schema.TICKS)))
