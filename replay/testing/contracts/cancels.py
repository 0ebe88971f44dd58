"""Contract of cancels, as tests: part of `StoreContract`."""

from __future__ import annotations

from replay.core import requests as r
from replay.testing.contracts.asking import LEASE, Asking


class CancelPromises:
    """Tests of `s`, a store as `StoreContract` gives it."""

    def test_a_cancel_is_accepted_once(self, s: Asking) -> None:
        """A leased execution is told, one that has not begun ends at once."""
        s.create("running")
        s.claim("n1")
        s.create("pending")
        for id in ("running", "pending"):
            assert not s.ask(r.Deliver(id, "x", "cancel")).duplicate
        assert s.ask(r.Deliver("running", "y", "cancel")).duplicate
        assert (s.get("running").status, s.get("pending").status) == ("cancelling", "cancelled")

    def test_a_commit_cancels_what_it_names(self, s: Asking) -> None:
        s.create("p")
        assert s.claim("n1") == ["p"]
        s.create("p~parked", parent_id="p")
        s.create("p~waiting", parent_id="p", at=s.clock.now() + 1000)
        assert s.claim("n2") == ["p~parked"]
        s.commit("p~parked", "n2", 0, r.Suspend("sleeping", None, LEASE), entries=(b"x",))
        s.commit("p", "n1", 0, r.End("cancelled"), entries=(b"x",), cancels=("p~parked", "p~waiting", "unknown"))
        assert s.get("p~waiting").status == "cancelled", "what has not begun ends at once"
        assert [message.kind for message in s.ask(r.Inbox("p~parked"))] == ["cancel"]
        assert s.claim("n3") == ["p~parked"], "who sleeps without a timer is not woken by its cancel"

    def test_an_end_yields_to_a_cancel_that_the_session_has_not_seen(self, s: Asking) -> None:
        ends: tuple[r.End | r.Restart, ...] = (r.End("completed", b"1"), r.End("failed", error=b'"e"'), r.Restart(b"2"))
        for number, then in enumerate(ends):
            id = f"x{number}"
            s.create(id)
            assert s.claim(f"n{number}") == [id]
            s.ask(r.Deliver(id, "s", "signal", "go", b"1"))
            s.ask(r.Deliver(id, "m", "cancel", "", b'"why"'))
            before = s.get(id)
            for _ in range(2):  # a repetition is refused alike
                refused = s.ask(r.Commit(id, f"n{number}", 0, f"c{number}", then, (b"x",), seen=1))
                assert (refused.parked, [message.kind for message in refused.messages]) == (False, ["cancel"])
                assert s.get(id) == before
            assert s.ask(r.Load(id)) == []
            ended = s.ask(r.Commit(id, f"n{number}", 0, f"d{number}", then, (b"x",), consumed=(2,), seen=2))
            assert (ended.parked, ended.messages) == (True, ())

    def test_an_end_does_not_yield_to_a_signal(self, s: Asking) -> None:
        s.create("x")
        assert s.claim("n") == ["x"]
        s.ask(r.Deliver("x", "s", "signal", "go", b"1"))
        assert s.ask(r.Commit("x", "n", 0, "c", r.End("completed", b"1"), (b"x",))).parked

    def test_an_execution_cancels_only_what_it_created(self, s: Asking) -> None:
        """Whoever joins or copies what another execution created does not own it, whether it has begun, runs or waits."""
        s.create("p")
        s.create("q")
        assert sorted(s.claim("n1")) == ["p", "q"]
        for id, parent in (("q~runs", "q"), ("runs", None), ("q~sleeps", "q"), ("sleeps", None)):
            s.create(id, parent_id=parent)
        taken = ["q~runs", "q~sleeps", "runs", "sleeps"]
        assert sorted(s.claim("n2")) == taken
        for id in ("q~sleeps", "sleeps"):
            s.commit(id, "n2", 0, r.Suspend("sleeping", None, LEASE), entries=(b"x",))
        s.create("q~waits", parent_id="q", at=s.clock.now() + 1000)
        s.create("waits", at=s.clock.now() + 1000)
        others = (*taken, "q~waits", "waits", "q")
        before = [s.get(id) for id in others]
        s.commit("p", "n1", 0, entries=(b"x",), cancels=others)
        s.commit("p", "n1", 1, r.End("cancelled"), entries=(b"x",), cancels=others)
        assert [s.get(id) for id in others] == before
        for id in others:
            assert s.ask(r.Inbox(id)) == ()
        s.commit("q", "n1", 0, r.End("failed"), entries=(b"x",), cancels=others)
        assert s.get("q~waits").status == "cancelled"
        assert [s.get(id).status for id in taken] == ["cancelling", "sleeping", "running", "sleeping"]
        assert [len(s.ask(r.Inbox(id))) for id in taken] == [1, 1, 0, 0]
        assert s.get("waits").status == "pending"

    def test_a_cancel_makes_a_parked_execution_ready_whatever_it_waits_for(self, s: Asking) -> None:
        for id, wake_at in (("timer", s.clock.now() + 1e6), ("message", None)):
            s.create(id)
            assert s.claim(f"{id}-1") == [id]
            s.commit(id, f"{id}-1", 0, r.Suspend("sleeping", wake_at, LEASE), entries=(b"x",))
            assert s.claim(f"{id}-2") == []
            s.ask(r.Deliver(id, "m", "cancel", "", b"null"))
            (claimed,) = s.claims(f"{id}-3").claimed
            assert (claimed.header.id, claimed.header.status) == (id, "cancelling")
            assert [message.kind for message in claimed.messages] == ["cancel"]
