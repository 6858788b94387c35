"""Decoded events into partial aggregates per (pane, key)."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl
from polars.exceptions import PolarsError

from common.errors import UserFunctionError
from streaming.aggregate import PARTITION
from streaming.duplicate import BatchJudge, Duplicates
from streaming.group_key import may_be_long, outside_time, refusal
from streaming.ledger import Ledger
from streaming.plan import StreamPlan
from streaming.resource import RowsRefusedError
from streaming.session import group_stretches, merge_sessions
from streaming.window import PANE, SessionWindowing

FRESH = "_fresh"
"""Column that says whether a partial holds data that no emission has shown yet."""

CLOSED = "_closed"
"""Column of streams with `close_after`: whether the clock has closed the windows of a partial that
have not ended, in their present form."""

ROW = "row"
EVENT_MS = "event_ms"
LATE_BY_MS = "late_by_ms"
LATE_SCHEMA = {ROW: pl.Int64, EVENT_MS: pl.Int64, LATE_BY_MS: pl.Int64}
"""Late events of a batch: place in the batch, event time, and how far the watermark had passed."""
SINCE = "_since"
"""Column of sliding windows: those that ended at or before it are not fired again for a fresh
partial, because its events came too late for them; null when it is not fresh."""

_EVER = -(2**62)


@dataclass(frozen=True)
class RowError:
    """An event that an expression could not compute, or whose group no table can hold.

    Attributes:
        row: Place of the event in the frame.
        error: Why, in words for an operator.
    """

    row: int
    error: str


@dataclass(frozen=True)
class RangePartial:
    """What a batch of decoded events comes to.

    Attributes:
        frame: Partials, one row per (pane, key), or per (session, key).
        ledger: Counts without `consumed` and what the decoder dead-lettered.
        max_event_ms: Maximum event time over all events, also filtered and late ones; None without
            events.
        errors: Events that are dead letters, and counted so.
        late: Events that are late, and counted so; columns as `LATE_SCHEMA`, rows of the frame.
    """

    frame: pl.DataFrame
    ledger: Ledger
    max_event_ms: int | None
    errors: list[RowError] = field(default_factory=list)
    late: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LATE_SCHEMA))


@dataclass(frozen=True)
class _Split:
    """Rows after all steps: those on time with their pane, the late records, counts."""

    kept: pl.DataFrame
    late: pl.DataFrame
    ledger: Ledger


@dataclass(frozen=True)
class _Judges:
    """What decides which events are aggregated, for one part of a batch."""

    watermark_ms: int | None
    floor_ms: int | None
    duplicates: BatchJudge


def aggregate_events(
    plan: StreamPlan,
    events: pl.DataFrame,
    watermark_ms: int | None,
    partition: int = 0,
    floor_ms: int | None = None,
    duplicates: Duplicates | None = None,
) -> RangePartial:
    """Filter, derive, judge lateness and aggregate.

    An event counts once, where it falls first: a step fails, filtered, duplicate, late, below the
    floor, an aggregate's argument fails or its group is one that no table can hold. All rows that
    it was expanded into fall together, but for those that a condition leaves out.

    Args:
        plan: The compiled stream.
        events: Decoded events, one row each, with the event time column of type Datetime(ms, UTC)
            and, for `first` and `last`, `_offset`.
        watermark_ms: The watermark pinned in the range's input; lateness is judged against it
            alone.
        partition: The partition that all events come from.
        floor_ms: An event before this window boundary has windows of an older epoch only, and is
            looked at where it tells that a session began before it; None where a stream was not
            rewound.
        duplicates: Drops events that came before; None keeps all.
    """
    rows = events.with_row_index("_row").with_columns(
        pl.col(plan.spec.event_time.field).dt.epoch("ms").alias("_event_ms"),
        pl.lit(partition, dtype=pl.Int32).alias(PARTITION),
    )
    expands = plan.steps.expands
    parts = [
        _aggregate(
            plan, part, _Judges(watermark_ms, floor_ms, BatchJudge(duplicates, expands=expands))
        )
        for part in plan.steps.cuts(rows)
    ]
    return _joined(plan, parts)


def _joined(plan: StreamPlan, parts: list[RangePartial]) -> RangePartial:
    """Put the parts of one batch together."""
    if len(parts) == 1:
        return parts[0]
    maxima = [part.max_event_ms for part in parts if part.max_event_ms is not None]
    return RangePartial(
        frame=merge_partials(plan, [part.frame for part in parts]),
        ledger=functools.reduce(Ledger.plus, (part.ledger for part in parts)),
        max_event_ms=max(maxima, default=None),
        errors=[error for part in parts for error in part.errors],
        late=pl.concat([part.late for part in parts]),
    )


def _aggregate(plan: StreamPlan, rows: pl.DataFrame, judges: _Judges) -> RangePartial:
    maximum_ms: int | None = rows.select(pl.col("_event_ms").max()).item()
    errors: list[RowError] = []
    try:
        split = _split(plan, rows, judges)
        frame = start_partials(plan, split.kept)
    except PolarsError:
        rows, errors = _set_apart(plan, rows, judges)
        split = _split(plan, rows, judges)
        frame = start_partials(plan, split.kept)
    unfit = _once(_unfit(plan, frame, split.kept))
    if unfit:
        errors += unfit
        split = _split(plan, _without(rows, unfit), judges)
        frame = start_partials(plan, split.kept)
    if plan.windowing.slides:
        watermark_ms = judges.watermark_ms
        since_ms = _EVER if watermark_ms is None else watermark_ms - plan.spec.late.allowed_ms
        frame = frame.with_columns(pl.lit(since_ms, dtype=pl.Int64).alias(SINCE))
    return RangePartial(
        frame=frame,
        ledger=split.ledger.plus(Ledger(dead_lettered=len(errors))),
        max_event_ms=maximum_ms,
        errors=errors,
        late=split.late,
    )


def _set_apart(
    plan: StreamPlan, rows: pl.DataFrame, judges: _Judges
) -> tuple[pl.DataFrame, list[RowError]]:
    """Part the records that can be computed from those that cannot."""
    errors: list[RowError] = []
    find_failures(plan.steps.apply, rows, errors)
    try:
        on_time = _split(plan, _without(rows, errors), judges).kept
    except PolarsError as error:
        if not plan.steps.calls:
            raise
        raise UserFunctionError(
            f"{error}; it fails on rows together that it computes one by one, and must compute "
            "each row by itself"
        ) from error
    find_failures(lambda part: part.select(_inputs(plan)), on_time, errors)
    errors = _once(errors)
    return _without(rows, errors), errors


def _split(plan: StreamPlan, rows: pl.DataFrame, judges: _Judges) -> _Split:
    """Apply the steps, and part duplicates, late events and those below the floor from others."""
    watermark_ms, floor_ms = judges.watermark_ms, judges.floor_ms
    passed = plan.steps.apply(rows)
    filtered = rows.height - plan.steps.records(passed)
    once = judges.duplicates.drop(passed, "_event_ms")
    kept = plan.windowing.assign(once, "_event_ms")
    late = pl.DataFrame(schema=LATE_SCHEMA)
    if watermark_ms is not None:
        closed_ms = watermark_ms - plan.spec.late.allowed_ms
        late_by = closed_ms - plan.windowing.end
        late = kept.filter(late_by >= 0).select(
            pl.col("_row").cast(pl.Int64).alias(ROW),
            pl.col("_event_ms").alias(EVENT_MS),
            late_by.alias(LATE_BY_MS),
        )
        kept = kept.filter(late_by < 0)
        if plan.steps.expands:  # all rows of a record have its time
            late = late.unique(ROW, keep="first", maintain_order=True)
    records = plan.steps.records(kept)
    if floor_ms is not None:
        kept = kept.filter(pl.col("_event_ms") >= plan.windowing.reads_from(floor_ms))
    shown = kept if floor_ms is None else kept.filter(pl.col("_event_ms") >= floor_ms)
    left = plan.steps.records(shown)
    counts = Ledger(
        expanded=shown.height - left,
        aggregated=shown.height,
        filtered=filtered,
        duplicate=plan.steps.records(passed) - plan.steps.records(once),
        late=late.height,
        below_floor=records - left,
    )
    return _Split(kept, late, counts)


def _without(rows: pl.DataFrame, errors: list[RowError]) -> pl.DataFrame:
    return rows.filter(~pl.col("_row").is_in([error.row for error in errors]))


def _once(errors: list[RowError]) -> list[RowError]:
    """Keep the first error of each record; of an expanded one several rows can fail."""
    return list({error.row: error for error in reversed(errors)}.values())[::-1]


def _unfit(plan: StreamPlan, groups: pl.DataFrame, kept: pl.DataFrame) -> list[RowError]:
    """Find the events of groups that no table can hold; only the few groups are looked at first."""
    window = (plan.windowing.start, plan.windowing.end)
    if not groups.select((may_be_long(plan.keys) | outside_time(*window)).any()).item():
        return []
    found = kept.select("_row", refusal(plan.keys, *window).alias("_error")).drop_nulls()
    return [RowError(row, error) for row, error in found.iter_rows()]


def start_partials(plan: StreamPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Group events that carry their pane into fresh partials, in a fixed order."""
    prepared = [column for aggregate in plan.aggregates for column in aggregate.prepare(rows)]
    rows = rows.with_columns(prepared) if prepared else rows
    starts = [expression for aggregate in plan.aggregates for expression in aggregate.start()]
    windows = plan.windowing
    if isinstance(windows, SessionWindowing):
        groups = group_stretches(plan, windows, rows, starts)
    else:
        groups = rows.group_by(PANE, *plan.key_names).agg(*_carried(plan), *starts)
    told = [pl.lit(value=True).alias(FRESH), *_opened(plan)]
    fresh = _settle(plan, groups).with_columns(told)
    if isinstance(windows, SessionWindowing):
        fresh = merge_sessions(plan, windows, fresh, _news(plan))
    return fresh.sort(PANE, *plan.key_names)


