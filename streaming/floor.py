"""Floors: the window boundary from which on a rewound stream shows windows."""

from pipelines.stream import StreamSpec
from streaming.firing import next_due_ms
from streaming.state import StreamState
from streaming.watermark import keeping_watermark
from streaming.window import Windowing

EARLIEST_MS = -2_208_988_800_000
"""1900-01-01: windows that begin before it are dead letters, so a floor there shows all."""


def floor_at(windows: Windowing, at_ms: int) -> int:
    """Give the last window boundary at or before a time."""
    return windows.last_window_end(windows.pane_start(at_ms)) - windows.size_ms


def floor_above(windows: Windowing, maximum_ms: int | None) -> int:
    """Give the first window boundary after a time; the earliest one for None."""
    if maximum_ms is None:
        return floor_at(windows, EARLIEST_MS)
    return floor_at(windows, maximum_ms) + windows.slide_ms


def highest_floor(state: StreamState, spec: StreamSpec, windows: Windowing) -> int:
    """Give the highest floor: no window before it may still be emitted, or emitted again.

    That is the start of the first window that holds data no emission has shown, or may still get
    an event that is on time. Before a rewound stream's floor there is nothing left to show.
    """
    lowest_ms = floor_at(windows, EARLIEST_MS) if state.floor_ms is None else state.floor_ms
    keep_ms = keeping_watermark(state)
    if keep_ms is None:
        return lowest_ms
    closed_ms = windows.ended_before(keep_ms - spec.late.allowed_ms)
    highest_ms = closed_ms + windows.slide_ms - windows.size_ms
    due_ms = next_due_ms(state, windows)
    if due_ms is not None:
        highest_ms = min(highest_ms, due_ms - windows.size_ms)
    return max(lowest_ms, highest_ms)
