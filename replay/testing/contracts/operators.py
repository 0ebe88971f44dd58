"""Contract of what operators do: amend, delete, purge, as tests: part of `StoreContract`."""

from __future__ import annotations

import pytest

from replay.core import requests as r
from replay.core.errors import Fenced, OperatorRefused
from replay.testing.contracts.asking import Asking


class OperatorPromises:
    """Tests of `s`, a store as `StoreContract` gives it."""

    def test_an_amendment_is_guarded_and_breaks_the_lease(self, s: Asking) -> None:
        """By status and length; idempotent by nonce."""
        s.create("a")
        s.claim("n1")
        with pytest.raises(OperatorRefused):
            s.ask(r.Amend("a", "o1", ("failed",), 0, (b"[9]",)))
        with pytest.raises(OperatorRefused):
            s.ask(r.Amend("a", "o1", ("running",), 1, (b"[9]",)))
        for _ in range(2):
            s.ask(r.Amend("a", "o1", ("running",), 0, (b"[9]",), amendments=1))
        assert (s.get("a").length, s.get("a").status, s.get("a").amendments) == (1, "pending", 1)
        with pytest.raises(Fenced):
            s.commit("a", "n1", 1)
        assert s.claim("n2") == ["a"]

    def test_only_what_has_ended_is_deleted(self, s: Asking) -> None:
        """With all its traces: the id is free again."""
        s.create("a")
        with pytest.raises(OperatorRefused):
            s.ask(r.Delete("a"))
        s.ask(r.Deliver("a", "x", "cancel"))
        assert s.ask(r.Delete("a"))
        assert not s.ask(r.Delete("a"))
        assert s.ask(r.Get("a")) is None
        assert s.ask(r.Count()) == {}
        assert s.create("a").fresh
        assert s.ask(r.Inbox("a")) == ()

    def test_ended_executions_are_purged_after_their_retention(self, s: Asking) -> None:
        """No earlier, and no others."""
        s.create("short", retention=10.0)
        s.create("long", retention=100.0)
        s.create("for ever")
        s.create("alive", retention=10.0)
        s.claim("n1")
        for id in ("short", "long", "for ever"):
            s.commit(id, "n1", 0, r.End("completed", b"1"), commit_id=f"end {id}")
        assert s.ask(r.Purge()) == 0
        s.wait(11.0)
        assert s.ask(r.Purge()) == 1
        assert s.ask(r.Get("short")) is None
        assert {h.id for h in s.ask(r.Find()).headers} == {"long", "for ever", "alive"}
        s.wait(100.0)
        assert s.ask(r.Purge(keep=1)) == 1  # what its retention removes does not count again as too many

    def test_of_the_ended_executions_no_more_are_kept_than_may_be(self, s: Asking) -> None:
        """The oldest go, whatever they ended as; what has not ended neither goes nor counts."""
        for id in ("e", "d", "c", "b", "a", "alive"):
            s.create(id)
            s.wait(1.0)
        s.claim("n1")
        ends = {"e": "completed", "d": "failed", "c": "cancelled", "b": "compensation_failed", "a": "completed"}
        for id, status in ends.items():
            s.commit(id, "n1", 0, r.End(status, b"1"), commit_id=f"end {id}")
        assert s.ask(r.Purge()) == 0
        assert s.ask(r.Purge(keep=5)) == 0
        assert s.ask(r.Purge(keep=4)) == 1
        assert s.ask(r.Get("e")) is None
        assert s.ask(r.Purge(limit=1, keep=1)) == 1
        assert {h.id for h in s.ask(r.Find()).headers} == {"c", "b", "a", "alive"}
        assert s.ask(r.Purge(keep=1)) == 2
        assert s.ask(r.Purge(keep=0)) == 1
        assert [h.id for h in s.ask(r.Find()).headers] == ["alive"]
