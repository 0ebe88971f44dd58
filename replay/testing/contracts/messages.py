"""Contract of messages: signals, and the ends of children and of watched executions, as tests: part of `StoreContract`."""

from __future__ import annotations

import pytest

from replay.core import requests as r
from replay.core.errors import ExecutionEnded, UnknownExecution
from replay.testing.contracts.asking import LEASE, Asking


class MessagePromises:
    """Tests of `s`, a store as `StoreContract` gives it."""

    def test_the_end_of_a_child_and_the_waking_of_its_parent_are_one_fact(self, s: Asking) -> None:
        """The message has the payload as it was committed."""
        s.create("parent")
        s.claim("n1")
        child = r.Create("child", "w", b"1", parent_id="parent")
        s.commit("parent", "n1", 0, r.Suspend("sleeping", None, LEASE), creates=(child,))
        s.claim("n2")
        s.commit("child", "n2", 0, r.End("completed", b'{"a":[]}'))
        (claimed,) = s.claims("n3").claimed
        (message,) = claimed.messages
        assert (claimed.header.id, message.kind, message.name) == ("parent", "ended", "child")
        assert message.payload == b'{"status":"completed","result":{"a":[]},"error":null}'

    def test_a_watcher_is_told_once_whether_it_came_before_the_end_or_after(self, s: Asking) -> None:
        """`Watch`."""
        for id in ("watched", "early", "late"):
            s.create(id)
        s.claim("n1")
        s.ask(r.Watch("watched", "early"))
        s.commit("watched", "n1", 0, r.End("failed", None, b'"e"'))
        for _ in range(2):
            s.ask(r.Watch("watched", "late"))
            s.ask(r.Watch("watched", "early"))
        for watcher in ("early", "late"):
            assert [m.name for m in s.ask(r.Inbox(watcher))] == ["watched"]
        with pytest.raises(UnknownExecution):
            s.ask(r.Watch("nobody", "early"))

    def test_a_watcher_that_does_not_live_is_notified_of_nothing(self, s: Asking) -> None:
        """Neither one that ended, nor one that never was."""
        for id in ("watched", "ended"):
            s.create(id)
        s.claim("n1")
        s.commit("ended", "n1", 0, r.End("completed", b"1"))
        for _ in range(2):
            for watcher in ("ended", "nobody"):
                assert not s.ask(r.Watch("watched", watcher)).duplicate
            if s.get("watched").ended_at is None:
                s.commit("watched", "n1", 0, r.End("completed", b"1"))
        assert s.ask(r.Inbox("ended")) == ()
        assert s.ask(r.Get("nobody")) is None

    def test_of_another_execution_one_end_waits_and_the_last_one_counts(self, s: Asking) -> None:
        """Once it is consumed, watching again tells again; an end after an operator's retry replaces what still waits."""
        s.create("parent")
        s.create("watched", parent_id="parent")
        s.claim("n1")
        for _ in range(2):  # a parent that also watches is told once
            s.ask(r.Watch("watched", "parent"))
        s.commit("watched", "n1", 0, r.End("failed", None, b'"e"'))
        assert [(m.seq, m.name) for m in s.ask(r.Inbox("parent"))] == [(1, "watched")]
        assert s.ask(r.Watch("watched", "parent")).duplicate
        s.commit("parent", "n1", 0, consumed=(1,), seen=1, commit_id="c1")
        for duplicate in (False, True):
            assert s.ask(r.Watch("watched", "parent")).duplicate is duplicate
        assert [m.seq for m in s.ask(r.Inbox("parent"))] == [2]
        s.signal("parent", "m1")
        s.ask(r.Amend("watched", "o1", ("failed",), 0))
        s.claim("n2")
        s.commit("watched", "n2", 0, r.End("completed", b"7"))
        signal, ended = s.ask(r.Inbox("parent"))
        assert (signal.seq, ended.seq, ended.name) == (3, 4, "watched")
        assert ended.payload == b'{"status":"completed","result":7,"error":null}'
        s.commit("parent", "n1", 0, consumed=(2, 3, 4), seen=4, commit_id="c2")
        assert s.ask(r.Inbox("parent")) == ()

    def test_messages_are_accepted_once_and_kept_in_order(self, s: Asking) -> None:
        """Idempotent by message id; payloads unchanged."""
        s.create("a")
        payloads = [b"[]", b"{}", b"9223372036854775808", b"0.30000000000000004", '"\U0001f600"'.encode()]
        for number, payload in enumerate(payloads):
            for _ in range(2):
                s.signal("a", f"m{number}", payload)
        assert [(m.seq, m.payload) for m in s.ask(r.Inbox("a"))] == list(enumerate(payloads, 1))
        assert s.signal("a", "m0").duplicate

    def test_a_message_to_nobody_is_refused(self, s: Asking) -> None:
        """Never silence."""
        with pytest.raises(UnknownExecution):
            s.signal("nobody", "m1")

    def test_a_repeated_message_is_a_duplicate_after_the_end_too(self, s: Asking) -> None:
        """Whoever lost the answer learns that it was received; what is new is refused; a second life begins where the first ended."""
        for id in ("unbegun", "a"):
            s.create(id)
        s.ask(r.Deliver("unbegun", "x", "cancel"))
        s.claim("n1")
        s.signal("a", "m1")
        s.ask(r.Deliver("a", "x", "cancel"))
        s.ask(r.Deliver("a", "y", "cancel"))
        s.commit("a", "n1", 0, r.End("cancelled"), seen=2)
        for id, repeated in (("unbegun", "x"), ("a", "x"), ("a", "y")):
            assert s.ask(r.Deliver(id, repeated, "cancel")).duplicate
            with pytest.raises(ExecutionEnded):
                s.ask(r.Deliver(id, "z", "cancel"))
            with pytest.raises(ExecutionEnded):
                s.signal(id, "x")
        assert s.signal("a", "m1").duplicate
        s.ask(r.Amend("a", "o1", ("cancelled",), 0))
        assert s.signal("a", "m1").duplicate
        s.claim("n2")
        assert not s.ask(r.Deliver("a", "z", "cancel")).duplicate
        assert s.get("a").status == "cancelling"

    def test_of_the_accepted_messages_only_the_newest_are_remembered(self, s: Asking) -> None:
        """`ACCEPTED_LIMIT` of them."""
        s.create("a")
        s.store.apply([r.Deliver("a", f"m{n}", "signal", "go") for n in range(r.ACCEPTED_LIMIT)])
        assert s.signal("a", "m0").duplicate
        assert not s.signal("a", "one more").duplicate
        assert s.signal("a", "m1").duplicate
        assert not s.signal("a", "m0").duplicate
        assert s.get("a").arrivals == r.ACCEPTED_LIMIT + 2
