"""Sliding windows out of panes: which windows are shown, and their aggregates.

A window is named by the number of slides from the offset to its start. Counts of distinct values do
not copy a pane's values into each of its windows: a value counts in the windows that hold one of
its panes and not the one before, and these are neighbours.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from streaming.early import Early, tracks_windows
from streaming.field_dtype import polars_type
from streaming.partial import CLOSED, FRESH, SINCE
from streaming.plan import StreamPlan
from streaming.run_merge import merge_runs
from streaming.shown import NEVER_MS, is_closed
from streaming.window import PANE

_ROW, _GROUP, _WINDOW, _PLACE = "_row", "_group", "_window", "_place"
_FIRST, _LAST = "_first", "_last"
_MOST, _MOST_CODES = 2**62, 2**32

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shown:
    """Merged partials of windows.

    Attributes:
        frame: One row per (window, key) with PANE as the window's start, keys and partials.
        counts: Finished output columns that are not among the partials, in the frame's order.
    """

    frame: pl.DataFrame
    counts: dict[str, pl.Series]


def show_windows(
    plan: StreamPlan,
    panes: pl.DataFrame,
    fired_ms: int | None,
    fire_ms: int | None,
    floor_ms: int | None = None,
    early: Early | None = None,
) -> Shown:
    """Merge panes into the windows that are due.

    These are, by key, the windows with any data that ended after `fired_ms` and up to `fire_ms`,
    and those that ended before with a fresh pane whose events were in time for them. Where panes
    say in which windows they were shown, that counts instead of `fired_ms`.

    Args:
        plan: A stream of sliding windows.
        panes: Merged partials, one row per (pane, key), ordered by pane.
        fired_ms: Up to where windows have fired; None when none has.
        fire_ms: Up to where windows fire now; None, for none, only where panes say what was shown.
        floor_ms: Windows that begin before it are left out; None shows all.
        early: What is shown beside those that have ended.
    """
    keys = panes.select(plan.key_names).unique(maintain_order=True)
    places = _place(plan, panes, keys)
    if floor_ms is not None:
        floor = (floor_ms - plan.windowing.offset_ms) // plan.windowing.slide_ms
        places = places.with_columns(pl.max_horizontal(_FIRST, pl.lit(floor, dtype=pl.Int64)))
    if tracks_windows(plan.spec) or fire_ms is None:
        due = _unshown(plan, places, fire_ms, early)
    else:
        due = _due(plan, places, fired_ms, fire_ms)
    lows, highs = _spans(due, places)
    counted = [a for a in plan.aggregates if a.call.function == "count_distinct"]
    merged = [a for a in plan.aggregates if a.call.function != "count_distinct"]
    frame = due.with_row_index(_PLACE).with_columns(pl.col(_PLACE).cast(pl.Int64))
    if merged:
        told = [name for name in (FRESH, SINCE, CLOSED) if name in panes.columns]
        slots = panes.drop(PANE, *plan.key_names, *told, *(a.slot for a in counted))
        values = merge_runs(merged, slots, *_runs(plan, panes, places, due))
        frame = frame.with_columns(values.get_columns())
    windows = plan.windowing
    start = pl.col(_WINDOW) * windows.slide_ms + windows.offset_ms
    frame = frame.with_columns(start.alias(PANE)).drop(_PLACE, _GROUP, _WINDOW)
    if plan.key_names:
        frame = frame.with_columns(keys[due[_GROUP]].get_columns())
    groups = places[_GROUP].to_numpy()
    counts = {
        a.column: pl.Series(
            a.column, _count_distinct(panes[a.slot], groups, lows, highs, due.height)
        ).cast(polars_type(a.type))
        for a in counted
    }
    return Shown(frame, counts)


def _place(plan: StreamPlan, panes: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    """Give each pane the number of its key, its first and its last window."""
    windows, names = plan.windowing, plan.key_names
    first = windows.first_window_start(pl.col(PANE))
    last = windows.last_window_end(pl.col(PANE)) - windows.size_ms
    known = panes.select(
        *names,
        FRESH,
        SINCE,
        is_closed(plan).alias(CLOSED),
        ((first - windows.offset_ms) // windows.slide_ms).alias(_FIRST),
        ((last - windows.offset_ms) // windows.slide_ms).alias(_LAST),
    )
    if not names:
        return known.with_columns(pl.lit(0, dtype=pl.Int64).alias(_GROUP))
    numbered = keys.with_row_index(_GROUP).with_columns(pl.col(_GROUP).cast(pl.Int64))
    return known.join(numbered, on=names, nulls_equal=True, maintain_order="left")


def _due(
    plan: StreamPlan, places: pl.DataFrame, fired_ms: int | None, fire_ms: int
) -> pl.DataFrame:
    """List the (key, window) pairs to show, ordered."""
    newest = pl.min_horizontal(_LAST, _ended(plan, fire_ms))
    if fired_ms is None:
        return _pairs(places, pl.col(_FIRST), newest).sort(_GROUP, _WINDOW)
    fired = _ended(plan, fired_ms)
    first_time = _pairs(places, pl.max_horizontal(_FIRST, fired + 1), newest)
    in_time = pl.max_horizontal(_FIRST, _ended(plan, pl.col(SINCE)) + 1)
    again = _pairs(places.filter(FRESH), in_time, pl.min_horizontal(newest, fired))
    return pl.concat([first_time, again]).sort(_GROUP, _WINDOW)


def _ended(plan: StreamPlan, at_ms: int | pl.Expr) -> pl.Expr:
    """Give the number of the last window that ended at or before a time."""
    windows = plan.windowing
    at = pl.lit(at_ms, dtype=pl.Int64) if isinstance(at_ms, int) else at_ms
    return (at - windows.offset_ms - windows.size_ms) // windows.slide_ms


def _unshown(
    plan: StreamPlan, places: pl.DataFrame, fire_ms: int | None, early: Early | None
) -> pl.DataFrame:
    """List the (key, window) pairs to show, ordered, where panes say what of them was shown."""
    fired = _ended(plan, NEVER_MS if fire_ms is None else fire_ms)
    in_time = pl.max_horizontal(_FIRST, _ended(plan, pl.col(SINCE)) + 1)
    pairs = [_pairs(places.filter(FRESH), in_time, pl.min_horizontal(_LAST, fired))]
    if early is not None:
        upto = pl.min_horizontal(_LAST, _ended(plan, early.upto_ms))
        if early.by_clock:
            after = fired if early.after_ms is None else _ended(plan, early.after_ms)
            first = pl.max_horizontal(_FIRST, fired + 1, after + 1)
            pairs.append(_pairs(places.filter(~pl.col(CLOSED)), first, upto))
        else:
            unshown = places.filter(pl.col(FRESH) & ~pl.col(CLOSED))
            pairs.append(_pairs(unshown, pl.max_horizontal(in_time, fired + 1), upto))
    return pl.concat(pairs).sort(_GROUP, _WINDOW)


def _pairs(places: pl.DataFrame, first: pl.Expr, last: pl.Expr) -> pl.DataFrame:
    """List the (key, window) pairs that lie in some span, each once.

    Of each span, in order of their beginnings, only what none before has reached.
    """
    spans = places.select(_GROUP, first.alias(_FIRST), last.alias(_LAST)).filter(
        pl.col(_FIRST) <= pl.col(_LAST)
    )
    reached = pl.col(_LAST).cum_max().shift(1).over(_GROUP)
    return (
        spans.sort(_GROUP, _FIRST)
        .with_columns(pl.max_horizontal(_FIRST, reached + 1))
        .filter(pl.col(_FIRST) <= pl.col(_LAST))
        .select(_GROUP, pl.int_ranges(_FIRST, pl.col(_LAST) + 1, dtype=pl.Int64).alias(_WINDOW))
        .explode(_WINDOW)
    )


def _runs(
    plan: StreamPlan, panes: pl.DataFrame, places: pl.DataFrame, due: pl.DataFrame
) -> tuple[Integers, Integers, Integers]:
    """Order panes by key and time, so that those of a window stand next to each other.

    Returns:
        The order, as row numbers of `panes`, and for each window in `due` where its panes begin
        and end in it.
    """
    windows = plan.windowing
    number = (pl.col(PANE) - windows.offset_ms) // windows.pane_ms
    numbers = panes.select(number).to_series().to_numpy()
    groups = places[_GROUP].to_numpy()
    order = np.lexsort((numbers, groups))
    least = int(numbers.min(initial=0)) - windows.size_ms // windows.pane_ms
    width = int(numbers.max(initial=0)) + windows.size_ms // windows.pane_ms - least + 1
    stands = groups[order] * width + (numbers[order] - least)
    first = due[_WINDOW].to_numpy() * (windows.slide_ms // windows.pane_ms) - least
    base = due[_GROUP].to_numpy() * width
    begins = np.searchsorted(stands, base + first)
    ends = np.searchsorted(stands, base + first + windows.size_ms // windows.pane_ms)
    return order.astype(np.int64), begins.astype(np.int64), ends.astype(np.int64)


def _spans(due: pl.DataFrame, places: pl.DataFrame) -> tuple[Integers, Integers]:
    """Give, for each pane, from where up to where its windows stand in `due`."""
    windows = due[_WINDOW].to_numpy()
    known = np.unique(windows)
    width = len(known)
    pairs = due[_GROUP].to_numpy() * width + np.searchsorted(known, windows)
    groups = places[_GROUP].to_numpy() * width
    low = groups + np.searchsorted(known, places[_FIRST].to_numpy())
    high = groups + np.searchsorted(known, places[_LAST].to_numpy(), side="right")
    lows, highs = np.searchsorted(pairs, low), np.searchsorted(pairs, high)
    return lows.astype(np.int64), highs.astype(np.int64)


def _count_distinct(
    lists: pl.Series, groups: Integers, lows: Integers, highs: Integers, places: int
) -> Integers:
    """Count the distinct values of the panes of each window.

    Args:
        lists: Distinct values of each pane, panes in order of time.
        groups: Number of each pane's key.
        lows: Place of the first window of each pane.
        highs: Place after its last one.
        places: How many windows there are.
    """
    rows, repeated = _occurrences(lists, groups)
    low, high = lows[rows], highs[rows]
    before = np.concatenate([low[:1], high[:-1]])
    low = np.where(repeated, np.maximum(low, before), low)
    counts = low < high
    changes = np.bincount(low[counts], minlength=places + 1)
    changes -= np.bincount(high[counts], minlength=places + 1)
    return np.cumsum(changes)[:places].astype(np.int64)


def _occurrences(lists: pl.Series, groups: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """List the pane of each value, ordered by key, value and time.

    Returns:
        Panes, and whether the one before has the same value of the same key.
    """
    sizes = lists.list.len().to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    codes, width = _codes(lists.explode(empty_as_null=False))
    named = groups[rows] * width + codes
    count = max(1, len(sizes))
    if (int(groups.max(initial=0)) + 1) * width * count < _MOST:
        packed = named * count + rows
        packed.sort()
        named, rows = packed // count, packed % count
    else:
        order = np.argsort(named, kind="stable")
        named, rows = named[order], rows[order]
    repeated = np.zeros(len(rows), np.bool_)
    np.equal(named[1:], named[:-1], out=repeated[1:])
    return rows, repeated


def _codes(values: pl.Series) -> tuple[Integers, int]:
    """Give values numbers, equal ones the same.

    Returns:
        Numbers, and one that is more than any of them.
    """
    if values.dtype.is_integer() and len(values):
        numbers = values.to_numpy().astype(np.int64, copy=False)
        low = int(numbers.min())
        span = int(numbers.max()) - low + 1
        if span <= _MOST_CODES:
            return numbers - low, span
    known = values.unique().to_frame("value").with_row_index("code")
    found = values.to_frame("value").join(known, on="value", maintain_order="left")
    return found["code"].to_numpy().astype(np.int64), max(1, known.height)
