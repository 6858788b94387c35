"""Days of time zones against the wall clock itself, piece by piece."""

import zoneinfo
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.errors import PipelineSpecError
from common.time_zone import time_zone, zone_names
from streaming.day import DAY_MS, day_windows, window_start
from tests.unit.streaming.day_oracle import HOUR_MS, clock_ms, days_of, first_shown

ODD = [
    "America/Sao_Paulo", "Asia/Beirut", "Africa/Cairo", "Atlantic/Azores", "Pacific/Apia",
    "America/St_Johns", "Pacific/Kwajalein", "America/Toronto", "Africa/Monrovia",
    "Antarctica/Troll", "Australia/Lord_Howe", "Asia/Gaza", "America/Havana", "Europe/Dublin",
    "Africa/Casablanca", "Asia/Tehran", "Europe/Berlin", "UTC", "Asia/Kathmandu",
]  # fmt: skip
ZONES = st.one_of(st.sampled_from(ODD), st.sampled_from(sorted(zone_names())))
DAYS = st.one_of(st.integers(-25_000, 120_000), st.integers(-4_000, 21_000))
SIZES = st.sampled_from([DAY_MS, 2 * DAY_MS, 7 * DAY_MS, 30 * DAY_MS])
OFFSETS = st.one_of(st.just(0), st.sampled_from([6 * HOUR_MS, -90 * 60_000, 1, 250]))


