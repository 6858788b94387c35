from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UsageError
from pipelines.data_interval import check_period, parse_interval, period_at

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("day", "next_day", "hours"),
    [
        ("2026-03-28", "2026-03-29", 24),
        ("2026-03-29", "2026-03-30", 23),
        ("2026-10-25", "2026-10-26", 25),
    ],
)
def test_a_day_of_a_zone_is_as_long_as_it_is_on_the_wall(
    day: str, next_day: str, hours: int
) -> None:
    interval = parse_interval(f"{day}/{next_day}", "Europe/Berlin")

    assert interval.end_us - interval.start_us == hours * 3_600_000_000
    assert interval.day == day
    check_period(interval, DAY_MS, "Europe/Berlin")


@pytest.mark.parametrize(
    "text",
    ["2026-05-01", "2026-05-02/2026-05-01", "2026-05-01/2026-05-01", "x/y", "2026-13-01/2027-01-01",
     "2026-05-01T00:00/2026-05-01T25:00"],
)  # fmt: skip
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected START/END"):
        parse_interval(text, "UTC")


def test_a_span_of_two_days_is_no_period_of_a_daily_pipeline() -> None:
    interval = parse_interval("2026-05-01/2026-05-03", "UTC")

    with pytest.raises(UsageError, match="one period"):
        check_period(interval, DAY_MS, "UTC")


@given(
    moment=st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)),  # noqa: DTZ001 - made UTC below
    length_ms=st.sampled_from([HOUR_MS, 6 * HOUR_MS, DAY_MS, 7 * DAY_MS]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"]),
)
def test_every_instant_is_in_exactly_one_period_and_they_follow_each_other(
    moment: datetime, length_ms: int, zone: str
) -> None:
    at_us = int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000
    period = period_at(at_us, length_ms, zone)
    following = period_at(period.end_us, length_ms, zone)

    assert period.start_us <= at_us < period.end_us
    assert following.start_us == period.end_us
    assert period_at(period.start_us, length_ms, zone) == period
    assert period_at(period.end_us - 1, length_ms, zone) == period
    check_period(period, length_ms, zone)


@given(st.dates(datetime(1990, 1, 1).date(), datetime(2040, 1, 1).date()))  # noqa: DTZ001 - dates only
def test_a_period_of_a_day_begins_where_the_clock_shows_the_day_for_the_first_time(day) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - hypothesis gives a date
    zone = ZoneInfo("Europe/Berlin")
    interval = parse_interval(f"{day}/{day + timedelta(days=1)}", "Europe/Berlin")
    first = datetime.fromtimestamp(interval.start_us / 1e6, zone)
    before = datetime.fromtimestamp(interval.start_us / 1e6 - 1, zone)

    assert first.date() == day
    assert before.date() < day
