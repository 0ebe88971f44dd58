"""Instants: what callers may give, as numbers or as datetimes."""

from __future__ import annotations

import datetime as dt

import pytest

from replay.core.times import instant


@pytest.mark.parametrize("year", [1, 1969, 2026, 9999])
def test_every_year_that_a_datetime_can_tell_is_an_instant_as_a_number_too(year: int) -> None:
    last = dt.datetime(year, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    assert instant(last, "until") == instant(last.timestamp(), "until") == last.timestamp()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 253_402_300_800.0, -62_135_596_801.0, 1_795_743_730_000.0]
)
def test_a_number_beyond_them_is_refused_with_what_was_perhaps_meant(value: float) -> None:
    with pytest.raises(ValueError, match=r"until: .* seconds since the epoch.*Fix: .*milliseconds"):
        instant(value, "until")


def test_a_datetime_whose_zone_leads_out_of_them_is_refused() -> None:
    with pytest.raises(ValueError, match="until"):
        instant(dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14))), "until")