def at(text: str) -> int:
    """Give an instant in milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@settings(max_examples=250, deadline=None)
@given(zone=ZONES, day=DAYS, offset_ms=OFFSETS)
@example(zone="America/Toronto", day=-18_538, offset_ms=0)
@example(zone="America/St_Johns", day=14_920, offset_ms=0)
@example(zone="Pacific/Apia", day=15_338, offset_ms=0)
@example(zone="Pacific/Kwajalein", day=-93, offset_ms=0)
def test_window_begins_when_the_clock_first_shows_its_time_or_a_later_one(
    zone: str, day: int, offset_ms: int
) -> None:
    wall_ms = day * DAY_MS + offset_ms
    assert window_start(zone, wall_ms) == first_shown(zone, wall_ms)


@pytest.mark.parametrize("zone", ODD)
def test_days_of_a_century_follow_each_other_and_the_clock(zone: str) -> None:
    before_ms = window_start(zone, -25_001 * DAY_MS)
    for day in range(-25_000, 25_000):
        start_ms = window_start(zone, day * DAY_MS)
        assert before_ms <= start_ms
        assert clock_ms(zone, start_ms) >= day * DAY_MS > clock_ms(zone, start_ms - 1)
        before_ms = start_ms


@settings(max_examples=150, deadline=None)
@given(
    zone=ZONES,
    times=st.lists(
        st.tuples(DAYS, st.integers(0, DAY_MS - 1)).map(lambda p: p[0] * DAY_MS + p[1]),
        min_size=1,
        max_size=30,
    ),
    size_ms=SIZES,
    offset_ms=OFFSETS,
)
def test_event_is_in_the_window_that_its_clock_tells(
    zone: str, times: list[int], size_ms: int, offset_ms: int
) -> None:
    starts, ends = day_windows(np.array(times, np.int64), zone, size_ms, offset_ms)
    for at_ms, start_ms, end_ms in zip(times, starts.tolist(), ends.tolist(), strict=True):
        assert start_ms <= at_ms < end_ms
        assert (start_ms, end_ms) == days_of(at_ms, zone, size_ms, offset_ms)


@settings(max_examples=100, deadline=None)
@given(zone=ZONES, times=st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=30))
def test_window_of_an_event_does_not_depend_on_the_others(zone: str, times: list[int]) -> None:
    together = day_windows(np.array(times, np.int64), zone, DAY_MS, 0)
    for place, one in enumerate(times):
        start, end = day_windows(np.array([one], np.int64), zone, DAY_MS, 0)
        assert (start[0], end[0]) == (together[0][place], together[1][place])
        assert start[0] <= one < end[0]


def test_windows_of_utc_are_those_of_the_epoch() -> None:
    times = np.array([-DAY_MS - 1, -DAY_MS, -1, 0, DAY_MS - 1, DAY_MS], np.int64)
    starts, ends = day_windows(times, "UTC", DAY_MS, 0)
    assert starts.tolist() == [d * DAY_MS for d in (-2, -1, -1, 0, 0, 1)]
    assert ((ends - starts) == DAY_MS).all()


@pytest.mark.parametrize(
    ("zone", "event", "start", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00Z", "2026-03-28T23:00Z", 23),
        ("Europe/Berlin", "2026-10-25T12:00Z", "2026-10-24T22:00Z", 25),
        ("Europe/Berlin", "2026-06-01T21:59:59.999Z", "2026-05-31T22:00Z", 24),
        # Midnight is left out: the day begins at one o'clock.
        ("America/Sao_Paulo", "2018-11-04T03:00Z", "2018-11-04T03:00Z", 23),
        ("America/Sao_Paulo", "2018-11-04T02:59:59.999Z", "2018-11-03T03:00Z", 24),
        ("Asia/Beirut", "2022-03-27T12:00Z", "2022-03-26T22:00Z", 23),
        ("Africa/Cairo", "2023-04-28T12:00Z", "2023-04-27T22:00Z", 23),
        ("America/Toronto", "1919-03-31T04:30Z", "1919-03-31T04:30Z", 23.5),
        # The last hour of the day comes twice.
        ("America/Sao_Paulo", "2018-02-18T02:30Z", "2018-02-17T02:00Z", 25),
        # Midnight comes twice: the day begins at the first one.
        ("Atlantic/Azores", "2026-10-25T00:30Z", "2026-10-25T00:00Z", 25),
        ("America/St_Johns", "2010-11-07T03:00Z", "2010-11-07T02:30Z", 25),
        # 30 December 2011 was left out.
        ("Pacific/Apia", "2011-12-30T09:59:59.999Z", "2011-12-29T10:00Z", 24),
        ("Pacific/Apia", "2011-12-30T10:00Z", "2011-12-30T10:00Z", 24),
        ("Africa/Monrovia", "1970-01-05T12:00Z", "1970-01-05T00:44:30Z", 24),
    ],
)
def test_day_is_as_long_as_its_zone_makes_it(
    zone: str, event: str, start: str, hours: float
) -> None:
    starts, ends = day_windows(np.array([at(event)], np.int64), zone, DAY_MS, 0)
    assert starts[0] == at(start)
    assert ends[0] - starts[0] == hours * HOUR_MS


def test_offset_moves_the_beginning_on_the_clock_and_not_in_time() -> None:
    noon = np.array([at("2026-03-29T10:00Z"), at("2026-03-29T03:59Z")], np.int64)
    starts, ends = day_windows(noon, "Europe/Berlin", DAY_MS, 6 * HOUR_MS)
    assert starts.tolist() == [at("2026-03-29T04:00Z"), at("2026-03-28T05:00Z")]
    assert ends.tolist() == [at("2026-03-30T04:00Z"), at("2026-03-29T04:00Z")]


def test_weeks_begin_on_monday_with_an_offset_of_four_days() -> None:
    sunday = np.array([at("2026-03-29T12:00Z")], np.int64)
    starts, ends = day_windows(sunday, "Europe/Berlin", 7 * DAY_MS, 4 * DAY_MS)
    assert (starts[0], ends[0]) == (at("2026-03-22T23:00Z"), at("2026-03-29T22:00Z"))


def test_zones_come_from_the_package_and_not_from_the_machine(tmp_path: Path) -> None:
    (tmp_path / "Europe").mkdir()
    with resources.files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").open("rb") as tokyo:
        (tmp_path / "Europe" / "Berlin").write_bytes(tokyo.read())
    time_zone.cache_clear()
    try:
        zoneinfo.reset_tzpath([str(tmp_path)])
        strange = zoneinfo.ZoneInfo.no_cache("Europe/Berlin")
        moment = datetime(2026, 6, 1, tzinfo=UTC)
        assert moment.astimezone(strange).hour == 9
        assert moment.astimezone(time_zone("Europe/Berlin")).hour == 2
    finally:
        zoneinfo.reset_tzpath()


def test_unknown_zone_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(PipelineSpecError, match="did you mean `Europe/Berlin`"):
        time_zone("Europe/Berln")
