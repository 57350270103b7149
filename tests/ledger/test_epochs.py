"""Epoch boundaries: month ends, leap years, other time zones, and epochs of a fixed length."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.epochs import Calendar, month_of

INSTANT = timedelta(microseconds=1)
FIRST = datetime(1971, 1, 1, tzinfo=UTC)
instants = st.integers(0, 2**53).map(lambda microseconds: FIRST + microseconds * INSTANT)
calendars = st.sampled_from([Calendar(), Calendar(1), Calendar(60), Calendar(86_400), Calendar(604_800)])


@given(calendars, instants)
def test_every_instant_lies_in_the_epoch_that_holds_it(calendar: Calendar, at: datetime) -> None:
    epoch = calendar.epoch_at(at)
    assert calendar.starts_at(epoch) <= at < calendar.ends_at(epoch)


@given(st.sampled_from([0, 60]), instants)
def test_a_clock_set_back_before_the_first_epoch_tells_the_first(seconds: int, at: datetime) -> None:
    epoch = Calendar(seconds).epoch_at(at)
    assert Calendar(seconds, first=epoch).epoch_at(at) == epoch
    assert Calendar(seconds, first=epoch + 1).epoch_at(at) == epoch + 1


@given(calendars, instants)
def test_epochs_touch_without_gap_or_overlap(calendar: Calendar, at: datetime) -> None:
    epoch = calendar.epoch_at(at)
    end = calendar.ends_at(epoch)
    assert end == calendar.starts_at(epoch + 1)
    assert (calendar.epoch_at(end - INSTANT), calendar.epoch_at(end)) == (epoch, epoch + 1)


@pytest.mark.parametrize(
    ("last_day", "next_day"),
    [
        (datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
        (datetime(2027, 2, 28, tzinfo=UTC), datetime(2027, 3, 1, tzinfo=UTC)),
        (datetime(2028, 2, 29, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)),
        (datetime(2100, 2, 28, tzinfo=UTC), datetime(2100, 3, 1, tzinfo=UTC)),
        (datetime(2026, 12, 31, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_month_ends_with_its_last_day(last_day: datetime, next_day: datetime) -> None:
    calendar = Calendar()
    epoch = calendar.epoch_at(last_day)
    assert calendar.ends_at(epoch) == next_day
    assert calendar.epoch_at(next_day - INSTANT) == epoch
    assert calendar.epoch_at(next_day) == epoch + 1


def test_months_are_those_of_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert month_of(datetime(2026, 4, 1, 8, 59, tzinfo=tokyo)) == month_of(datetime(2026, 3, 31, tzinfo=UTC))
    assert month_of(datetime(2026, 4, 1, 9, 0, tzinfo=tokyo)) == month_of(datetime(2026, 4, 1, tzinfo=UTC))


def test_people_are_shown_months_or_starts() -> None:
    at = datetime(2026, 11, 21, 12, 34, 56, tzinfo=UTC)
    assert Calendar().label(Calendar().epoch_at(at)) == "2026-11"
    assert Calendar(3_600).label(Calendar(3_600).epoch_at(at)) == "2026-11-21T12:00:00Z"
