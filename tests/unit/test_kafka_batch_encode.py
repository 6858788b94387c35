import numpy as np
import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from connectors import kafka_batch, kafka_encode
from connectors.kafka_block import Fetched, RangeCursor
from connectors.kafka_compression import LZ4, NONE
from connectors.kafka_encode import encode_batch
from streaming.offset_range import OffsetRange
from streaming.record_block import RecordBlock

Row = tuple[int, bytes | None, bytes | None]
CONTENT = st.one_of(st.none(), st.binary(max_size=200), st.just(b"y" * 70_000))
ROWS = st.lists(st.tuples(st.integers(-(2**40), 2**42), CONTENT, CONTENT), min_size=1, max_size=20)


@pytest.fixture(scope="module", autouse=True)
def compiled_kernels() -> None:
    for module in (kafka_batch, kafka_encode):
        module.warm_up()


def block_of(rows: list[Row]) -> RecordBlock:
    content = b"".join((key or b"") + (value or b"") for _, key, value in rows)
    key_size = [-1 if key is None else len(key) for _, key, _ in rows]
    value_size = [-1 if value is None else len(value) for _, _, value in rows]
    taken = [max(key, 0) + max(value, 0) for key, value in zip(key_size, value_size, strict=True)]
    key_start = np.concatenate([[0], np.cumsum(taken)[:-1]]).astype(np.int64)
    return RecordBlock(
        topic="any",
        partition=0,
        buffer=np.frombuffer(content, np.uint8),
        offset=np.arange(len(rows), dtype=np.int64),
        timestamp_ms=np.array([time for time, _, _ in rows], np.int64),
        value_start=key_start + np.maximum(key_size, 0),
        value_size=np.array(value_size, np.int32),
        key_start=key_start,
        key_size=np.array(key_size, np.int32),
    )


def encode(rows: list[Row], batch_bytes: int, codec: int) -> list[bytes]:
    block, batches, row = block_of(rows), [], 0
    while row < len(block):
        batch, count = encode_batch(block, row, batch_bytes, codec)
        batches.append(row.to_bytes(8, "big") + batch.tobytes()[8:])
        row += count
    return batches


@pytest.mark.parametrize("codec", [NONE, LZ4])
@given(rows=ROWS, batch_bytes=st.sampled_from([1, 400, 1 << 20]))
def test_encoded_batches_are_read_back_by_both_parsers(
    rows: list[Row], batch_bytes: int, codec: int
) -> None:
    content = b"".join(encode(rows, batch_bytes, codec))
    cursor = RangeCursor(OffsetRange(topic="any", partition=0, start=0, stop=len(rows)))
    section = cursor.take(Fetched(memoryview(content), [], -1, -1))
    ours = [
        (int(block.timestamp_ms[row]), block.key(row), block.value(row))
        for block in section.blocks(1 << 20)
        for row in range(len(block))
    ]
    assert ours == rows
    assert cursor.complete
    parser, theirs = MemoryRecords(content), []
    while parser.has_next():
        batch = parser.next_batch()
        assert batch.validate_crc()
        theirs += [(record.offset, record.timestamp, record.key, record.value) for record in batch]
    assert theirs == [(offset, *row) for offset, row in enumerate(rows)]


def test_a_batch_stays_within_its_limit_unless_one_record_is_larger() -> None:
    rows: list[Row] = [*[(0, None, b"z" * 100)] * 50, (0, None, b"z" * 5000)]
    sizes = [len(batch) for batch in encode(rows, 1000, NONE)]
    assert all(size <= 1000 for size in sizes[:-1])
    assert sizes[-1] > 5000
