"""Blocks of records out of plain bytes."""

import numpy as np

from streaming.record_block import RecordBlock


def sizes_of(texts: list[bytes | None]) -> list[int]:
    return [-1 if text is None else len(text) for text in texts]


def block_of(
    records: list[tuple[bytes | None, bytes | None]],
    offsets: list[int] | None = None,
    *,
    partition: int = 0,
) -> RecordBlock:
    """Make a block of (key, value) records; offsets are 0, 1, … unless told."""
    texts = [text for pair in records for text in pair]
    sizes = np.array(sizes_of(texts), np.int32)
    starts = np.cumsum([0, *np.maximum(sizes, 0)], dtype=np.int64)[:-1]
    offset = np.array(range(len(records)) if offsets is None else offsets, np.int64)
    return RecordBlock(
        topic="events", partition=partition,
        buffer=np.frombuffer(b"".join(text or b"" for text in texts), np.uint8),
        offset=offset, timestamp_ms=offset * 10,
        value_start=starts[1::2].copy(), value_size=sizes[1::2].copy(),
        key_start=starts[0::2].copy(), key_size=sizes[0::2].copy(),
    )  # fmt: skip
