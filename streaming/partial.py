"""Decoded events into partial aggregates per (pane, key)."""

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl
from polars.exceptions import PolarsError

from streaming.ledger import Ledger
from streaming.plan import StreamPlan
from streaming.window import PANE

FRESH = "_fresh"
"""Column that says whether a partial holds data that no emission has shown yet."""


@dataclass(frozen=True)
class RowError:
    """An event that an expression could not compute; `row` counts within the frame."""

    row: int
    error: str


@dataclass(frozen=True)
class RangePartial:
    """What a batch of decoded events comes to.

    Attributes:
        frame: Partials, one row per (pane, key).
        ledger: Counts without `consumed` and what the decoder dead-lettered.
        max_event_ms: Maximum event time over all events, also filtered and late ones; None without
            events.
        errors: Events whose expressions failed; they are dead letters and counted so.
    """

    frame: pl.DataFrame
    ledger: Ledger
    max_event_ms: int | None
    errors: list[RowError] = field(default_factory=list)


def aggregate_events(
    plan: StreamPlan, events: pl.DataFrame, watermark_ms: int | None
) -> RangePartial:
    """Filter, derive, judge lateness and aggregate.

    Args:
        plan: The compiled stream.
        events: Decoded events, one row each, with the event time column of type Datetime(ms, UTC).
        watermark_ms: The watermark pinned in the range's input; lateness is judged against it
            alone.
    """
    rows = events.with_row_index("_row").with_columns(
        pl.col(plan.spec.event_time.field).dt.epoch("ms").alias("_event_ms")
    )
    maximum_ms: int | None = rows.select(pl.col("_event_ms").max()).item()
    errors: list[RowError] = []
    try:
        frame, ledger = _aggregate(plan, rows, watermark_ms)
    except PolarsError:
        _find_failures(lambda part: _compute(plan, part), rows, errors)
        rows = rows.filter(~pl.col("_row").is_in([error.row for error in errors]))
        frame, ledger = _aggregate(plan, rows, watermark_ms)
    return RangePartial(
        frame=frame,
        ledger=ledger.plus(Ledger(dead_lettered=len(errors))),
        max_event_ms=maximum_ms,
        errors=errors,
    )


def _aggregate(
    plan: StreamPlan, rows: pl.DataFrame, watermark_ms: int | None
) -> tuple[pl.DataFrame, Ledger]:
    kept = rows if plan.where is None else rows.filter(plan.where)
    filtered = rows.height - kept.height
    kept = _derive(plan, kept).with_columns(plan.windowing.pane_of(pl.col("_event_ms")).alias(PANE))
    late = 0
    if watermark_ms is not None:
        closed_ms = watermark_ms - plan.spec.late.allowed_ms - plan.windowing.size_ms
        on_time = kept.filter(pl.col(PANE) > closed_ms)
        late = kept.height - on_time.height
        kept = on_time
    ledger = Ledger(aggregated=kept.height, filtered=filtered, late=late)
    return start_partials(plan, kept), ledger


def start_partials(plan: StreamPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Group events that carry their pane into fresh partials, in a fixed order."""
    starts = [expression for aggregate in plan.aggregates for expression in aggregate.start()]
    return (
        rows.group_by(PANE, *plan.key_names)
        .agg(*starts)
        .with_columns(pl.lit(value=True).alias(FRESH))
        .sort(PANE, *plan.key_names)
    )


def merge_partials(plan: StreamPlan, frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Merge partials of the same (pane, key); fresh if any of them is."""
    if len(frames) == 1:
        return frames[0]
    merges = [expression for aggregate in plan.aggregates for expression in aggregate.merge()]
    return (
        pl.concat(frames)
        .group_by(PANE, *plan.key_names)
        .agg(*merges, pl.col(FRESH).any())
        .sort(PANE, *plan.key_names)
    )


def _derive(plan: StreamPlan, rows: pl.DataFrame) -> pl.DataFrame:
    for name, expression in plan.derived:
        rows = rows.with_columns(expression.alias(name))
    return rows


def _compute(plan: StreamPlan, part: pl.DataFrame) -> None:
    """Evaluate every expression that can fail on a single event."""
    if plan.where is not None:
        part = part.filter(plan.where)
    inputs = [expression for aggregate in plan.aggregates for expression in aggregate.inputs()]
    _derive(plan, part).select(inputs)


def _find_failures(
    attempt: Callable[[pl.DataFrame], None], rows: pl.DataFrame, errors: list[RowError]
) -> None:
    """Halve until the failing rows stand alone."""
    if rows.is_empty():
        return
    try:
        attempt(rows)
    except PolarsError as error:
        if rows.height == 1:
            text = str(error).splitlines()[0]
            errors.append(RowError(int(rows["_row"][0]), text))
            return
        half = rows.height // 2
        _find_failures(attempt, rows.head(half), errors)
        _find_failures(attempt, rows.tail(rows.height - half), errors)
