"""Sessions out of stretches: partials of one key that are at most a gap apart become one.

Events are first grouped by aligned stretches as long as the gap, which hold nothing that does not
belong together. So there is one sort of few rows, and none of events.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from streaming.plan import StreamPlan
from streaming.window import PANE, PANE_END, SessionWindowing

SHOWN = "_shown"
"""Column of sessions: the starts under which sinks were shown the events of this one."""

_RUN, _STRETCH = "_run", "_stretch"
_MOST = 2**62

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def group_stretches(
    plan: StreamPlan, windows: SessionWindowing, rows: pl.DataFrame, starts: list[pl.Expr]
) -> pl.DataFrame:
    """Group events, each a session, into partials of stretches."""
    return (
        rows.with_columns(windows.stretch_start(pl.col(PANE)).alias(_STRETCH))
        .group_by(_STRETCH, *plan.key_names)
        .agg(*starts, pl.col(PANE).min(), pl.col(PANE_END).max())
        .with_columns(pl.lit([], dtype=pl.List(pl.Int64)).alias(SHOWN))
        .drop(_STRETCH)
    )


def merge_sessions(
    plan: StreamPlan, windows: SessionWindowing, pieces: pl.DataFrame, news: list[pl.Expr]
) -> pl.DataFrame:
    """Merge partials of one key that are at most the gap apart and on one side of every cut.

    Args:
        plan: A stream of sessions.
        windows: Its sessions.
        pieces: Partials, PANE being the time of the first event.
        news: How columns merge that are neither of sessions nor of aggregates.

    Returns:
        One partial per session.
    """
    if pieces.is_empty():
        return pieces
    ordered = pieces.sort(*plan.key_names, PANE)
    run = _number(ordered, plan.key_names, windows)
    together = np.bincount(run)[run] > 1
    if not together.any():
        return ordered
    merges = [expression for aggregate in plan.aggregates for expression in aggregate.merge()]
    groups = (
        ordered.with_columns(pl.Series(_RUN, run))
        .filter(pl.Series(together))
        .group_by(_RUN)
        .agg(
            *(pl.col(name).first() for name in plan.key_names),
            pl.col(PANE).min(),
            pl.col(PANE_END).max(),
            pl.col(SHOWN).explode(empty_as_null=False),
            *merges,
            *news,
        )
    )
    groups = groups.with_columns(s for a in plan.aggregates for s in a.settle(groups))
    alone = ordered.filter(pl.Series(~together))
    return pl.concat([alone, groups.select(ordered.columns)])


def _number(ordered: pl.DataFrame, keys: list[str], windows: SessionWindowing) -> Integers:
    """Give each partial the number of its session; they are ordered by key and start."""
    starts, ends = ordered[PANE].to_numpy(), ordered[PANE_END].to_numpy()
    first = _first_of_group(ordered, keys, windows)
    first[1:] |= starts[1:] > _latest_so_far(ends, first)[:-1]
    return np.cumsum(first) - 1


def _first_of_group(ordered: pl.DataFrame, keys: list[str], windows: SessionWindowing) -> Flags:
    """Tell which rows have another key than the one before, or lie beyond a cut."""
    changes = [pl.col(name).ne_missing(pl.col(name).shift(1)) for name in keys]
    if windows.max_length_ms is not None:
        cell = pl.col(PANE) // windows.max_length_ms
        changes.append(cell != cell.shift(1))
    first = np.zeros(ordered.height, np.bool_)
    if changes:
        found = ordered.select(pl.any_horizontal(*changes).fill_null(value=True)).to_series()
        first[:] = found.to_numpy()
    first[0] = True
    return first


def _latest_so_far(ends: Integers, first: Flags) -> Integers:
    """Give the maximum of all rows of a group up to each one."""
    group = np.cumsum(first) - 1
    low = int(ends.min())
    span = int(ends.max()) - low + 1
    if span * (int(group[-1]) + 1) < _MOST:
        above = group * span - low
        reach: Integers = np.maximum.accumulate(ends + above) - above
        return reach
    frame = pl.DataFrame({"group": group, "end": ends})
    latest: Integers = frame.select(pl.col("end").cum_max().over("group"))["end"].to_numpy()
    return latest


def absorbed(due: pl.DataFrame) -> pl.DataFrame:
    """List the starts that sinks were shown and that are none any more, as rows of their sessions.

    Args:
        due: Sessions that are emitted now.

    Returns:
        A row per start, which is its PANE; all other columns are those of the session that has its
        events now.
    """
    shown = due.filter(pl.col(SHOWN).list.len() > 0).explode(SHOWN)
    return shown.filter(pl.col(SHOWN) != pl.col(PANE)).with_columns(pl.col(SHOWN).alias(PANE))


def shown_as(fired: pl.DataFrame, floor_ms: int | None) -> pl.Expr:
    """Give what sinks have been shown once the sessions flagged in the one column have fired.

    Of one that begins before the floor that is nothing any more.
    """
    now = pl.concat_list(PANE)
    if floor_ms is not None:
        nothing = pl.lit([], dtype=pl.List(pl.Int64))
        now = pl.when(pl.col(PANE) >= floor_ms).then(now).otherwise(nothing)
    return pl.when(fired.to_series()).then(now).otherwise(pl.col(SHOWN)).alias(SHOWN)
