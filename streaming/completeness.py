"""Up to where results are whole: for the stream, and for each of its sinks."""

from streaming.firing import next_due_ms
from streaming.state import Flush, SinkCursor, StreamState
from streaming.window import END_OF_TIME_MS, Windowing


def note_completeness(state: StreamState, windows: Windowing) -> None:
    """Move the time up to which every ended window has been shown; it never goes back.

    It is the watermark, unless a window that ended before it is still to be merged and shown. The
    end of a bounded run closes windows beyond the watermark, which a later run goes on with; they
    do not count. After a rewind it begins at the floor, and rows of older epochs that are still to
    be taken back hold it.
    """
    if state.watermark_ms is None:
        return
    due_ms = next_due_ms(state, windows)
    whole_ms = state.watermark_ms if due_ms is None else min(state.watermark_ms, due_ms - 1)
    whole_ms = _but_retiring(state, windows.whole_ms(whole_ms))
    if state.complete_ms is None or whole_ms > state.complete_ms:
        state.complete_ms = whole_ms


def complete_when_fired(state: StreamState, fire_ms: int | None) -> int | None:
    """Give the time that a flush pins, whose windows fired at `fire_ms`."""
    if fire_ms is not None and fire_ms >= END_OF_TIME_MS:
        fire_ms = state.watermark_ms
    whole_ms = None if fire_ms is None else _but_retiring(state, fire_ms)
    known = [one for one in (whole_ms, state.complete_ms) if one is not None]
    return max(known, default=None)


def _but_retiring(state: StreamState, whole_ms: int) -> int:
    pending = state.retiring
    if pending is None or state.floor_ms is None:
        return whole_ms
    return min(whole_ms, state.floor_ms if pending.done_ms is None else pending.done_ms)


def restart_completeness(state: StreamState, floor_ms: int) -> None:
    """Begin again at the floor of a rewind; what older epochs have frozen may be on its way."""
    state.complete_ms = floor_ms
    for sink in state.sinks:
        sink.published_ms = None
        if sink.complete_ms is not None:
            sink.complete_ms = min(sink.complete_ms, floor_ms)


def take_completeness(state: StreamState, sink: SinkCursor, flush: Flush) -> None:
    """Note that a sink has a flush, and told its readers."""
    if flush.complete_ms is None:
        return
    if flush.epoch in (0, state.epoch):
        sink.complete_ms = sink.published_ms = flush.complete_ms
    elif state.floor_ms is not None:
        sink.complete_ms = min(flush.complete_ms, state.floor_ms)


def sink_complete_ms(state: StreamState, sink: SinkCursor) -> int | None:
    """Give the time up to which a sink holds everything."""
    if any(flush.flush_seq > sink.done for flush in state.flushes):
        return sink.complete_ms
    return state.complete_ms


def stream_complete_ms(state: StreamState) -> int | None:
    """Give the time up to which every sink holds everything."""
    times = [sink_complete_ms(state, sink) for sink in state.sinks]
    if any(one is None for one in times):
        return None
    return min((one for one in times if one is not None), default=None)
