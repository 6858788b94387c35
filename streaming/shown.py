"""Which windows a merge shows, and what of each partial is then shown.

A partial is fresh until its windows were shown by their end. `CLOSED`, in streams with
`close_after`, tells of a fresh one that the clock has shown it as it is.
"""

import polars as pl

from streaming.early import Early
from streaming.partial import CLOSED, FRESH, SINCE, closes_by_clock
from streaming.plan import StreamPlan
from streaming.window import END_OF_TIME_MS

NEVER_MS = -END_OF_TIME_MS
"""A watermark below every event time."""


def ended(end_ms: pl.Expr, fire_ms: int | None) -> pl.Expr:
    """Tell which windows have ended; none before there is a watermark."""
    return end_ms <= (NEVER_MS if fire_ms is None else fire_ms)


def is_closed(plan: StreamPlan) -> pl.Expr:
    """Tell which partials the clock has closed in their present form."""
    return pl.col(CLOSED) if closes_by_clock(plan) else pl.col(FRESH) & ~pl.col(FRESH)


def is_unshown(plan: StreamPlan) -> pl.Expr:
    """Tell which partials hold data that no emission has shown."""
    return pl.col(FRESH) & ~is_closed(plan)


def shown_now(plan: StreamPlan, past: pl.Expr, early: Early | None) -> pl.Expr:
    """Tell which partials of one window each are shown.

    Args:
        plan: The compiled stream.
        past: Whether the window has ended.
        early: What is shown beside those.
    """
    if early is None:
        return pl.col(FRESH) & past
    if early.by_clock:
        return (pl.col(FRESH) & past) | (~past & ~pl.col(CLOSED))
    return (pl.col(FRESH) & past) | is_unshown(plan)


def state_after(plan: StreamPlan, past: pl.Expr, early: Early | None) -> list[pl.Expr]:
    """Give the columns that say what was shown, after `shown_now` was."""
    if early is not None and early.by_clock:
        return [(~past).alias(FRESH), (~past).alias(CLOSED)]
    left = ~past if early is None else ~past & is_closed(plan)
    columns = [(pl.col(FRESH) & left).alias(FRESH)]
    return [*columns, pl.col(CLOSED) & ~past] if closes_by_clock(plan) else columns


def panes_after(plan: StreamPlan, fire_ms: int | None, early: Early | None) -> list[pl.Expr]:
    """Give the columns of panes of sliding windows that say what was shown, after it was.

    A pane is fresh as long as one of its windows is to be shown when it ends; `SINCE` tells up to
    where they were.
    """
    end_ms = plan.windowing.end
    shown_ms = NEVER_MS if fire_ms is None else fire_ms
    past = end_ms <= shown_ms
    if early is not None and early.by_clock:
        since = pl.when(~past).then(pl.lit(shown_ms, dtype=pl.Int64)).alias(SINCE)
        done = pl.col(CLOSED) | (end_ms <= early.upto_ms)
        return [(~past).alias(FRESH), since, (~past & done).alias(CLOSED)]
    upto = pl.lit(shown_ms, dtype=pl.Int64)
    if early is not None:
        now_ms = max(shown_ms, early.upto_ms)
        upto = pl.when(is_closed(plan)).then(upto).otherwise(pl.lit(now_ms, dtype=pl.Int64))
    fresh = pl.col(FRESH) & (end_ms > upto)
    since = pl.when(fresh).then(pl.max_horizontal(SINCE, upto)).alias(SINCE)
    columns = [fresh.alias(FRESH), since]
    return [*columns, pl.col(CLOSED) & ~past] if closes_by_clock(plan) else columns
