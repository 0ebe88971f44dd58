"""Contract of schedules, as tests: part of `StoreContract`."""

from __future__ import annotations

import pytest

from replay.core import requests as r
from replay.testing.contracts.asking import Asking


class SchedulePromises:
    """Tests of `s`, a store as `StoreContract` gives it."""

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
