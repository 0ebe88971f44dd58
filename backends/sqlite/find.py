"""Listing executions in SQLite, newest first: by age, unless few are asked for and an index leads to them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from replay.backends import common, damage
from replay.backends.sqlite import schema
from replay.core import requests as r

FEW = 5000
"""Executions that are looked at one by one for whatever else is asked of them (about 10 ms)."""

_HEADER = ", ".join(f"e.{name}" for name in schema.COLUMNS)
_HAS_TERM = "EXISTS (SELECT 1 FROM metadata AS t WHERE t.ns = e.ns AND t.term=? AND t.created_at = e.created_at AND t.id = e.id)"
_HAS_PREFIX = "e.id >= ? AND e.id < ? || CAST(x'ff' AS TEXT)"  # no byte of UTF-8 is ff
_CHANGED = (
    f"e.updated_tick BETWEEN CAST(coalesce(?, 0) * {schema.TICKS} AS INTEGER)"
    f" AND CAST(coalesce(?, 1e15) * {schema.TICKS} AS INTEGER)"
)

_NEXT_LANE = (
    "SELECT queue, workflow, version FROM execution WHERE ns=? AND due_at IS NOT NULL"
    " AND (queue, workflow, version, due_at) > (?, ?, ?, 9e999)"  # behind all of a lane, which are passed over at once
    " ORDER BY queue, workflow, version, due_at LIMIT 1"
)
_DUE_IN_LANE = "SELECT x FROM execution WHERE ns=? AND queue=? AND workflow=? AND version=? AND due_at<? LIMIT ?"


def find(query: r.Find, namespace: str, db: sqlite3.Connection, count: Callable[[r.Count], dict[str, int]]) -> r.Found:
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
    """A query in the making: from which table and index, and under which conditions."""

    def __init__(self, query: r.Find, namespace: str) -> None:
        self._query = query
        self._ns = namespace
        self._from = "execution AS e"
        self._by = "e"  # whose created_at and id are compared, and the order
        self._terms = list(common.wanted_terms(query))
        self._where = ["e.ns=?"]
        self._values: list[Any] = [namespace]

    def _must(self, condition: str, *values: Any) -> None:
        self._where.append(condition)
        self._values += values

    def lead(self, db: sqlite3.Connection) -> None:
        """Go by an index that leads to few, if there is one; else by the rarest of the metadata's terms, if any are asked for."""
        q = self._query
        if q.due_before is not None and len(due := self._overdue(q.due_before, db)) <= FEW:
            self._from = "json_each(?) AS d CROSS JOIN execution AS e ON e.x = d.value"
            self._values.insert(0, json.dumps(due))
            return
        indexes: list[tuple[str, str, tuple[Any, ...]]] = []
        if q.id_prefix is not None:
            indexes.append(("execution_id", _HAS_PREFIX, (q.id_prefix, q.id_prefix)))
        if q.updated_after is not None or q.updated_before is not None:
            indexes.append(("execution_updated", _CHANGED, (q.updated_after, q.updated_before)))
        for name, condition, values in indexes:
            indexed = f"execution AS e INDEXED BY {name}"
            if self._up_to(FEW + 1, f"{indexed} WHERE e.ns=? AND {condition}", values, db) <= FEW:
                self._from = indexed
                self._must(condition, *values)
                return
        if self._terms:
            sizes = {term: self._up_to(FEW, "metadata WHERE ns=? AND term=?", (term,), db) for term in self._terms}
            rarest, *self._terms = sorted(sizes, key=sizes.__getitem__)
            self._from = "metadata AS m CROSS JOIN execution AS e ON e.ns = m.ns AND e.id = m.id"
            self._by = "m"
            self._must("m.ns=? AND m.term=?", self._ns, rarest)

    def _overdue(self, before: float, db: sqlite3.Connection) -> list[int]:
        """Return who is due before an instant, lane by lane, up to one more than are few."""
        found: list[int] = []
        lane = ("", "", "")
        while len(found) <= FEW and (row := db.execute(_NEXT_LANE, (self._ns, *lane)).fetchone()) is not None:
            lane = row
            found += [x for (x,) in db.execute(_DUE_IN_LANE, (self._ns, *lane, before, FEW + 1))]
        return found

    def _up_to(self, limit: int, rows: str, values: tuple[Any, ...], db: sqlite3.Connection) -> int:
        counted = db.execute(f"SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT ?)", (self._ns, *values, limit))
        return int(counted.fetchone()[0])

    def select(self) -> tuple[str, list[Any]]:
        """Return the statement for the page and one row more, and its values."""
        q, by = self._query, self._by
        if q.statuses:
            self._must(f"e.status IN ({', '.join('?' * len(q.statuses))})", *q.statuses)
        for condition, value in (
            ("e.workflow=?", q.workflow),
            ("e.parent_id=?", q.parent_id),
            (f"{by}.created_at>?", q.created_after),
            (f"{by}.created_at<?", q.created_before),
            (f"{by}.created_at<?", q.updated_before),  # nobody was changed before he was created
            ("e.updated_at>?", q.updated_after),
            ("e.updated_at<?", q.updated_before),
            ("e.ended_at IS NULL AND e.due_at<?", q.due_before),
        ):
            if value is not None:
                self._must(condition, value)
        if q.id_prefix is not None:
            self._must(f"substr({by}.id, 1, ?)=?", len(q.id_prefix), q.id_prefix)
        if q.cursor is not None:
            self._must(f"({by}.created_at, {by}.id) < (?, ?)", *common.read_cursor(q.cursor))
        for term in self._terms:
            self._must(_HAS_TERM, term)
        where, order = " AND ".join(self._where), f"{by}.created_at DESC, {by}.id DESC"
        return f"SELECT {_HEADER} FROM {self._from} WHERE {where} ORDER BY {order} LIMIT ?", [
            *self._values,
            q.limit + 1,
        ]
