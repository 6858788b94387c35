"""Rows of a raw stream: every event that passes, with its position in the log and its identity."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl
from polars.exceptions import PolarsError

from contracts.field_type import FieldType
from pipelines.stream import ELEMENT, POSITION
from streaming.decode import OFFSET
from streaming.duplicate import BatchJudge, Duplicates
from streaming.group_key import MAX_KEY_BYTES, canonical_key, may_be_long
from streaming.ledger import Ledger
from streaming.partial import RowError, find_failures
from streaming.plan import StreamPlan

KEY, DELETED = "_key", "_deleted"
_EVENT_MS = "_event_ms"

_TOPIC, _PARTITION, _OFFSET = POSITION
_POSITION_TYPES = {
    _TOPIC: FieldType("string"),
    _PARTITION: FieldType("int32"),
    _OFFSET: FieldType("int64"),
}


@dataclass(frozen=True)
class RawRows:
    """What a batch of decoded events comes to.

    Attributes:
        frame: Rows in offset order: `raw_columns`, then `_key` and `_deleted`. With a declared
            identity each `_key` is there once, its last event.
        ledger: Counts without `consumed` and what the decoder dead-lettered; events that a later
            one of the same identity replaced are delivered too, or the counts would depend on cuts.
            Of an expanded record every row is counted.
        max_event_ms: Maximum event time over all events, also filtered ones; None without events.
        errors: Events that are dead letters, and counted so.
    """

    frame: pl.DataFrame
    ledger: Ledger
    max_event_ms: int | None
    errors: list[RowError] = field(default_factory=list)


def raw_columns(plan: StreamPlan) -> dict[str, FieldType]:
    """Give the columns that readers see: fields, derived columns, position.

    The event time is never null: a record without one is a dead letter.
    """
    columns = dict(plan.columns)
    at = plan.spec.event_time.field
    columns[at] = FieldType(columns[at].base)
    element = {ELEMENT: FieldType("int32")} if plan.steps.expands else {}
    return columns | _POSITION_TYPES | element


def raw_rows(
    plan: StreamPlan,
    events: pl.DataFrame,
    partition: int,
    duplicates: Duplicates | None = None,
    rows_from: int = 0,
) -> Iterator[RawRows]:
    """Filter, derive, expand and identify events, in parts that bound what lists are expanded to.

    An event counts once, where it falls first: a step fails, filtered, duplicate, below the offset
    from which on rows are written, its identity is one that no table can hold, delivered. Each row
    that it was expanded into counts so; if one of them cannot be held, none is.

    Args:
        plan: The compiled stream.
        events: Decoded events in offset order, with all declared fields and `_offset`.
        partition: The partition that all events come from.
        duplicates: Drops events that came before; None keeps all.
        rows_from: Events before this offset are in rows of an older epoch.
    """
    for part in plan.steps.cuts(_placed(plan, events, partition)):
        yield _part(plan, part, duplicates, rows_from)


def fitting(plan: StreamPlan, events: pl.DataFrame, partition: int, most: int) -> int:
    """Count the events, from the first on, that `raw_rows` gives in at most so many parts."""
    parts = plan.steps.cuts(_placed(plan, events, partition))
    return sum(part.height for part in itertools.islice(parts, most))


def _placed(plan: StreamPlan, events: pl.DataFrame, partition: int) -> pl.DataFrame:
    at = pl.col(plan.spec.event_time.field).dt.epoch("ms")
    return events.with_row_index("_row").with_columns(
        at.alias(_EVENT_MS),
        pl.lit(plan.spec.topic).alias(_TOPIC),
        pl.lit(partition, pl.Int32).alias(_PARTITION),
    )


def _part(
    plan: StreamPlan, rows: pl.DataFrame, duplicates: Duplicates | None, rows_from: int
) -> RawRows:
    maximum_ms: int | None = rows.select(pl.col(_EVENT_MS).max()).item()
    errors: list[RowError] = []
    try:
        passed = plan.steps.apply(rows)
    except PolarsError:
        find_failures(plan.steps.apply, rows, errors)
        rows = rows.filter(~pl.col("_row").is_in([error.row for error in errors]))
        passed = plan.steps.apply(rows)
    records = plan.steps.records(passed)
    judge = BatchJudge(duplicates, expands=plan.steps.expands)
    once = judge.drop(passed, _EVENT_MS)
    shown = once.filter(pl.col(OFFSET) >= rows_from)
    keys = _key_columns(plan)
    named = shown.with_columns(canonical_key(keys).alias(KEY), pl.lit(value=False).alias(DELETED))
    unfit = _unfit(plan, named, keys)
    fit = named.filter(~pl.col("_row").is_in([error.row for error in unfit])) if unfit else named
    duplicate, below = records - plan.steps.records(once), once.height - shown.height
    counts = Ledger(
        expanded=duplicate + below + fit.height + len(unfit) - records,
        delivered=fit.height,
        filtered=rows.height - records,
        duplicate=duplicate,
        below_floor=below,
        dead_lettered=len(errors) + len(unfit),
    )
    frame = fit.select(*raw_columns(plan), KEY, DELETED)
    if plan.spec.identity:
        frame = frame.unique(KEY, keep="last", maintain_order=True)
    return RawRows(frame, counts, maximum_ms, errors + unfit)


def _unfit(
    plan: StreamPlan, rows: pl.DataFrame, keys: tuple[tuple[str, FieldType], ...]
) -> list[RowError]:
    """Find the records with an identity that no table can hold, each once."""
    if not plan.spec.identity or not rows.select(may_be_long(keys).any()).item():
        return []
    long = pl.col(KEY).str.len_bytes()
    found = rows.filter(long > MAX_KEY_BYTES).select("_row", long).unique("_row", keep="first")
    names = ", ".join(f"`{name}`" for name in plan.spec.identity)
    return [
        RowError(row, f"identity {names}: expected at most {MAX_KEY_BYTES} bytes, got {size}")
        for row, size in found.sort("_row").iter_rows()
    ]


def _key_columns(plan: StreamPlan) -> tuple[tuple[str, FieldType], ...]:
    types = raw_columns(plan)
    position = (*POSITION, ELEMENT) if plan.steps.expands else POSITION
    return tuple((name, types[name]) for name in plan.spec.identity or position)
