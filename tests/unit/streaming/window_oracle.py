"""Which windows hold a time, in plain Python, one candidate after the other."""

from decimal import ROUND_HALF_EVEN, Decimal

from pipelines.stream import Window
from tests.unit.streaming.day_oracle import days_of


def windows_of(at_ms: int, window: Window) -> list[int]:
    """List the starts of the windows that hold a time, one candidate after the other."""
    if window.timezone is not None:
        return [days_of(at_ms, window.timezone, window.size_ms, window.offset_ms)[0]]
    slide_ms = window.slide_ms or window.size_ms
    start_ms = (at_ms - window.offset_ms) // slide_ms * slide_ms + window.offset_ms
    starts = []
    while start_ms + window.size_ms > at_ms:
        starts.append(start_ms)
        start_ms -= slide_ms
    return starts


def last_end_of(at_ms: int, window: Window) -> int:
    """Give the end of the last window that holds a time."""
    if window.timezone is not None:
        return days_of(at_ms, window.timezone, window.size_ms, window.offset_ms)[1]
    if window.kind == "session":
        return at_ms + window.size_ms
    return max(windows_of(at_ms, window)) + window.size_ms


def sessions_of(times_ms: list[int], window: Window) -> dict[int, int]:
    """Give the start of the session that each time of one key belongs to, one after the other."""
    starts: dict[int, int] = {}
    start_ms = before_ms = 0
    for at_ms in sorted(set(times_ms)):
        joins = bool(starts) and at_ms - before_ms <= window.size_ms
        if joins and window.max_length_ms is not None:
            joins = before_ms // window.max_length_ms == at_ms // window.max_length_ms
        start_ms = start_ms if joins else at_ms
        starts[at_ms] = start_ms
        before_ms = at_ms
    return starts


def starts_of(times_ms: list[int], window: Window) -> dict[int, list[int]]:
    """Give the starts of the windows that each time of one key belongs to."""
    if window.kind == "session":
        return {at_ms: [start_ms] for at_ms, start_ms in sessions_of(times_ms, window).items()}
    return {at_ms: windows_of(at_ms, window) for at_ms in times_ms}


def mean_of(cents: list[Decimal]) -> Decimal:
    """Give the mean in units, rounded half to even to six places."""
    mean = sum(cents, Decimal(0)) / 100 / len(cents)
    return mean.quantize(Decimal("0.000001"), ROUND_HALF_EVEN)
