"""Contract of commits, as tests: part of `StoreContract`."""

from __future__ import annotations

import pytest

from replay.core import requests as r
from replay.core.errors import ExecutionEnded, Fenced
from replay.testing.contracts.asking import LEASE, Asking


class CommitPromises:
    """Tests of `s`, a store as `StoreContract` gives it."""

    def test_a_commit_appends_and_a_repeated_one_does_not(self, s: Asking) -> None:
        """Idempotent by commit id."""
        s.create("a")
        s.claim("n1")
        for _ in range(2):
            s.commit("a", "n1", 0, commit_id="c1", entries=(b"[1]", b'["\xc3\xa9"]'))
        assert s.ask(r.Load("a")) == [b"[1]", b'["\xc3\xa9"]']
        assert s.ask(r.Load("a", 1)) == [b'["\xc3\xa9"]']

    def test_a_commit_that_expects_another_length_changes_nothing(self, s: Asking) -> None:
        """Not its entries, nor its children, nor what it consumed."""
        s.create("a")
        s.claim("n1")
        s.signal("a", "m1")
        with pytest.raises(Fenced):
            s.commit("a", "n1", 1, entries=(b"[1]",), consumed=(1,), creates=(r.Create("child", "w", b"1"),))
        assert s.ask(r.Load("a")) == []
        assert s.ask(r.Get("child")) is None
        assert len(s.ask(r.Inbox("a"))) == 1

    def test_a_parked_execution_sleeps_until_its_time(self, s: Asking) -> None:
        """No earlier."""
        s.create("a")
        s.claim("n1")
        assert s.commit("a", "n1", 0, r.Suspend("sleeping", s.clock.now() + 50.0, LEASE)).parked
        assert (s.get("a").status, s.get("a").token) == ("sleeping", None)
        s.wait(49.0)
        assert s.claim("n2") == []
        s.wait(2.0)
        assert s.claim("n3") == ["a"]

    def test_no_wake_up_is_lost(self, s: Asking) -> None:
        """Unseen messages keep the execution awake. Seen or consumed ones do not."""
        s.create("a")
        s.claim("n1")
        s.signal("a", "m1")
        kept = s.commit("a", "n1", 0, r.Suspend("sleeping", None, LEASE), commit_id="c1")
        assert (kept.parked, [m.seq for m in kept.messages]) == (False, [1])
        assert s.commit("a", "n1", 0, r.Suspend("sleeping", None, LEASE), commit_id="c2", seen=1, consumed=(1,)).parked
        s.signal("a", "m2")
        (claimed,) = s.claims("n2").claimed
        assert [m.seq for m in claimed.messages] == [2]
        later = s.clock.now() + 5.0
        assert s.commit("a", "n2", 0, r.Suspend("sleeping", later, LEASE), commit_id="c3", seen=2, consumed=(2,)).parked
        s.wait(6.0)
        s.claim("n3")
        assert s.commit("a", "n3", 0, r.Suspend("sleeping", None, LEASE), commit_id="c4", seen=0).parked

    def test_handing_back_makes_due_at_once(self, s: Asking) -> None:
        """`ReleaseLease`."""
        s.create("a")
        s.claim("n1")
        assert s.commit("a", "n1", 0, r.ReleaseLease()).parked
        assert s.claim("n2") == ["a"]

    def test_beginning_anew_keeps_what_has_not_been_received(self, s: Asking) -> None:
        """`Restart`: log, attempt and amendments begin anew."""
        s.create("a")
        s.claim("n1")
        s.signal("a", "m1", b"[7]")
        s.commit("a", "n1", 0, entries=(b"[1]",))
        s.commit("a", "n1", 1, r.Restart(b"[2]"))
        header = s.get("a")
        assert (header.input, header.run, header.length, header.status) == (b"[2]", 1, 0, "pending")
        assert s.ask(r.Load("a")) == []
        assert [m.payload for m in s.claims("n2").claimed[0].messages] == [b"[7]"]
        assert s.signal("a", "m1").duplicate

    def test_beginning_anew_counts_attempts_and_amendments_anew(self, s: Asking) -> None:
        """Whatever else the commit says of them."""
        s.create("a", amendments=2)
        s.claim("n1")
        s.commit("a", "n1", 0, attempt=3, amendments=1)
        assert (s.get("a").attempt, s.get("a").amendments) == (3, 3)
        s.commit("a", "n1", 0, r.Restart(b"[2]"), attempt=4, amendments=1)
        assert (s.get("a").attempt, s.get("a").amendments, s.get("a").run) == (1, 0, 1)

    def test_beginning_anew_may_carry_entries_along(self, s: Asking) -> None:
        """The new log begins with them and grows from there."""
        s.create("a")
        s.claim("n1")
        again = r.Restart(b"[2]", (b"[7]", b"[8]"))
        for _ in range(2):
            s.commit("a", "n1", 0, again, entries=(b"[1]",) * 3)
        assert s.get("a").length == 2
        (claimed,) = s.claims("n2").claimed
        s.commit("a", "n2", claimed.header.length, entries=(b"[9]",))
        assert s.ask(r.Load("a")) == [b"[7]", b"[8]", b"[9]"]

    def test_an_end_is_final(self, s: Asking) -> None:
        """Result, lease and inbox."""
        s.create("a")
        s.claim("n1")
        s.signal("a", "m1")
        s.commit("a", "n1", 0, r.End("completed", b"[]"), entries=(b"[1]",), seen=1)
        header = s.get("a")
        assert (header.status, header.result, header.token, header.due_at) == ("completed", b"[]", None, None)
        assert header.ended_at is not None
        assert s.ask(r.Inbox("a")) == ()
        with pytest.raises(ExecutionEnded):
            s.signal("a", "m2")
        with pytest.raises(Fenced):
            s.commit("a", "n1", 1, commit_id="late")
        s.wait(10_000.0)
        assert s.claim("n2") == []
