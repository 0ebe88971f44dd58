"""Contract of lists and counts, as tests: part of `StoreContract`."""

from __future__ import annotations

from typing import Any

from replay.core import requests as r
from replay.testing.contracts.asking import LEASE, Asking


class ListPromises:
    """Tests of `s`, a store as `StoreContract` gives it."""

    def test_pages_hold_each_execution_once_newest_first(self, s: Asking) -> None:
        """Keyset cursors."""
        ids = [f"x{n}" for n in range(7)]
        for id in ids:
            s.create(id)
        found: list[str] = []
        cursor = None
        while True:
            page = s.ask(r.Find(limit=3, cursor=cursor))
            found += [header.id for header in page.headers]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == ids[::-1]

    def test_filters_all_hold(self, s: Asking) -> None:
        """Status, workflow, parent, prefix, times, metadata."""
        s.create("p-1", metadata=b'{"team":"red", "n": 1, "long": ["\xc3\xa9", {"b": 2, "a": "' + b"x" * 300 + b'"}]}')
        s.create("p-2", workflow="v", version="2", parent_id="p-1", metadata=b'{"team":"red", "n": true}')
        s.create("q-3", metadata=b'{"team":"blue", "n": 1}')
        s.claim("n1")
        s.commit("q-3", "n1", 0, r.End("completed", b"1"))
        between = s.get("p-1").created_at

        def ids(**filters: Any) -> list[str]:
            return [header.id for header in s.ask(r.Find(**filters)).headers]

        assert ids(statuses=("completed",)) == ["q-3"]
        assert ids(workflow="v") == ["p-2"]
        assert ids(parent_id="p-1") == ["p-2"]
        assert ids(id_prefix="p-") == ["p-2", "p-1"]
        assert ids(created_after=between) == ["q-3", "p-2"]
        red, one = ("team", b'"red"'), ("n", b"1")
        assert ids(metadata=(red,)) == ["p-2", "p-1"]
        assert ids(metadata=(one,)) == ["q-3", "p-1"]
        assert ids(metadata=(red, one)) == ["p-1"]
        assert ids(metadata=(red,), created_after=between) == ids(metadata=(red,), workflow="v") == ["p-2"]
        assert ids(metadata=(red,), parent_id="p-1", id_prefix="p") == ["p-2"]
        assert ids(metadata=(one,), statuses=("completed",)) == ["q-3"]
        assert ids(metadata=(("long", b'["\xc3\xa9", {"a":"' + b"x" * 300 + b'","b":2}]'),)) == ["p-1"]
        assert ids(metadata=(("team", b"null"),)) == ids(metadata=(("red", b'"team"'),)) == []
        page = s.ask(r.Find(metadata=(red,), limit=1))
        assert [h.id for h in s.ask(r.Find(metadata=(red,), limit=1, cursor=page.cursor)).headers] == ["p-1"]
        assert ids(id_prefix="p-", workflow="w") == ["p-1"]
        assert ids(id_prefix="p-1") == ["p-1"]
        assert ids(id_prefix="") == ["q-3", "p-2", "p-1"]
        assert ids(id_prefix="p.") == ids(id_prefix="p-11") == ids(id_prefix="r") == []
        assert s.ask(r.Count()) == {"running": 2, "completed": 1}
        assert s.ask(r.Count("v")) == {"running": 1}
        s.ask(r.Delete("q-3"))
        assert ids(metadata=(one,)) == ["p-1"]

    def test_filters_by_the_last_change_know_every_transition(self, s: Asking) -> None:
        """Creating, claiming, committing, cancelling and ending are changes; what happens to others is none."""
        s.create("still")
        s.create("moves")

        def only_the_second_changed() -> None:
            old, new = s.get("still").updated_at, s.get("moves").updated_at
            assert old < new
            between = new - 0.0005
            for instant, older in ((old, set()), (between, {"still"}), (new, {"still"})):
                assert {h.id for h in s.ask(r.Find(updated_before=instant)).headers} == older
            for instant, newer in ((old, {"moves"}), (between, {"moves"}), (new, set())):
                assert {h.id for h in s.ask(r.Find(updated_after=instant)).headers} == newer

        only_the_second_changed()
        s.wait(1.0)
        assert s.claim("n") == ["still", "moves"]
        for length, later in enumerate((0.001, 0.25, 1.5)):
            s.wait(later)
            s.commit("moves", "n", length, entries=(b"[1]",))
            only_the_second_changed()
        for change in (
            r.Deliver("moves", "m", "cancel", "", b"null"),
            r.Commit("moves", "n", 3, "park", r.Suspend("sleeping", None, LEASE), seen=1),
            r.Amend("moves", "o1", ("sleeping",), 3),
            r.Amend("moves", "o2", ("pending",), 3, then=r.End("cancelled")),
        ):
            s.wait(2.0)
            s.ask(change)
            only_the_second_changed()
        s.ask(r.Delete("moves"))
        assert s.ask(r.Find(updated_after=1.0)).headers == s.ask(r.Find(id_prefix="still")).headers
        s.create("ends at once")
        s.wait(2.0)
        s.ask(r.Deliver("ends at once", "m", "cancel", "", b"null"))
        assert [h.status for h in s.ask(r.Find(updated_after=s.clock.now() - 1.0)).headers] == ["cancelled"]