def merge_partials(plan: StreamPlan, frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Merge partials of the same (pane, key) or session; fresh if any of them is."""
    if len(frames) == 1:
        return frames[0]
    merges = [expression for aggregate in plan.aggregates for expression in aggregate.merge()]
    news = _news(plan)
    if plan.windowing.slides:
        news.append(pl.col(SINCE).min())
    if isinstance(plan.windowing, SessionWindowing):
        sessions = merge_sessions(plan, plan.windowing, pl.concat(frames), news)
        return sessions.sort(PANE, *plan.key_names)
    groups = pl.concat(frames).group_by(PANE, *plan.key_names).agg(*_carried(plan), *merges, *news)
    return _settle(plan, groups).sort(PANE, *plan.key_names)


def _carried(plan: StreamPlan) -> list[pl.Expr]:
    return [pl.col(name).max() for name in plan.windowing.carried]


def closes_by_clock(plan: StreamPlan) -> bool:
    """Tell whether partials say that the clock has closed them."""
    return plan.spec.event_time.close_after_ms is not None


def _news(plan: StreamPlan) -> list[pl.Expr]:
    """Merge what partials say of what was shown."""
    closed = [pl.col(CLOSED).all()] if closes_by_clock(plan) else []
    return [pl.col(FRESH).any(), *closed]


def _opened(plan: StreamPlan) -> list[pl.Expr]:
    return [pl.lit(value=False).alias(CLOSED)] if closes_by_clock(plan) else []


def _settle(plan: StreamPlan, groups: pl.DataFrame) -> pl.DataFrame:
    """Bring what was only collected into the one form that its group has."""
    settled = [column for aggregate in plan.aggregates for column in aggregate.settle(groups)]
    return groups.with_columns(settled) if settled else groups


def _inputs(plan: StreamPlan) -> list[pl.Expr]:
    return [expression for aggregate in plan.aggregates for expression in aggregate.inputs()]


def find_failures(
    attempt: Callable[[pl.DataFrame], pl.DataFrame], rows: pl.DataFrame, errors: list[RowError]
) -> None:
    """Halve until the failing rows stand alone; they are told by their `_row`."""
    if rows.is_empty():
        return
    try:
        attempt(rows)
    except RowsRefusedError as refused:
        found = [RowError(record, text) for record, text in refused.records.items()]
        errors += found
        find_failures(attempt, _without(rows, found), errors)
    except PolarsError as error:
        if rows.height == 1:
            text = str(error).splitlines()[0]
            errors.append(RowError(int(rows["_row"][0]), text))
            return
        half = rows.height // 2
        find_failures(attempt, rows.head(half), errors)
        find_failures(attempt, rows.tail(rows.height - half), errors)
