"""Rows of a batch in the lake: Parquet by day, and what readers see of all publications."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.batch_rows import HISTORY
from connectors.sink_rows import arrow_type
from contracts.field_type_parse import parse_field_type

NO_DAY = "no-day"
UNDIVIDED = "data"
_SEEN = "__"
"""Begins the names of columns that are computed beside the rows."""


@dataclass(frozen=True)
class PublishedRows:
    """The rows of one publication.

    Attributes:
        run: Its run; publications come in their order.
        moment_us: Dates its rows where they have no cursor.
    """

    run: int
    moment_us: int
    rows: pa.Table


def by_day(rows: pa.Table, column: str | None) -> dict[str, pa.Table]:
    """Divide rows by the day, in UTC, of a column; each part is named as its folder is."""
    if column is None:
        return {UNDIVIDED: rows} if rows.num_rows else {}
    days = rows[column].cast(pa.timestamp("us", "UTC")).cast(pa.date32(), safe=False)
    found = pc.unique(days).to_pylist()
    if len(found) == 1:
        return {str(found[0] or NO_DAY): rows}
    return {
        str(day or NO_DAY): rows.filter(pc.is_null(days) if day is None else pc.equal(days, day))
        for day in sorted(found, key=str)
    }


def encode(rows: pa.Table) -> tuple[bytes, str]:
    """Write Parquet; gives the content with its hash."""
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    content = buffer.getvalue()
    return content, hashlib.sha256(content).hexdigest()


def decode(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Read Parquet, all columns or some."""
    return pq.read_table(io.BytesIO(content), columns=columns and list(columns))


def schema_of(columns: dict[str, str]) -> pa.Schema:
    """Give the Arrow schema of columns by their types."""
    return pa.schema([(name, arrow_type(parse_field_type(kind))) for name, kind in columns.items()])


def aligned(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring rows into a schema; a column that they lack is null."""
    missing = {
        field.name: pa.nulls(rows.num_rows, field.type)
        for field in schema
        if field.name not in rows.schema.names
    }
    for name, values in missing.items():
        rows = rows.append_column(name, values)
    return rows.select(schema.names).cast(schema)


def repetitions(parts: Sequence[pa.Table], key: Sequence[str]) -> int:
    """Count the keys that occur more than once."""
    keys = pl.DataFrame(pa.concat_tables(parts)).group_by(key).len()
    return keys.filter(pl.col("len") > 1).height


def seen(
    mode: str,
    key: Sequence[str],
    cursor: str | None,
    schema: pa.Schema,
    published: Sequence[PublishedRows],
) -> pa.Table:
    """Give what readers see of publications in their order, ordered by all columns but lists."""
    parts = [aligned(one.rows, schema) for one in published]
    rows = pa.concat_tables([schema.empty_table(), *parts]).combine_chunks()
    marks = pl.DataFrame(
        {
            f"{_SEEN}run": [one.run for one in published for _ in range(one.rows.num_rows)],
            f"{_SEEN}moment": [
                one.moment_us for one in published for _ in range(one.rows.num_rows)
            ],
        },
        schema={f"{_SEEN}run": pl.Int64(), f"{_SEEN}moment": pl.Datetime("us", "UTC")},
    ).with_row_index(f"{_SEEN}row")
    if mode == "scd2":
        return _ordered(_history(rows, marks, key, cursor))
    if mode in ("merge", "insert_only"):
        named = [*key, cursor] if mode == "merge" and cursor else [*key]
        frame = marks.hstack(pl.DataFrame(rows.select(named)))
        order = [cursor] if mode == "merge" and cursor else []
        newest = [*order, f"{_SEEN}run"] if mode == "merge" else []
        frame = frame.sort([*newest, f"{_SEEN}row"], maintain_order=True)
        kept = frame.unique(key, keep="last" if mode == "merge" else "first", maintain_order=True)
        rows = rows.take(pa.array(kept[f"{_SEEN}row"].to_numpy()))
    return _ordered(rows)


def _history(
    rows: pa.Table, marks: pl.DataFrame, key: Sequence[str], cursor: str | None
) -> pa.Table:
    """Date each version by its successor; a version like the one before it is left out."""
    frame = marks.hstack(pl.DataFrame(rows))
    since = pl.col(f"{_SEEN}moment")
    if cursor is not None:
        dated = pl.col(cursor)
        if frame.schema[cursor] == pl.Date():
            dated = dated.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        since = pl.coalesce(dated.cast(pl.Datetime("us", "UTC")), since)
    first, to, _ = HISTORY
    order = [*key, first]
    frame = frame.with_columns(since.alias(first)).sort([*order, f"{_SEEN}run", f"{_SEEN}row"])
    frame = frame.unique(order, keep="last", maintain_order=True)
    told = [name for name in rows.schema.names if name not in (*key, cursor)]
    changed = pl.int_range(pl.len()).over(key) == 0
    for name in told:
        changed = changed | pl.col(name).ne_missing(pl.col(name).shift(1).over(key))
    frame = frame.filter(changed).with_columns(pl.col(first).shift(-1).over(key).alias(to))
    kept = rows.take(pa.array(frame[f"{_SEEN}row"].to_numpy()))
    ends = pa.chunked_array([frame[to].to_arrow()])
    for name, values in zip(
        HISTORY, (frame[first].to_arrow(), ends, pc.is_null(ends)), strict=True
    ):
        kept = kept.append_column(name, values)
    return kept


def _ordered(rows: pa.Table) -> pa.Table:
    plain = [field.name for field in rows.schema if not pa.types.is_list(field.type)]
    places = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in plain])
    return rows.take(places)
