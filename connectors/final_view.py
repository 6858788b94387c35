"""The final view of sinks that keep every version of a row: files of the lake, records of a topic.

It also says how their targets remember the columns, since neither has a catalogue that could.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from activities.ports import FlushChunk, RetiredEvents, RetiredRows, SinkColumn, SinkTable
from common.errors import ContractViolationError
from connectors.sink_rows import arrow_type, order_columns
from contracts.field_type_parse import parse_field_type

_UUID = "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"


def column_texts(table: SinkTable) -> dict[str, str]:
    """Write the visible columns of a table as texts: name to type."""
    return {column.name: str(column.type) for column in table.columns}


def declared_columns(texts: dict[str, str]) -> tuple[SinkColumn, ...]:
    """Read columns that `column_texts` wrote."""
    return tuple(SinkColumn(name, parse_field_type(text)) for name, text in texts.items())


def row_schema(columns: tuple[SinkColumn, ...]) -> pa.Schema:
    """Give the Arrow schema of stored rows: the columns, then `_key`, `_version`, `_deleted`."""
    fields = [(column.name, arrow_type(column.type)) for column in columns]
    system = [("_key", pa.large_string()), ("_version", pa.int64()), ("_deleted", pa.bool_())]
    return pa.schema([*fields, *system])


def check_texts(name: str, columns: Sequence[SinkColumn], rows: pa.Table) -> None:
    """Refuse texts that are not of their column's type, as a typed database would.

    Raises:
        ContractViolationError: A UUID is none.
    """
    for column in columns:
        if column.type.base != "uuid":
            continue
        fits = pc.match_substring_regex(rows[column.name], _UUID)
        if pc.all(fits).as_py() is False:
            wrong = rows[column.name].filter(pc.invert(fits))[0].as_py()
            raise ContractViolationError(
                f"rows for `{name}`, column `{column.name}`: expected UUIDs, got `{wrong}`; "
                "correct the type in the pipeline file"
            )


def last_versions(rows: pa.Table, identity: tuple[str, ...]) -> pa.Table:
    """Keep of each identity the row of the highest version, tombstones too."""
    keys = [*identity, "_key"]
    numbered = pl.DataFrame(rows.select([*keys, "_version"])).with_row_index("_row")
    last = numbered.sort("_version").unique(keys, keep="last")["_row"].to_numpy()
    return rows.take(pa.array(last))


def retired(
    rows: pa.Table,
    identity: tuple[str, ...],
    chunk: FlushChunk,
    meant: RetiredRows | RetiredEvents,
) -> pa.Table:
    """Give tombstones, in a chunk's version, for what is left of the rows that are meant.

    Args:
        rows: All versions before the chunk's of the rows that may be meant.
        identity: Columns that with `_key` tell rows apart.
        chunk: The write that takes them back.
        meant: Which rows.
    """
    last = last_versions(rows, identity)
    since, before = meant.versions(chunk.epoch)
    versions = last["_version"]
    left = pc.and_(pc.greater_equal(versions, since), pc.less(versions, before))
    left = pc.and_(left, pc.invert(last["_deleted"]))
    if isinstance(meant, RetiredEvents):
        gone = last.filter(pc.and_(left, _in_spans(last, meant)))
    else:
        ends = last["window_end"].cast(pa.int64())
        ended = pc.and_(pc.greater(ends, meant.after_ms), pc.less_equal(ends, meant.until_ms))
        gone = last.filter(pc.and_(left, ended))
    system = {
        "_version": pa.array([chunk.version] * len(gone), pa.int64()),
        "_deleted": pa.array([True] * len(gone), pa.bool_()),
    }
    for name, values in system.items():
        gone = gone.set_column(gone.schema.get_field_index(name), name, values)
    return gone


def may_be_meant(
    rows: pa.Table, identity: tuple[str, ...], meant: RetiredRows | RetiredEvents
) -> pa.Table:
    """Leave out rows that cannot be meant in any version.

    Windows start where they start, and events by position stand where they stand; by an identity of
    their own they may have come from anywhere before.
    """
    if isinstance(meant, RetiredEvents):
        return rows.filter(_in_spans(rows, meant)) if identity else rows
    starts = rows[identity[0]].cast(pa.int64())
    above = pc.greater_equal(starts, meant.floor_ms)
    return rows.filter(pc.and_(above, pc.less(starts, meant.until_ms)))


def _in_spans(rows: pa.Table, meant: RetiredEvents) -> pa.Array:
    places = pl.DataFrame(rows.select(["_partition", "_offset"]))
    spans = pl.DataFrame(
        list(meant.spans), schema=dict.fromkeys(("number", "start", "stop"), pl.Int64), orient="row"
    )
    within = places.with_row_index("row").join_where(
        spans,
        pl.col("_partition").cast(pl.Int64) == pl.col("number"),
        pl.col("_offset") >= pl.col("start"),
        pl.col("_offset") < pl.col("stop"),
    )
    found = np.zeros(places.height, np.bool_)
    found[within["row"].to_numpy()] = True
    return pa.array(found)


def final_view(
    rows: pa.Table, identity: tuple[str, ...], limit: int | None, time: str = "window_start"
) -> pa.Table:
    """Keep of each identity the highest version, without tombstones, newest `time` first.

    Args:
        rows: All versions, in any order and repeated or not, as `row_schema` lays them out.
        identity: Columns that with `_key` tell rows apart.
        limit: Most rows to give; None is all.
        time: Column that says which time a row is about.

    Returns:
        The visible columns; nulls and then longer texts come last among equals.
    """
    kept = last_versions(rows, identity)
    kept = kept.filter(pc.invert(kept["_deleted"]))
    visible = [name for name in rows.schema.names if name not in ("_key", "_version", "_deleted")]
    order = [
        (name, "descending" if descending else "ascending")
        for name, descending in order_columns(visible, time)
        if not pa.types.is_list(rows.schema.field(name).type)
    ]
    places = pc.sort_indices(kept, sort_keys=[*order, ("_key", "ascending")])
    return kept.take(places[:limit]).select(visible)
