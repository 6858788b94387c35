"""Steps of a stream's state: merge a range, decide on a combine, take its result, count flushes."""

from collections.abc import Callable

from common.payloads import INLINE_LIMIT_BYTES, Model, Ref
from pipelines.stream import Bounds, StreamSpec
from streaming.completeness import complete_when_fired, take_completeness
from streaming.early import (
    Early,
    bounded_step,
    note_combined,
    note_merge,
    tracks_windows,
    unended_windows,
)
from streaming.firing import copies, fire_again, next_due_ms, step_ms
from streaming.key_range import is_worth_merging, key_range_count, reference_count
from streaming.ledger import Ledger
from streaming.offset_index import at_most, note
from streaming.offset_map import OffsetMap
from streaming.offset_range import OffsetRange
from streaming.planner import catching_up
from streaming.raw_flush import rest_of, take_rows
from streaming.raw_retirement import spare
from streaming.room import flush_bytes, inline_budget, inline_room, table_bytes
from streaming.seen import Seen, let_go
from streaming.segment import Blob, Segment
from streaming.side_output import SideName
from streaming.state import FLUSH_CHUNK_ROWS, Flush, RangeTask, StreamState
from streaming.watermark import (
    advance,
    firing_watermark,
    keeping_watermark,
    latest_event_ms,
    merge_maximum,
)
from streaming.window import Windowing

INLINE_COMBINE_BYTES = 64 * 1024
"""Segments of at most this many recorded bytes in sum are merged in the workflow."""

MAX_SEGMENTS = 64
MAX_INLINE_BYTES = 128 * 1024
CRAMMED_BYTES = 4 * 1024
"""Frozen rows travel inline up to this size once more flushes wait than wait by default."""

BULK_SEGMENTS = 8
"""While catching up, so many new segments are merged at a time."""


class RangeResult(Model):
    """What one range came to.

    Attributes:
        segment: Partials; None when no event was aggregated.
        dead: Dead letters; None when there were none.
        late: Late events, in pieces; none unless the stream keeps them.
        rows: Rows of a raw stream, in one table or several.
        superseded: Objects made on the way that nothing needs.
        seen: What de-duplication remembers from then on; None leaves it as it was.
        ends: Ends of all partitions, read after the range.
        timings_us: Time per stage in microseconds, for the benchmark.
    """

    span: OffsetRange
    epoch: int
    ledger: Ledger
    max_event_ms: int | None = None
    segment: Segment | None = None
    dead: Blob | None = None
    late: list[Blob] = []
    rows: list[Blob] = []
    superseded: list[Ref] = []
    seen: Seen | None = None
    ends: OffsetMap = {}
    timings_us: dict[str, int] = {}


class CombineTask(Model):
    """Segments to merge, with everything the result depends on.

    Attributes:
        name_seq: Number of this combine in its epoch; names its objects.
        inline: Whether the workflow does it itself.
        fired_ms: `fire_ms` of the combine before it; None when no window has fired.
        floor_ms: Windows that begin before it are not shown; None shows all.
        whole_ms: Every window that ended up to here fires now, or did before; None when none does.
        last_end_ms: No window that it shows ends later; None when it shows none.
        rows_inline_bytes: Frozen rows above this size travel by reference.
        kept_inline_bytes: Window state above this size does.
        rows_beside_bytes: What frozen rows are counted with beyond twice the partials they come
            from, in a merge in the workflow; None counts the partials once, and nothing else.
        key_ranges: Into how many key ranges it is cut; one merge does all of it where it is 1.
        early: What it shows beside the windows that have ended.
    """

    name_seq: int
    segments: list[Segment]
    fire_ms: int | None
    keep_ms: int | None
    inline: bool
    fired_ms: int | None = None
    floor_ms: int | None = None
    whole_ms: int | None = None
    last_end_ms: int | None = None
    rows_inline_bytes: int = INLINE_LIMIT_BYTES
    kept_inline_bytes: int = INLINE_LIMIT_BYTES
    rows_beside_bytes: int | None = None
    key_ranges: int = 1
    early: Early | None = None


class CombineResult(Model):
    """What a combine came to.

    Attributes:
        kept: Window state that stays; None when nothing does.
        emitted: Frozen rows; None when no window fired.
        emitted_sha256: Hash of the frozen rows.
        pieces: What stays, where it was merged by key range; in place of `kept`.
        parts: Where the frozen rows are, where they are in several objects; `emitted` counts them.
    """

    kept: Segment | None = None
    emitted: Blob | None = None
    emitted_sha256: str = ""
    pieces: list[Segment] = []
    parts: list[Blob] = []


