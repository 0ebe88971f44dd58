"""Contract of leases, as tests: part of `StoreContract`."""

from __future__ import annotations

import pytest

from replay.core import requests as r
from replay.core.errors import Fenced
from replay.testing.contracts.asking import LEASE, Asking


class LeasePromises:
    """Tests of `s`, a store as `StoreContract` gives it."""

    def test_a_lease_that_ran_out_passes_on_and_its_holder_is_fenced(self, s: Asking) -> None:
        """A zombie's writes are refused."""
        s.create("a")
        s.claim("n1")
        s.wait(LEASE - 1.0)
        assert s.claim("n2") == []
        s.wait(2.0)
        (claimed,) = s.claims("n3").claimed
        assert (claimed.header.token, claimed.header.lost_leases) == ("n3", 1)
        with pytest.raises(Fenced):
            s.commit("a", "n1", 0, entries=(b"[1]",))
        assert s.ask(r.Load("a")) == []

    def test_an_execution_that_kills_its_workers_is_set_aside(self, s: Asking) -> None:
        """After `MAX_LOST` leases lost in a row."""
        s.create("a")
        for number in range(r.MAX_LOST):
            assert s.claim(f"n{number}") == ["a"]
            s.wait(LEASE + 1.0)
        assert s.claim("next") == []
        assert s.get("a").status == "stuck"
        s.wait(r.CRASH_LOOP_DELAY + 1.0)
        assert s.claim("once more") == ["a"]

    def test_a_beat_renews_what_is_held_and_tells_what_is_lost(self, s: Asking) -> None:
        """And what has news."""
        s.create("a")
        s.create("b")
        s.claim("n1")
        s.wait(LEASE - 1.0)
        s.signal("b", "m1")
        beats = s.ask(
            r.RenewLeases((r.LeaseRef("a", "n1", 0), r.LeaseRef("b", "n1", 0), r.LeaseRef("c", "n1", 0)), LEASE)
        )
        assert (beats.lost, beats.news) == (("c",), ("b",))
        s.wait(2.0)
        assert s.claim("n2") == []

    def test_a_beat_with_another_token_renews_nothing_and_is_told_so(self, s: Asking) -> None:
        s.create("a")
        assert s.claim("n1") == ["a"]
        s.wait(LEASE / 2)
        beat = s.ask(r.RenewLeases((r.LeaseRef("a", "another", 0),), LEASE))
        assert beat.lost == ("a",)
        assert s.ask(r.RenewLeases((r.LeaseRef("unknown", "n1", 0),), LEASE)).lost == ("unknown",)
        s.wait(LEASE / 2 + 0.01)
        assert s.claim("n2") == ["a"], "the lease was renewed by somebody who does not hold it"
        assert s.ask(r.RenewLeases((r.LeaseRef("a", "n1", 0),), LEASE)).lost == ("a",), "who held it before is not told"
        assert s.ask(r.RenewLeases((r.LeaseRef("a", "n2", 0),), LEASE)).lost == ()

    def test_a_claim_repeated_after_its_leases_were_given_up_takes_nothing(self, s: Asking) -> None:
        """A late repetition: what it took has ended or was released, and more is due."""
        for then in (r.End("completed", b"1"), r.ReleaseLease()):
            name = type(then).__name__
            s.create(f"{name}-1")
            taken = s.claim(name, limit=1)
            s.commit(taken[0], name, 0, then)
            s.create(f"{name}-2")
            assert s.claim(name, limit=1) == []
            assert s.claim(name, limit=10) == []
        assert s.claim("another") != []

    def test_a_lease_lost_after_a_commit_is_the_first_lost(self, s: Asking) -> None:
        """A commit without anything but entries counts as progress, too."""
        s.create("a")
        for length in range(2):
            for number in range(r.MAX_LOST - 1):
                assert s.claim(f"n{length}-{number}") == ["a"]
                s.wait(LEASE + 1.0)
            assert s.claim(f"n{length}") == ["a"], "it is set aside although it went on meanwhile"
            assert s.get("a").lost_leases == r.MAX_LOST - 1
            s.commit("a", f"n{length}", length, entries=(b"[1]",))
            assert s.get("a").lost_leases == 0
            s.commit("a", f"n{length}", length + 1, r.ReleaseLease())
