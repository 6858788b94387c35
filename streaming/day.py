"""Days of a time zone: where each begins, in milliseconds since the epoch.

Windows of whole days are aligned on the wall clock of the zone: the n-th begins when its clock
first shows 1970-01-01 00:00 plus n sizes plus the offset, or a later time. So a day lasts as long
as the zone makes it last; where the clock skips midnight the day begins where the clock goes on,
where midnight comes twice it begins at the first one, and a day that a zone left out holds nothing.
"""

import functools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from common.time_zone import time_zone

DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the wall clock of whatever zone
_MILLISECOND = timedelta(milliseconds=1)
_FIRST_MS, _LAST_MS = -2_240_524_800_000, 10_445_328_000_000
"""1899-01-01 and 2301-01-01: windows beyond hold no event that a table can take."""

_MOST_MS = 2**60

Integers = npt.NDArray[np.int64]


def day_windows(
    event_ms: Integers, zone: str, size_ms: int, offset_ms: int
) -> tuple[Integers, Integers]:
    """Give start and end of the window of each event time.

    Args:
        event_ms: Milliseconds since the epoch, in any order.
        zone: Name of the time zone.
        size_ms: Whole days of the wall clock.
        offset_ms: Where a day begins on the wall clock, from midnight.
    """
    if not len(event_ms):
        return event_ms, event_ms
    event_ms = np.clip(event_ms, -_MOST_MS, _MOST_MS)
    numbers: set[int] = set()
    for day in np.unique(event_ms // DAY_MS).tolist():
        # No zone is a whole day away from UTC, so these reach around the day on both sides.
        first = (day - 1) * DAY_MS - offset_ms
        last = (day + 2) * DAY_MS - offset_ms
        numbers.update(range(first // size_ms, last // size_ms + 2))
    starts = [window_start(zone, n * size_ms + offset_ms) for n in sorted(numbers)]
    bounds = np.array(starts, np.int64)
    place = np.searchsorted(bounds, event_ms, side="right")
    return bounds[place - 1], bounds[place]


def bounds_around(times_ms: Sequence[int], zone: str, size_ms: int, offset_ms: int) -> list[int]:
    """Give start and end of the windows that hold some times, in order and each once."""
    windows = day_windows(np.array(times_ms, np.int64), zone, size_ms, offset_ms)
    return sorted({int(at_ms) for bounds in windows for at_ms in bounds})


@functools.lru_cache(maxsize=100_000)
def window_start(zone: str, wall_ms: int) -> int:
    """Give the first instant at which a zone's clock shows a time or a later one.

    Args:
        zone: Name of the time zone.
        wall_ms: What the clock shows, as milliseconds from its 1970-01-01 00:00.
    """
    if not _FIRST_MS <= wall_ms <= _LAST_MS:
        return wall_ms
    place = time_zone(zone)
    wall = _EPOCH + wall_ms * _MILLISECOND
    found = wall.replace(tzinfo=place).astimezone(UTC)

    def reached(instant: datetime) -> bool:
        return instant.astimezone(place).replace(tzinfo=None) >= wall

    if found.astimezone(place).replace(tzinfo=None) == wall:
        return _milliseconds(found)
    before = wall.replace(tzinfo=place, fold=1).astimezone(UTC)
    while found - before > _MILLISECOND:
        middle = before + (found - before) // _MILLISECOND // 2 * _MILLISECOND
        before, found = (before, middle) if reached(middle) else (middle, found)
    return _milliseconds(found)


def _milliseconds(instant: datetime) -> int:
    return (instant.replace(tzinfo=None) - _EPOCH) // _MILLISECOND