def merge_next(
    state: StreamState, spec: StreamSpec, results: dict[tuple[int, int], RangeResult], now_ms: int
) -> int:
    """Merge every result whose turn it is, in offset order per partition; returns records consumed.

    Args:
        state: Changed in place.
        spec: The stream.
        results: Finished ranges by (partition, start); merged ones are taken out.
        now_ms: Workflow time.
    """
    consumed, merged = 0, False
    for number, partition in state.partitions.items():
        while (result := results.pop((number, partition.cursor), None)) is not None:
            merged = True
            seen_ms, most = partition.max_event_ms, at_most(len(state.partitions))
            partition.index = note(partition.index, partition.cursor, seen_ms, most)
            if spec.deduplicate is not None:
                known_ms = partition.seen.max_event_ms if partition.seen else None
                half = max(1, most // 2)
                partition.passed = note(partition.passed, partition.cursor, known_ms, half)
            take_rows(state, result.span, result.rows)
            state.garbage += result.superseded
            if result.ledger.skipped:
                spare(partition, result.span.start, result.span.stop)
            if result.seen is not None:
                state.garbage += let_go(partition.seen, result.seen)
                partition.seen = result.seen
            partition.cursor = result.span.stop
            _take_off(state, spec, result.span)
            state.ledger = state.ledger.plus(result.ledger)
            consumed += result.ledger.consumed
            merge_maximum(partition, result.max_event_ms, now_ms)
            note_merge(state, spec, result.max_event_ms, now_ms)
            if result.segment is not None:
                state.segments.append(result.segment)
                state.fresh_segments += 1
            if result.dead is not None:
                state.dead.add(result.dead, state.epoch)
            for piece in result.late:
                state.late.add(piece, state.epoch)
    if merged:
        advance(state, spec.event_time)
    return consumed


def _take_off(state: StreamState, spec: StreamSpec, span: OffsetRange) -> None:
    """Take a range off the plan; what is left of one that ended early takes its place."""
    left: list[RangeTask] = []
    for task in state.planned:
        if (task.span.partition, task.span.start) != (span.partition, span.start):
            left.append(task)
        elif (rest := rest_of(state, spec, task, span.stop)) is not None:
            left.append(rest)
    state.planned = left


def next_combine(
    state: StreamState,
    spec: StreamSpec,
    windows: Windowing,
    *,
    draining: bool = False,
    may_cut: Callable[[], bool] = lambda: True,
    early: Early | None = None,
    bounded: bool = True,
) -> CombineTask | None:
    """Decide whether to merge segments now; depends on recorded numbers only.

    Windows fire as soon as the watermark passes their end, but while a backlog is read several
    ranges are merged at a time. What is to be shown early or closed by the clock is shown at once.
    `may_cut` is asked before the first cut into key ranges. `bounded` keeps what travels inline
    within its room; runs that began before there was one go on as they were.
    """
    fire_ms = firing_watermark(state)
    fire_again(state, fire_ms)
    if not state.segments:
        return None
    due_ms = next_due_ms(state, windows)
    fires = fire_ms is not None and due_ms is not None and due_ms <= fire_ms
    inline_bytes = sum(s.blob.size_bytes for s in state.segments if s.blob.ref is None)
    most_inline = inline_budget(state, spec) // 2 if bounded else MAX_INLINE_BYTES
    crowded = reference_count(state.segments) >= MAX_SEGMENTS or inline_bytes > most_inline
    bulk = catching_up(state, spec.trigger.max_records) and not draining
    enough = state.fresh_segments >= BULK_SEGMENTS and is_worth_merging(
        state.segments, state.fresh_segments, state.key_ranges
    )
    due = fires and (not bulk or enough)
    if not (due or early or (crowded and state.fresh_segments)):
        return None
    state.combine_seq += 1
    if spec.group_by:
        state.key_ranges = key_range_count(state.segments, state.key_ranges, may_cut)
    if fire_ms is not None:
        whole_ms, fire_ms = fire_ms, step_ms(state, windows, fire_ms)
        early = early if fire_ms == whole_ms else None
    most = copies(state, windows, fire_ms)
    if early is not None:
        early, most = bounded_step(early, state, windows, fire_ms), windows.most_windows
    size = sum(s.blob.size_bytes for s in state.segments) * most
    inline = size <= INLINE_COMBINE_BYTES and all(s.blob.ref is None for s in state.segments)
    inline = inline and state.key_ranges == 1
    task = CombineTask(
        name_seq=state.combine_seq,
        segments=list(state.segments),
        fire_ms=fire_ms,
        keep_ms=keeping_watermark(state),
        inline=inline,
        fired_ms=state.fired_ms,
        whole_ms=None if fire_ms is None else windows.whole_ms(fire_ms),
        floor_ms=state.floor_ms,
        last_end_ms=_last_end_ms(state, windows, fire_ms if early is None else early.upto_ms),
        key_ranges=state.key_ranges,
        early=early,
    )
    return _within_room(state, spec, task, size) if bounded else _crammed(state, spec, task)


def _within_room(
    state: StreamState, spec: StreamSpec, task: CombineTask, merged_bytes: int
) -> CombineTask:
    """Let what a merge comes to travel inline as far as there is room, and note that it may."""
    room, beside = inline_room(state, spec), table_bytes(spec)
    if task.inline:
        most = 2 * merged_bytes + beside
        freed = sum(s.blob.size_bytes for s in task.segments)  # what is kept of it is not emitted
        if most <= min(room + freed, flush_bytes(spec)):
            state.combining_bytes = most - freed
            return task.model_copy(update={"rows_beside_bytes": beside})
    share = min(INLINE_LIMIT_BYTES, room // 2, flush_bytes(spec))
    state.combining_bytes = 2 * share
    changes = {"inline": False, "rows_inline_bytes": share, "kept_inline_bytes": share}
    return task.model_copy(update=changes)


def _crammed(state: StreamState, spec: StreamSpec, task: CombineTask) -> CombineTask:
    """Bound the rows of each flush, once more of them wait than wait by default."""
    if spec.limits == Bounds() or len(state.flushes) < Bounds().max_pending_flushes:
        return task
    return task.model_copy(update={"inline": False, "rows_inline_bytes": CRAMMED_BYTES})


def _last_end_ms(state: StreamState, windows: Windowing, fire_ms: int | None) -> int | None:
    if fire_ms is None:
        return None
    last_pane_ms = max(s.last_pane_ms for s in state.segments)
    return min(fire_ms, windows.latest_end(last_pane_ms, latest_event_ms(state)))


def take_combined(state: StreamState, task: CombineTask, result: CombineResult) -> None:
    """Replace the merged segments by what was kept; what was emitted is the next flush."""
    state.combining_bytes = 0
    later = state.segments[len(task.segments) :]
    state.segments = result.pieces + ([result.kept] if result.kept else []) + later
    state.fresh_segments = len(later)
    if task.fire_ms is not None:
        state.fired_ms = task.fire_ms
    state.garbage += [s.blob.ref for s in task.segments if s.blob.ref is not None]
    note_combined(state, task.early)
    if result.emitted is None:
        return
    if task.last_end_ms is not None:
        known_ms = state.emitted_ms
        last_ms = task.last_end_ms
        state.emitted_ms = last_ms if known_ms is None else max(known_ms, last_ms)
    state.flush_seq += 1
    state.flushed_rows += result.emitted.row_count
    flush = Flush(
        flush_seq=state.flush_seq,
        rows=result.emitted,
        chunk_rows=FLUSH_CHUNK_ROWS,
        sha256=result.emitted_sha256,
        epoch=state.epoch,
        complete_ms=complete_when_fired(
            state, task.fire_ms if task.whole_ms is None else task.whole_ms
        ),
        parts=result.parts,
    )
    state.flushes.append(flush)


def take_flushed(state: StreamState, sink: str, flush_seq: int) -> None:
    """Note that a sink committed a flush; flushes that every sink has are let go."""
    for cursor in state.sinks:
        if cursor.name == sink and flush_seq > cursor.done:
            cursor.done = flush_seq
            for flush in state.flushes:
                if flush.flush_seq == flush_seq:
                    take_completeness(state, cursor, flush)
    everywhere = min(cursor.done for cursor in state.sinks)
    done = [f for f in state.flushes if f.flush_seq <= everywhere]
    state.flushes = [f for f in state.flushes if f.flush_seq > everywhere]
    state.garbage += [t.ref for f in done for t in f.tables if t.ref is not None]


def take_delivered(state: StreamState, name: SideName, sequence: int) -> None:
    """Note that a side output is in its topic up to a sequence."""
    state.garbage += state.side_output(name).take_delivered(sequence)


def is_finished(state: StreamState) -> bool:
    """Tell whether a drained or bounded run has nothing left to do once no combine runs."""
    if state.planned or state.flushes or state.side_batches:
        return False
    if state.mode == "draining":
        return True
    merged = state.bounded and all(p.finished for p in state.partitions.values())
    return merged and all(s.first_fresh_ms is None for s in state.segments)


def forget_planned(state: StreamState) -> list[RangeTask]:
    """Take back what is planned and not merged, so that it is cut anew; gives what it was."""
    taken, state.planned = state.planned, []
    for partition in state.partitions.values():
        partition.planned = partition.cursor
    return taken


def open_windows(state: StreamState, windows: Windowing, spec: StreamSpec | None = None) -> int:
    """Count windows with data that no emission has shown, as far as recorded numbers tell.

    An upper bound: from the earliest to the latest such window; of sessions those of all segments,
    of which some may be one. Of a stream that shows windows before they end, those that have not
    ended.
    """
    if any(s.unshown is not None for s in state.segments):
        return sum(s.unshown or 0 for s in state.segments)
    if spec is not None and tracks_windows(spec):
        return unended_windows(state, windows)
    due_ms = next_due_ms(state, windows)
    if due_ms is None:
        return 0
    fresh = [s.last_pane_ms for s in state.segments if s.first_fresh_ms is not None]
    return windows.count(due_ms, max(fresh))
