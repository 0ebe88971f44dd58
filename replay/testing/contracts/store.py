"""Contract of `replay.ports.Store`, as tests to inherit. `replay.core.requests` states the promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from replay.core import requests as r
from replay.core.errors import UnknownExecution
from replay.ports import Clock, Store
from replay.testing.contracts.asking import Asking
from replay.testing.contracts.cancels import CancelPromises
from replay.testing.contracts.claims import ClaimPromises
from replay.testing.contracts.commits import CommitPromises
from replay.testing.contracts.leases import LeasePromises
from replay.testing.contracts.lists import ListPromises
from replay.testing.contracts.messages import MessagePromises
from replay.testing.contracts.operators import OperatorPromises
from replay.testing.contracts.schedules import SchedulePromises
from replay.testing.simulation.clock import VirtualClock


class StoreContract(
    ClaimPromises,
    CommitPromises,
    LeasePromises,
    CancelPromises,
    MessagePromises,
    ListPromises,
    OperatorPromises,
    SchedulePromises,
):
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

    def test_workers_are_forgotten_after_their_time(self, s: Asking) -> None:
        """`Register` returns the store's time."""
        now = s.ask(r.Register(r.WorkerRow("w-1", b'{"pid":1}'), 10.0))
        assert [(w.name, w.info, w.seen_at) for w in s.ask(r.Workers())] == [("w-1", b'{"pid":1}', now)]
        s.wait(11.0)
        assert s.ask(r.Workers()) == ()

    def test_a_refusal_in_a_batch_does_not_touch_its_neighbours(self, s: Asking) -> None:
        """One reply for each request, in order."""
        replies = s.store.apply([r.Create("a", "w", b"1"), r.Deliver("nobody", "m", "signal", "go"), r.Get("a")])
        assert replies[0].fresh
        assert isinstance(replies[1], UnknownExecution)
        assert replies[2].id == "a"
