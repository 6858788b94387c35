"""Windows shown before they have ended: early rows, and windows that the clock closes.

Early rows are those of `emit: {updates: …}`; the clock closes what a quiet stream left open.

Nothing but recorded workflow time and recorded observations drives either. Neither moves the
watermark, and neither lets go of state.
"""

from common.payloads import Model
from pipelines.stream import StreamSpec
from streaming.firing import MOST_COPIES
from streaming.state import StreamState
from streaming.window import END_OF_TIME_MS, Windowing


class Early(Model):
    """What a merge shows beside the windows that have ended.

    Attributes:
        upto_ms: Windows that end up to here; all of them at the end of time.
        by_clock: Whether the clock closes them: their rows are marked, and are emitted again
            without the mark when the watermark passes their end.
        after_ms: Windows that end up to here were closed by earlier steps of the same pass.
        asked_ms: Workflow time at which it was decided.
    """

    upto_ms: int = END_OF_TIME_MS
    by_clock: bool = False
    after_ms: int | None = None
    asked_ms: int = 0

    @property
    def last(self) -> bool:
        """Whether this is the last step of a pass."""
        return self.upto_ms >= END_OF_TIME_MS


def tracks_windows(spec: StreamSpec) -> bool:
    """Tell whether it is kept for each partial in which of its windows it was shown.

    Elsewhere a time up to which windows have fired is enough.
    """
    return spec.emit_updates_ms is not None or spec.event_time.close_after_ms is not None


def due_ms(state: StreamState, spec: StreamSpec) -> int | None:
    """Give the workflow time at which early rows are due; None while there is nothing to show.

    None as well while a flush waits for a sink: an early row that is held back is better replaced
    by a newer one than followed by it.
    """
    if spec.emit_updates_ms is None or state.unshown_since_ms is None or state.flushes:
        return None
    if state.mode not in {"running", "paused"}:
        return None
    if all(s.first_fresh_ms is None for s in state.segments):
        return None
    return state.unshown_since_ms + spec.emit_updates_ms


def wanted(state: StreamState, spec: StreamSpec, now_ms: int) -> Early | None:
    """Tell what to show now though it has not ended."""
    if state.closing and state.segments:
        return Early(by_clock=True, after_ms=state.early_ms, asked_ms=now_ms)
    at_ms = due_ms(state, spec)
    if at_ms is None or now_ms < at_ms:
        return None
    return Early(after_ms=state.early_ms, asked_ms=now_ms)


def bounded_step(
    early: Early, state: StreamState, windows: Windowing, fire_ms: int | None
) -> Early:
    """Cut what one merge shows of overlapping windows, so that its memory is bounded."""
    rows = sum(s.blob.row_count for s in state.segments)
    if not windows.slides or rows * windows.most_windows <= MOST_COPIES:
        return early
    first_ms = min(windows.first_window_end(s.first_pane_ms) for s in state.segments)
    last_ms = max(windows.last_window_end(s.last_pane_ms) for s in state.segments)
    since_ms = max(t for t in (first_ms, fire_ms, early.after_ms) if t is not None)
    upto_ms = since_ms + max(1, MOST_COPIES // rows) * windows.slide_ms
    return early if upto_ms >= last_ms else early.model_copy(update={"upto_ms": upto_ms})


def note_merge(state: StreamState, spec: StreamSpec, max_event_ms: int | None, now_ms: int) -> None:
    """Take note that a range was merged, with its maximum event time; None when it had none."""
    if max_event_ms is None:
        return
    if state.closing:
        state.early_ms = None
    state.closing = state.closed = False
    if spec.emit_updates_ms is not None and state.unshown_since_ms is None:
        state.unshown_since_ms = now_ms


def note_combined(state: StreamState, early: Early | None) -> None:
    """Take note of a merge whose result is in the state already."""
    if early is not None and (state.closing or not early.by_clock):
        state.early_ms = None if early.last else early.upto_ms
    if early is not None and early.last:
        state.unshown_since_ms = early.asked_ms if state.fresh_segments else None
        if early.by_clock and state.closing:
            state.closing, state.closed = False, True
    if all(s.first_fresh_ms is None for s in state.segments):
        state.unshown_since_ms = None


def unended_windows(state: StreamState, windows: Windowing) -> int:
    """Count the windows from the first to the last with data that have not ended."""
    if not state.segments:
        return 0
    first_ms = min(windows.first_window_end(s.first_pane_ms) for s in state.segments)
    last_ms = max(s.last_pane_ms for s in state.segments)
    if state.watermark_ms is not None:
        first_ms = max(first_ms, windows.ended_before(state.watermark_ms) + windows.slide_ms)
    return max(0, windows.count(first_ms, last_ms))


def forget_early(state: StreamState) -> None:
    """Forget what was to be shown early or closed by the clock; the data is read again."""
    state.unshown_since_ms = state.early_ms = None
    state.closing = state.closed = False
