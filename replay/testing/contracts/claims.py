"""Contract of claims, as tests: part of `StoreContract`."""

from __future__ import annotations

import pytest

from replay.core import requests as r
from replay.testing.contracts.asking import LEASE, Asking


class ClaimPromises:
    """Tests of `s`, a store as `StoreContract` gives it."""

    ordered = True  # see StoreContract

    def test_a_claim_takes_what_has_been_due_longest_up_to_its_limit(self, s: Asking) -> None:
        """And tells that more is due."""
        for id in ("c", "a", "b"):
            s.create(id)
        first = s.claims("n1", limit=2)
        found = [each.header.id for each in first.claimed]
        assert first.next_due is not None
        assert first.next_due <= s.clock.now()
        rest = s.claim("n2")
        assert (len(found), sorted(found + rest)) == (2, ["a", "b", "c"])
        if self.ordered:
            assert found == ["c", "a"]

    def test_a_higher_priority_goes_first(self, s: Asking) -> None:
        """However late it came."""
        s.create("low")
        s.create("high", priority=1)
        low, high = s.get("low").due_at, s.get("high").due_at
        assert low is not None
        assert high is not None
        assert high < low
        if self.ordered:
            assert s.claim("n1", limit=1) == ["high"]

    def test_a_higher_priority_goes_first_after_a_timer_too(self, s: Asking) -> None:
        """Created for later, parked, or taken from a lease that ran out: the longer wait gives no right of way."""
        later = s.clock.now() + 100.0
        for id in ("parked", "crashed"):
            s.create(id, priority=2)
        assert len(s.claim("n1")) == 2
        s.commit("parked", "n1", 0, r.Suspend("sleeping", later, LEASE))
        s.ask(r.RenewLeases((r.LeaseRef("crashed", "n1", 0),), later - s.clock.now()))
        s.create("later", priority=2, at=later)
        s.create("low", priority=1)
        s.wait(150.0)
        s.create("lowest")
        s.claims("nothing", queues=("mail",))
        due = {id: s.get(id).due_at for id in ("parked", "crashed", "later", "low", "lowest")}
        assert all(due[id] == pytest.approx(later - 2 * r.PRIORITY_STEP) for id in ("parked", "crashed", "later")), due
        first = s.claim("n2", limit=3)
        assert s.claims("nothing", queues=("mail",)).claimed == ()  # each is moved once
        if self.ordered:
            assert sorted(first) == ["crashed", "later", "parked"]
            assert s.claim("n3") == ["low", "lowest"]

    def test_a_claim_repeated_gives_the_same_leases_and_no_more(self, s: Asking) -> None:
        """Idempotent by nonce."""
        s.create("a")
        assert s.claim("n1") == ["a"]
        s.create("b")
        assert s.claim("n1") == ["a"]
        assert s.claim("n2") == ["b"]

    def test_a_worker_never_takes_what_it_does_not_know(self, s: Asking) -> None:
        """Other workflows, versions and queues stay."""
        s.create("workflow", workflow="x")
        s.create("version", version="9")
        s.create("queue", queue="mail")
        assert s.claim("n1") == []
        assert s.claim("n2", queues=("mail",)) == ["queue"]
