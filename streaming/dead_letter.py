"""Records that could not be read, as frames on their way to the dead-letter topic."""

import polars as pl

from streaming.decode import Decoded
from streaming.partial import RowError
from streaming.record_block import RecordBlock
from streaming.side_record import block_rows, side_records


def dead_letter_frame(block: RecordBlock, decoded: Decoded, errors: list[RowError]) -> pl.DataFrame:
    """Collect the bad records of a block.

    They are those that did not decode and those that an expression failed on.

    Args:
        block: The records.
        decoded: What became of them.
        errors: Failures by row of `decoded.rows`.

    Returns:
        One row per bad record, by offset; key and value as they came, `error` and `error_field`.
    """
    bad = [(dead.row, dead.error, dead.error_field) for dead in decoded.dead]
    if errors:
        rows = block_rows(block, decoded, [error.row for error in errors])
        bad += [(row, error.error, "") for row, error in zip(rows, errors, strict=True)]
    bad.sort()
    return side_records(
        block,
        [row for row, _, _ in bad],
        pl.Series("error", [error for _, error, _ in bad], pl.String),
        pl.Series("error_field", [field for _, _, field in bad], pl.String),
    )
