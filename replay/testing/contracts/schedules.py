"""Contract of schedules, as tests: part of `StoreContract`."""

from __future__ import annotations

import pytest

from replay.core import requests as r
from replay.testing.contracts.asking import Asking


class SchedulePromises:
    """Tests of `s`, a store as `StoreContract` gives it."""

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

    def test_due_schedules_of_unknown_workflows_never_hide_known_ones(self, s: Asking) -> None:
        """A deployment dropped a workflow and left its 5,000 schedules behind, due for longer than all others."""
        now = s.clock.now()
        rows = [r.Schedule(f"old-{n}", "dropped", b"{}", next_at=now - 10_000.0 + n) for n in range(5000)]
        for begin in range(0, len(rows), 500):
            s.store.apply([r.PutSchedule(row, 0) for row in rows[begin : begin + 500]])
        s.ask(r.PutSchedule(r.Schedule("mine", "w", b"{}", next_at=now - 1.0), 0))
        s.ask(r.PutSchedule(r.Schedule("later", "v", b"{}", next_at=now + 60.0), 0))
        claims = s.claims("n1")
        assert [row.id for row in claims.schedules] == ["mine"]
        assert claims.next_due == pytest.approx(now + 60.0)

    def test_a_claim_hands_out_the_schedules_that_have_been_due_longest(self, s: Asking) -> None:
        """Up to `SCHEDULES_LIMIT`, of all workflows together; the next one in time is told as well."""
        now = s.clock.now()
        for n in range(2 * r.SCHEDULES_LIMIT):
            s.ask(r.PutSchedule(r.Schedule(f"s-{n:02}", "wv"[n % 2], b"{}", next_at=now - 100.0 + n), 0))
        s.ask(r.PutSchedule(r.Schedule("later", "w", b"{}", next_at=now + 60.0), 0))
        for workflows, step in (((("w", ""), ("v", "2")), 1), ((("w", ""),), 2)):
            claims = s.claims(f"n{step}", workflows=workflows)
            ids = [row.id for row in claims.schedules]
            assert sorted(ids) == [f"s-{n:02}" for n in range(0, step * r.SCHEDULES_LIMIT, step)]
            assert claims.next_due == pytest.approx(now + 60.0)
