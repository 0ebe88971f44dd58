"""Contract of `replay.ports.Store`, as tests to inherit. `replay.core.requests` states the promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from replay.core import requests as r
from replay.core.errors import ExecutionEnded, Fenced, OperatorRefused, UnknownExecution
from replay.ports import Clock, Store
from replay.testing.contracts.asking import LEASE, Asking
from replay.testing.contracts.leases import LeasePromises
from replay.testing.contracts.lists import ListPromises
from replay.testing.contracts.schedules import SchedulePromises
from replay.testing.simulation.clock import VirtualClock


class StoreContract(LeasePromises, ListPromises, SchedulePromises):
    """Tests of a store, given this fixture.

    * `make_store`: a function of a clock that opens a fresh, empty store on your backend.

    Attributes:
        ordered: Claims are in order over the whole store; a store of several shards, which has an order within each, says False.
    """

    ordered = True

    @pytest.fixture
    def s(self, make_store: Callable[[Clock], Store]) -> Iterator[Asking]:
        """Open a store."""
        clock = VirtualClock()
        store = make_store(clock)
        yield Asking(store, clock)
        store.close()

    # --- creating --------------------------------------------------------------------------------------

    def test_creating_twice_gives_the_first(self, s: Asking) -> None:
        """Idempotent by id."""
        assert s.create("a").fresh
        again = s.ask(r.Create("a", "v", b"2"))
        assert (again.fresh, again.header.workflow, again.header.input) == (False, "w", b"null")

    def test_a_header_comes_back_as_it_was_given(self, s: Asking) -> None:
        """Bytes are opaque."""
        payload = '{"ünïcode":[],"n":9223372036854775808}'.encode()
        create = r.Create("a", "w", payload, "2", "mail", timeout=60.0, metadata=b'{"k":1}', priority=3, retention=9.0)
        header = s.ask(create).header
        assert s.get("a") == header
        assert (header.input, header.version, header.queue, header.status) == (payload, "2", "mail", "pending")
        assert (header.deadline, header.priority, header.retention) == (header.created_at + 60.0, 3, 9.0)

    def test_what_begins_later_is_not_claimed_before(self, s: Asking) -> None:
        """`at` is a timer."""
        s.create("a", at=s.clock.now() + 100.0)
        claims = s.claims("n1")
        assert claims.claimed == ()
        assert claims.next_due == pytest.approx(s.get("a").due_at)
        s.wait(101.0)
        assert s.claim("n2") == ["a"]

    # --- claiming --------------------------------------------------------------------------------------

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

    # --- committing ------------------------------------------------------------------------------------

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

    # --- children and watchers --------------------------------------------------------------------------

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

    # --- arrivals ---------------------------------------------------------------------------------------

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

    def test_a_cancel_is_accepted_once(self, s: Asking) -> None:
        """A leased execution is told, one that has not begun ends at once."""
        s.create("running")
        s.claim("n1")
        s.create("pending")
        for id in ("running", "pending"):
            assert not s.ask(r.Deliver(id, "x", "cancel")).duplicate
        assert s.ask(r.Deliver("running", "y", "cancel")).duplicate
        assert (s.get("running").status, s.get("pending").status) == ("cancelling", "cancelled")

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

    # --- operators ---------------------------------------------------------------------------------------

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

    # --- schedules and workers -----------------------------------------------------------------------------

    def test_of_two_ticks_of_one_schedule_one_is_applied(self, s: Asking) -> None:
        """Guarded by the version; creations happen with it or not at all."""
        row = r.Schedule("s", "w", b"{}", next_at=s.clock.now() + 5.0)
        assert s.ask(r.PutSchedule(row, 0)).applied
        assert not s.ask(r.PutSchedule(row, 0)).applied
        assert s.claims("n1").next_due == pytest.approx(row.next_at)
        s.wait(6.0)
        (due,) = s.claims("n2").schedules
        first = s.ask(r.PutSchedule(row, due.version, (r.Create("tick-1", "w", b"1"),)))
        second = s.ask(r.PutSchedule(row, due.version, (r.Create("tick-2", "w", b"1"),)))
        assert (first.applied, second.applied) == (True, False)
        assert s.ask(r.Get("tick-1")) is not None
        assert s.ask(r.Get("tick-2")) is None

    def test_paused_and_dropped_schedules_are_not_due(self, s: Asking) -> None:
        """And are listed by id."""
        past = s.clock.now() - 1.0
        for id in ("b", "a"):
            s.ask(r.PutSchedule(r.Schedule(id, "w", b"{}", next_at=past, paused=id == "a"), 0))
        assert [row.id for row in s.ask(r.ListSchedules())] == ["a", "b"]
        assert [row.id for row in s.claims("n1").schedules] == ["b"]
        assert s.ask(r.DropSchedule("b", 1)).applied
        assert s.ask(r.GetSchedule("b")) is None
        assert s.claims("n2").schedules == ()

    def test_workers_are_forgotten_after_their_time(self, s: Asking) -> None:
        """`Register` returns the store's time."""
        now = s.ask(r.Register(r.WorkerRow("w-1", b'{"pid":1}'), 10.0))
        assert [(w.name, w.info, w.seen_at) for w in s.ask(r.Workers())] == [("w-1", b'{"pid":1}', now)]
        s.wait(11.0)
        assert s.ask(r.Workers()) == ()

    # --- batches ------------------------------------------------------------------------------------------

    def test_a_refusal_in_a_batch_does_not_touch_its_neighbours(self, s: Asking) -> None:
        """One reply for each request, in order."""
        replies = s.store.apply([r.Create("a", "w", b"1"), r.Deliver("nobody", "m", "signal", "go"), r.Get("a")])
        assert replies[0].fresh
        assert isinstance(replies[1], UnknownExecution)
        assert replies[2].id == "a"
