"""Rows of PostgreSQL as blocks of a batch's source: in the fields' types, bad ones set aside."""

import polars as pl
import pyarrow as pa

from activities.etl_ports import SourceBlock
from batch.chunk import SourceShape
from batch.quarantine import content_of, quarantined
from connectors.postgres_copy_out import CopyBatch
from contracts.field_type_parse import parse_field_type


def block_of(
    batch: CopyBatch, schema: pa.Schema, shape: SourceShape, chunk: int, first: int
) -> SourceBlock:
    """Give the rows in the fields' types, and apart from them those with values of no field."""
    rows = batch.rows.cast(schema)
    if not batch.bad:
        return SourceBlock(rows)
    reasons: dict[int, tuple[str, str]] = {}
    for bad in batch.bad:
        for place in bad.rows.tolist():
            reason = f"expected a value of type {schema.field(bad.column).type}, got {bad.reason}"
            reasons.setdefault(place, (bad.column, reason))
    places = sorted(reasons)
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - for the type checker
    types = {name: parse_field_type(kind) for name, kind in shape.columns.items()}
    contents = content_of(frame[places], types)
    unreadable = quarantined(
        [
            {
                "chunk": chunk,
                "row": first + place,
                "check": "unreadable",
                "field": reasons[place][0],
                "reason": reasons[place][1],
                "content": content,
            }
            for place, content in zip(places, contents, strict=True)
        ]
    )
    keep = pa.array([place not in reasons for place in range(rows.num_rows)])
    return SourceBlock(rows.filter(keep), unreadable)
