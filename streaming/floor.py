"""Floors: the window boundary from which on a rewound stream shows windows."""

import bisect
from collections.abc import Sequence

from pipelines.stream import StreamSpec
from streaming.day import bounds_around
from streaming.firing import next_due_ms
from streaming.state import StreamState
from streaming.watermark import keeping_watermark
from streaming.window import SessionWindowing, Windowing

EARLIEST_MS = -2_208_988_800_000
"""1900-01-01: windows that begin before it are dead letters, so a floor there shows all."""


class Floors:
    """The times that may be a floor of a stream.

    Windows of a size and a distance begin at boundaries that arithmetic gives. Days of a time zone
    begin where the zone says, which whoever may read zones looked up. A session may begin at any
    time.

    Args:
        windows: The stream's windows.
        bounds: Of a zone's days, boundaries around the times that matter, in order, with one at or
            before `EARLIEST_MS`; others need none.
    """

    def __init__(self, windows: Windowing, bounds: Sequence[int] = ()) -> None:
        self._windows = windows
        self._bounds = bounds

    def at(self, at_ms: int) -> int:
        """Give the last floor at or before a time; of a zone's days, the last known one."""
        windows = self._windows
        if isinstance(windows, SessionWindowing):
            return at_ms
        if windows.zone is not None:
            return self._bounds[max(0, bisect.bisect_right(self._bounds, at_ms) - 1)]
        return windows.last_window_end(windows.pane_start(at_ms)) - windows.size_ms

    def above(self, maximum_ms: int | None) -> int:
        """Give the first floor that needs no event up to a time; the earliest one for None."""
        windows = self._windows
        if maximum_ms is None:
            return self.at(EARLIEST_MS)
        if isinstance(windows, SessionWindowing):
            return maximum_ms + windows.size_ms + 1
        if windows.zone is not None:
            place = bisect.bisect_right(self._bounds, maximum_ms)
            return self._bounds[min(place, len(self._bounds) - 1)]
        return self.at(maximum_ms) + windows.slide_ms

    def highest(self, state: StreamState, spec: StreamSpec) -> int:
        """Give the highest floor: no window before it may still be emitted, or emitted again.

        That is the start of the first window that holds data no emission has shown, or may still
        get an event that is on time. Before a rewound stream's floor there is nothing left to show.
        """
        lowest_ms = self.at(EARLIEST_MS) if state.floor_ms is None else state.floor_ms
        keep_ms = keeping_watermark(state)
        if keep_ms is None:
            return lowest_ms
        highest_ms = self._open_from(state, keep_ms - spec.late.allowed_ms)
        return lowest_ms if highest_ms is None else max(lowest_ms, highest_ms)

    def _open_from(self, state: StreamState, closed_ms: int) -> int | None:
        """Give the start of the first window that may change; None where it is not to be told."""
        windows = self._windows
        if windows.carried:
            open_ms = open_from(state, windows, closed_ms)
            return None if open_ms is None else self.at(open_ms)
        highest_ms = windows.ended_before(closed_ms) + windows.slide_ms - windows.size_ms
        due_ms = next_due_ms(state, windows)
        return highest_ms if due_ms is None else min(highest_ms, due_ms - windows.size_ms)


def look_up(windows: Windowing, times_ms: list[int]) -> list[int]:
    """Look up where windows that follow a time zone begin and end, around some times.

    It reads zones, which a workflow may not.
    """
    if windows.zone is None:
        return []
    return bounds_around(times_ms, windows.zone, windows.size_ms, windows.offset_ms)


def open_from(state: StreamState, windows: Windowing, closed_ms: int) -> int | None:
    """Give a time at which a window begins that may change, or after which the first one does.

    Args:
        state: A stream of sessions or of a zone's days.
        windows: Its windows.
        closed_ms: Only events whose window ends after it, alone, are on time.

    Returns:
        None when a session stream is still taking back rows, which it does from one floor on.
    """
    if not isinstance(windows, SessionWindowing):
        fresh = [s.first_fresh_ms for s in state.segments if s.first_fresh_ms is not None]
        return min([closed_ms, *fresh])
    if state.retiring is not None:
        return None
    # An event on time begins a session, or is in one of those that are kept because it may be.
    return min([closed_ms - windows.size_ms + 1, *(s.first_pane_ms for s in state.segments)])
