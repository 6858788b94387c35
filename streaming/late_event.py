"""Events that came after their windows, as frames on their way to the topic named in `late.to`."""

import polars as pl

from streaming.decode import Decoded
from streaming.partial import EVENT_MS, LATE_BY_MS, ROW
from streaming.record_block import RecordBlock
from streaming.side_record import block_rows, side_records


def late_event_frame(block: RecordBlock, decoded: Decoded, late: pl.DataFrame) -> pl.DataFrame:
    """Collect the late events of a block.

    Args:
        block: The records.
        decoded: What became of them.
        late: Frame of `LATE_SCHEMA` by row of `decoded.rows`.

    Returns:
        One row per late event, by offset; key and value as they came, `event_time` (UTC, ISO 8601
        with milliseconds) and `late_by_ms`.
    """
    late = late.sort(ROW)
    at = pl.from_epoch(late[EVENT_MS], "ms").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    rows = block_rows(block, decoded, late[ROW].to_list())
    return side_records(block, rows, at.alias("event_time"), late[LATE_BY_MS])
