"""Merge partials, fire windows, keep what may still change: the one place where results come from.

Runs in the workflow for small inputs and in an activity for big ones; the function is the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from contracts.field_type import FieldType
from pipelines.stream import BY_CLOCK
from streaming.early import Early, tracks_windows
from streaming.group_key import canonical_key
from streaming.partial import FRESH, SINCE, closes_by_clock, merge_partials
from streaming.plan import StreamPlan
from streaming.session import absorbed, shown_as
from streaming.shown import ended, panes_after, shown_now, state_after
from streaming.sliding import show_windows
from streaming.window import PANE, SessionWindowing

WINDOW_START, WINDOW_END, KEY, DELETED = "window_start", "window_end", "_key", "_deleted"
TIMESTAMP = FieldType("timestamp")


@dataclass(frozen=True)
class Combined:
    """What a merge came to.

    Attributes:
        emitted: Rows to flush, ordered by window and key: window bounds, keys, aggregates,
            `closed_by_clock` of streams with `close_after`, `_key`, `_deleted`.
        kept: Partials that stay in the state.
        first_pane_ms: Earliest pane kept; None when nothing is.
        last_pane_ms: Latest pane kept.
        first_fresh_ms: Earliest pane kept that was not emitted in its present form, in each of
            its windows.
        due_ms: The watermark at which the first window is due; see `earliest_due`.
        unshown: See `count_unshown`.
    """

    emitted: pl.DataFrame
    kept: pl.DataFrame
    first_pane_ms: int | None
    last_pane_ms: int | None
    first_fresh_ms: int | None
    due_ms: int | None = None
    unshown: int | None = None


def combine(
    plan: StreamPlan,
    frames: list[pl.DataFrame],
    fire_ms: int | None,
    keep_ms: int | None,
    fired_ms: int | None = None,
    floor_ms: int | None = None,
    early: Early | None = None,
) -> Combined:
    """Merge frames, emit the windows that ended and keep the rest.

    A window is emitted when it ended at or before `fire_ms` and holds data that no emission has
    shown; emitted again, it is a revision. A pane is dropped when it was emitted and its last
    window's end plus allowed lateness is at or before `keep_ms`.

    Args:
        plan: The compiled stream.
        frames: Partials, at least one frame.
        fire_ms: The watermark; None fires nothing.
        keep_ms: No event that is not late can belong to a window that ended before this; None keeps
            all.
        fired_ms: `fire_ms` of the merge before this one; sliding windows that ended in between fire
            for the first time. None when none has fired.
        floor_ms: Windows that begin before it are not shown; None shows all.
        early: What is shown beside the windows that have ended.
    """
    merged = merge_partials(plan, frames)
    if plan.windowing.slides:
        if tracks_windows(plan.spec):
            return _combine_tracked(plan, merged, fire_ms, keep_ms, floor_ms, early)
        return _combine_sliding(plan, merged, fire_ms, keep_ms, fired_ms, floor_ms)
    windows = plan.windowing
    past = ended(windows.due, fire_ms)
    fires = shown_now(plan, past, early)
    shows = fires if floor_ms is None else fires & (windows.start >= floor_ms)
    emitted = finish(plan, merged.filter(shows))
    kept = merged.with_columns(state_after(plan, past, early))
    if isinstance(windows, SessionWindowing):
        emitted = _with_tombstones(plan, emitted, merged.filter(fires))
        kept = kept.with_columns(shown_as(merged.select(fires), floor_ms))
    emitted = _mark(plan, emitted, fire_ms, early)
    if keep_ms is not None:
        closed = windows.settled + plan.spec.late.allowed_ms <= keep_ms
        kept = kept.filter(pl.col(FRESH) | ~closed)
    return Combined(
        emitted, kept, *pane_span(kept), earliest_due(plan, kept), count_unshown(plan, kept)
    )


def _with_tombstones(
    plan: StreamPlan, emitted: pl.DataFrame, sessions: pl.DataFrame
) -> pl.DataFrame:
    """Add tombstones for the starts that the sessions emitted have absorbed."""
    gone = absorbed(sessions)
    if gone.is_empty():
        return emitted
    tombstones = finish(plan, gone).with_columns(pl.lit(value=True).alias(DELETED))
    return pl.concat([emitted, tombstones]).sort(WINDOW_START, KEY)


def _combine_sliding(
    plan: StreamPlan,
    panes: pl.DataFrame,
    fire_ms: int | None,
    keep_ms: int | None,
    fired_ms: int | None,
    floor_ms: int | None,
) -> Combined:
    """Emit what is due and keep panes; those of windows that have not ended are not yet shown."""
    if fire_ms is None:
        return Combined(finish(plan, panes.clear()), panes, *pane_span(panes))
    shown = show_windows(plan, panes, fired_ms, fire_ms, floor_ms)
    emitted = finish(plan, shown.frame, shown.counts)
    end_ms = plan.windowing.end
    closed = pl.lit(value=False)
    if keep_ms is not None:
        closed = (end_ms <= fire_ms) & (end_ms + plan.spec.late.allowed_ms <= keep_ms)
    kept = panes.filter(~closed).with_columns(
        pl.lit(value=False).alias(FRESH), pl.lit(None, dtype=pl.Int64).alias(SINCE)
    )
    first_ms, last_ms, _ = pane_span(kept)
    waiting_ms = kept.select(pl.col(PANE).filter(end_ms > fire_ms).min()).item()
    return Combined(emitted, kept, first_ms, last_ms, waiting_ms)


def _combine_tracked(
    plan: StreamPlan,
    panes: pl.DataFrame,
    fire_ms: int | None,
    keep_ms: int | None,
    floor_ms: int | None,
    early: Early | None,
) -> Combined:
    """Emit sliding windows where each pane says in which of its windows it was shown."""
    shown = show_windows(plan, panes, None, fire_ms, floor_ms, early)
    emitted = finish(plan, shown.frame, shown.counts)
    kept = panes.with_columns(panes_after(plan, fire_ms, early))
    if fire_ms is not None and keep_ms is not None:
        end_ms = plan.windowing.end
        kept = kept.filter((end_ms > fire_ms) | (end_ms + plan.spec.late.allowed_ms > keep_ms))
    return Combined(_mark(plan, emitted, fire_ms, early), kept, *pane_span(kept))


def _mark(
    plan: StreamPlan, rows: pl.DataFrame, fire_ms: int | None, early: Early | None
) -> pl.DataFrame:
    """Say of each row whether the clock closed its window; only streams with `close_after` do."""
    if not closes_by_clock(plan):
        return rows
    due_ms = pl.col(WINDOW_END).dt.epoch("ms") + isinstance(plan.windowing, SessionWindowing)
    open_still = ~ended(due_ms, fire_ms)
    by_clock = early is not None and early.by_clock
    return rows.with_columns((open_still & by_clock).alias(BY_CLOCK))


def pane_span(frame: pl.DataFrame) -> tuple[int | None, int | None, int | None]:
    """Give first pane, last pane and first fresh pane of partials; None where there is none."""
    span = frame.select(
        pl.col(PANE).min().alias("first"),
        pl.col(PANE).max().alias("last"),
        pl.col(PANE).filter(pl.col(FRESH)).min().alias("fresh"),
    ).row(0)
    return span[0], span[1], span[2]


def earliest_due(plan: StreamPlan, frame: pl.DataFrame) -> int | None:
    """Give the watermark at which the earliest window not yet emitted is due.

    None where there is none, and where it follows from the pane's start by arithmetic.
    """
    if not plan.windowing.carried:
        return None
    due_ms: int | None = frame.select(plan.windowing.due.filter(pl.col(FRESH)).min()).item()
    return due_ms


def count_unshown(plan: StreamPlan, frame: pl.DataFrame) -> int | None:
    """Count the sessions that no emission has shown in their present form; None elsewhere."""
    if not isinstance(plan.windowing, SessionWindowing):
        return None
    return int(frame[FRESH].sum())


def finish(
    plan: StreamPlan, merged: pl.DataFrame, counts: Mapping[str, pl.Series] | None = None
) -> pl.DataFrame:
    """Turn merged partials into the rows that readers see.

    Args:
        plan: The compiled stream.
        merged: One row per (window, key), PANE being the window's start.
        counts: Output columns that are finished already, by name.

    Raises:
        ContractViolationError: An integer sum does not fit 64 bits, or a decimal one 38 digits.
    """
    ready = counts or {}
    instant = pl.Datetime("ms", "UTC")
    start = pl.col(PANE).cast(instant)
    end = plan.windowing.shown_end.cast(instant)
    columns = merged.select(start.alias(WINDOW_START), end.alias(WINDOW_END), *plan.key_names)
    outputs = [
        ready[aggregate.column] if aggregate.column in ready else aggregate.finish(merged)
        for aggregate in plan.aggregates
    ]
    return columns.with_columns(
        *outputs,
        canonical_key(plan.keys).alias(KEY),
        pl.lit(value=False).alias(DELETED),
    ).sort(WINDOW_START, KEY)
