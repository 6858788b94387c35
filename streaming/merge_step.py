"""A merge as the workflow sees it: recorded numbers and frozen tables."""

import polars as pl

from streaming.combine import Combined, combine
from streaming.frame import from_bytes, to_bytes
from streaming.plan import StreamPlan
from streaming.progress import CombineResult, CombineTask
from streaming.segment import Blob, Segment


def combine_inline(plan: StreamPlan, task: CombineTask) -> CombineResult:
    """Merge segments that all travel inline.

    The workflow itself does it, where every millisecond of latency counts.
    """
    frames = [from_bytes(s.blob.inline or b"") for s in task.segments]
    combined = combine(
        plan, frames, task.fire_ms, task.keep_ms, task.fired_ms, task.floor_ms, task.early
    )
    size_bytes = sum(s.blob.size_bytes for s in task.segments)
    rows = sum(s.blob.row_count for s in task.segments)

    def estimated(frame: pl.DataFrame, beside_bytes: int | None = None) -> Blob:
        # Later branches depend on this number, so it follows from recorded ones and not from the
        # length of this encoding.
        size = size_bytes * frame.height // rows
        if beside_bytes is not None:
            size = 2 * size + beside_bytes
        return Blob(row_count=frame.height, size_bytes=size, inline=to_bytes(frame))

    emitted = estimated(combined.emitted, task.rows_beside_bytes)
    return combine_result(combined, estimated(combined.kept), emitted)


def combine_result(combined: Combined, kept: Blob, emitted: Blob) -> CombineResult:
    """Describe a merge whose tables are frozen; empty tables are left out."""
    segment = None
    if combined.first_pane_ms is not None and combined.last_pane_ms is not None:
        segment = Segment(
            blob=kept,
            first_pane_ms=combined.first_pane_ms,
            last_pane_ms=combined.last_pane_ms,
            first_fresh_ms=combined.first_fresh_ms,
            due_ms=combined.due_ms,
            unshown=combined.unshown,
        )
    if not emitted.row_count:
        return CombineResult(kept=segment)
    return CombineResult(kept=segment, emitted=emitted, emitted_sha256=emitted.sha256)
