"""Days of a time zone by walking along its clock."""

import functools
from datetime import UTC, datetime, timedelta

from common.time_zone import time_zone

HOUR_MS = 3_600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP_MS = 15 * 60_000


def clock_ms(zone: str, at_ms: int) -> int:
    """Tell what a zone's clock shows at an instant, in milliseconds from its 1970-01-01 00:00."""
    offset = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(time_zone(zone)).utcoffset()
    assert offset is not None
    return at_ms + offset // timedelta(milliseconds=1)


def _pieces(zone: str, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
    """List the instants from which on a zone has another distance to UTC, with that distance."""
    found: list[tuple[int, int]] = []
    for step_ms in range(from_ms, to_ms, _STEP_MS):
        shift = clock_ms(zone, step_ms) - step_ms
        if found and found[-1][1] != shift:
            low, high = step_ms - _STEP_MS, step_ms
            while high - low > 1:
                middle = (low + high) // 2
                same = clock_ms(zone, middle) - middle == shift
                low, high = (low, middle) if same else (middle, high)
            found.append((high, shift))
        elif not found:
            found.append((step_ms, shift))
    return found


@functools.lru_cache(maxsize=100_000)
def first_shown(zone: str, wall_ms: int) -> int:
    """Give the first instant at which a zone's clock shows a time or a later one."""
    end_ms = wall_ms + 25 * HOUR_MS
    parts = _pieces(zone, wall_ms - 25 * HOUR_MS, end_ms)
    for (begin_ms, shift), (until_ms, _) in zip(parts, [*parts[1:], (end_ms, 0)], strict=True):
        at_ms = max(begin_ms, wall_ms - shift)
        if at_ms < until_ms:
            return at_ms
    raise AssertionError("no clock is more than a day away from UTC")


def days_of(at_ms: int, zone: str, size_ms: int, offset_ms: int) -> tuple[int, int]:
    """Give start and end of the days that hold an instant."""
    number = (clock_ms(zone, at_ms) - offset_ms) // size_ms
    while first_shown(zone, (number + 1) * size_ms + offset_ms) <= at_ms:
        number += 1  # the clock was set back over the beginning of these days
    bounds = [first_shown(zone, n * size_ms + offset_ms) for n in (number, number + 1)]
    return bounds[0], bounds[1]
