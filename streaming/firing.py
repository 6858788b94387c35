"""When windows fire, from recorded numbers alone."""

from streaming.state import StreamState
from streaming.window import Windowing

MOST_COPIES = 4_000_000
"""Copies of partials, one for each window that they belong to, that one combine makes."""


def next_due_ms(state: StreamState, windows: Windowing) -> int | None:
    """Give the end of the earliest window with data that no emission has shown, or None.

    It may lie in the past: an event that is late but allowed makes its windows fire again. Such
    events are in segments that were added since the last combine; of what that one kept, only
    windows that ended later are yet to fire.
    """
    kept = len(state.segments) - state.fresh_segments
    due: list[int] = []
    for index, segment in enumerate(state.segments):
        if segment.first_fresh_ms is None:
            continue
        if segment.due_ms is not None:
            due.append(segment.due_ms)
            continue
        end_ms = windows.first_window_end(segment.first_fresh_ms)
        if index < kept and state.fired_ms is not None:
            end_ms = max(end_ms, windows.ended_before(state.fired_ms) + windows.slide_ms)
        if state.floor_ms is not None:
            end_ms = max(end_ms, state.floor_ms + windows.size_ms)
        due.append(end_ms)
    return min(due, default=None)


def step_ms(state: StreamState, windows: Windowing, fire_ms: int) -> int:
    """Give the time up to which one combine fires, so that what it emits is bounded.

    Panes of sliding windows that ended long ago, as after a backlog of one partition, would
    otherwise fire all at once.
    """
    rows = sum(s.blob.row_count for s in state.segments) // state.key_ranges
    due_ms = next_due_ms(state, windows)
    if not windows.slides or due_ms is None or rows * windows.most_windows <= MOST_COPIES:
        return fire_ms
    last_ms = max(windows.last_window_end(s.last_pane_ms) for s in state.segments)
    since_ms = due_ms if state.fired_ms is None else max(due_ms, state.fired_ms)
    end_ms = since_ms + (MOST_COPIES // max(1, rows)) * windows.slide_ms
    return fire_ms if end_ms >= min(last_ms, fire_ms) else end_ms


def copies(state: StreamState, windows: Windowing, fire_ms: int | None) -> int:
    """Bound how many windows each partial is copied into by a combine; 1 for tumbling windows."""
    due_ms = next_due_ms(state, windows)
    if not windows.slides or fire_ms is None or due_ms is None or due_ms > fire_ms:
        return 1
    return min(windows.most_windows, (fire_ms - due_ms) // windows.slide_ms + 1)


def fire_again(state: StreamState, watermark_ms: int | None) -> None:
    """Let windows fire again that the end of a bounded run has closed before their time.

    A run that goes on from there sees the log grow; it shows them anew as their time comes.
    """
    if state.fired_ms is not None and watermark_ms is not None:
        state.fired_ms = min(state.fired_ms, watermark_ms)
