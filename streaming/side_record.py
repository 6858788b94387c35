"""Records on their way to a side output: position, key and value as they came, and headers."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from streaming.decode import OFFSET, Decoded
from streaming.record_block import RecordBlock

SCHEMA = {
    "partition": pl.Int32,
    "offset": pl.Int64,
    "timestamp_ms": pl.Int64,
    "key": pl.Binary,
    "value": pl.Binary,
}
"""Columns that every side output has; each further one becomes a header of its name."""


def side_records(block: RecordBlock, rows: Sequence[int], *headers: pl.Series) -> pl.DataFrame:
    """Copy records out of a block.

    Args:
        block: The records.
        rows: Which ones.
        headers: Further columns, one value per row; each becomes a header of its name.
    """
    records = pl.DataFrame(
        {
            "partition": [block.partition] * len(rows),
            "offset": block.offset[rows] if rows else [],
            "timestamp_ms": block.timestamp_ms[rows] if rows else [],
            "key": [block.key(row) for row in rows],
            "value": [block.value(row) for row in rows],
        },
        schema=SCHEMA,
    )
    return records.hstack(list(headers))


def block_rows(block: RecordBlock, decoded: Decoded, rows: Sequence[int]) -> list[int]:
    """Give the place in the block of rows of `decoded.rows`."""
    offsets = decoded.rows[OFFSET].to_numpy()[np.asarray(rows, np.int64)]
    found: list[int] = np.searchsorted(block.offset, offsets).tolist()
    return found


def pieces(records: pl.DataFrame, most_rows: int, most_bytes: int) -> list[pl.DataFrame]:
    """Cut records into pieces that one transaction can take, in their order.

    Args:
        records: Frame of side records.
        most_rows: Rows of a piece.
        most_bytes: Bytes of keys and values above which a piece ends; a single record may have
            more.
    """
    sizes = records.select(
        pl.sum_horizontal(pl.col("key", "value").bin.size().fill_null(0).cast(pl.Int64))
    ).to_series()
    cuts, rows, total = [0], 0, 0
    for row, size in enumerate(sizes):
        if rows and (rows >= most_rows or total + size > most_bytes):
            cuts.append(row)
            rows = total = 0
        rows += 1
        total += size
    stops = [*cuts[1:], records.height]
    return [
        records.slice(start, stop - start)
        for start, stop in zip(cuts, stops, strict=True)
        if stop > start
    ]
