"""Records that could not be read, as frames on their way to the dead-letter topic."""

import polars as pl

from streaming.decode import Decoded
from streaming.partial import RowError
from streaming.record_block import RecordBlock

SCHEMA = {
    "partition": pl.Int32,
    "offset": pl.Int64,
    "timestamp_ms": pl.Int64,
    "key": pl.Binary,
    "value": pl.Binary,
    "error": pl.String,
    "error_field": pl.String,
}


def dead_letter_frame(block: RecordBlock, decoded: Decoded, errors: list[RowError]) -> pl.DataFrame:
    """Collect the bad records of a block.

    They are those that did not decode and those that an expression failed on.

    Args:
        block: The records.
        decoded: What became of them.
        errors: Failures by row of `decoded.rows`.

    Returns:
        One row per bad record, by offset; key and value as they came.
    """
    bad = [(dead.row, dead.error, dead.error_field) for dead in decoded.dead]
    if errors:
        rows = {int(offset): row for row, offset in enumerate(block.offset)}
        offsets = decoded.rows["_offset"]
        bad += [(rows[offsets[error.row]], error.error, "") for error in errors]
    letters = [
        (
            block.partition,
            int(block.offset[row]),
            int(block.timestamp_ms[row]),
            block.key(row),
            block.value(row),
            error,
            error_field,
        )
        for row, error, error_field in sorted(bad)
    ]
    return pl.DataFrame(letters, schema=SCHEMA, orient="row")
