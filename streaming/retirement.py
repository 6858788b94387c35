"""What older epochs wrote and a rewound stream did not replace: frozen as flushes of their own."""

import hashlib

from streaming.firing import next_due_ms
from streaming.segment import Blob
from streaming.state import Flush, Retirement, Retiring, StreamState
from streaming.watermark import firing_watermark
from streaming.window import Windowing

STEPS = 16
"""About so many times after a rewind; each one costs a sink a look at what it holds."""


def retire(state: StreamState, windows: Windowing) -> bool:
    """Freeze the next step, if windows have fired far enough; tells whether it did.

    Everything that windows up to there hold is frozen before, so what a step takes back is what no
    window of the new epoch has replaced. An event that is late but allowed brings its row back as a
    revision.
    """
    pending, floor_ms, fire_ms = state.retiring, state.floor_ms, firing_watermark(state)
    if pending is None or floor_ms is None or fire_ms is None:
        return False
    due_ms = next_due_ms(state, windows)
    shown_ms = fire_ms if due_ms is None else min(fire_ms, due_ms - 1)
    upto_ms = min(windows.ended_before(shown_ms), pending.until_ms)
    after_ms = floor_ms if pending.done_ms is None else pending.done_ms
    least_ms = min(after_ms + max(1, pending.step_ms), pending.until_ms)
    if upto_ms < least_ms:
        return False
    if pending.done_ms is None:
        pending.step_ms = (pending.until_ms - upto_ms) // STEPS
    _freeze(state, pending, floor_ms, upto_ms)
    return True


def settle_below(state: StreamState, windows: Windowing, floor_ms: int) -> None:
    """Freeze what a rewind to a higher floor would forget: the windows between the two floors.

    All of them are emitted, or the floor could not be there.
    """
    pending = state.retiring
    if pending is None or state.floor_ms is None or floor_ms <= state.floor_ms:
        return
    upto_ms = min(floor_ms + windows.size_ms - windows.slide_ms, pending.until_ms)
    if pending.done_ms is None or upto_ms > pending.done_ms:
        _freeze(state, pending, state.floor_ms, upto_ms)


def _freeze(state: StreamState, pending: Retiring, floor_ms: int, upto_ms: int) -> None:
    what = Retirement(
        since_epoch=pending.since_epoch,
        floor_ms=floor_ms,
        after_ms=floor_ms if pending.done_ms is None else pending.done_ms,
        until_ms=upto_ms,
    )
    pending.done_ms = upto_ms
    state.flush_seq += 1
    flush = Flush(
        flush_seq=state.flush_seq,
        rows=Blob(row_count=0, size_bytes=0, inline=b""),
        chunk_rows=1,
        sha256=hashlib.sha256(what.model_dump_json().encode()).hexdigest(),
        epoch=state.epoch,
        retire=what,
    )
    state.flushes.append(flush)
    if upto_ms >= pending.until_ms:
        state.retiring = None
