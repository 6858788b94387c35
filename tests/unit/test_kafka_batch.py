import contextlib

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FatalError, RetryableError
from connectors import kafka_batch, kafka_crc
from connectors.kafka_block import Fetched, RangeCursor
from connectors.kafka_crc import crc32c, crc32c_by_table
from streaming.offset_range import OffsetRange
from streaming.record_block import RecordBlock
from tests.unit.kafka_batch_bytes import COMPRESSION, Record, batch_bytes, marker_bytes

CONTENT = st.one_of(st.none(), st.binary(max_size=300), st.just(b"x" * 70_000))
HEADERS = st.lists(
    st.tuples(st.text(max_size=9), st.one_of(st.none(), st.binary(max_size=9))), max_size=2
)
TIMESTAMP = st.integers(-(2**40), 2**42)


@pytest.fixture(scope="module", autouse=True)
def compiled_kernels() -> None:
    for module in (kafka_batch, kafka_crc):
        module.warm_up()
    crc32c_by_table(np.frombuffer(b"", np.uint8), 0, 0)


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[list[Record], str, int, int]]:
    """Batches of a compacted log: (records, compression, base offset, last offset)."""
    offset = draw(st.integers(0, 2**40))
    batches = []
    for _ in range(draw(st.integers(0, 5))):
        base = offset = offset + draw(st.integers(0, 3))
        records = []
        for _ in range(draw(st.integers(0, 6))):
            offset += draw(st.integers(0, 3))
            records.append(
                Record(offset, draw(TIMESTAMP), draw(CONTENT), draw(CONTENT), draw(HEADERS))
            )
            offset += 1
        last = max(offset - 1, base) + draw(st.integers(0, 3))
        batches.append((records, draw(st.sampled_from(sorted(COMPRESSION))), base, last))
        offset = last + 1
    return batches


def log_bytes(batches: list[tuple[list[Record], str, int, int]]) -> list[bytes]:
    return [
        batch_bytes(records, compression=compression, base_offset=base, last_offset=last)
        for records, compression, base, last in batches
    ]


def span(start: int, stop: int) -> OffsetRange:
    return OffsetRange(topic="sales", partition=3, start=start, stop=stop)


def fetched(content: bytes, aborted: list[tuple[int, int]] | None = None) -> Fetched:
    return Fetched(memoryview(content), aborted or [], -1, -1)


def rows(blocks: list[RecordBlock]) -> list[tuple[int, int, bytes | None, bytes | None]]:
    return [
        (int(block.offset[row]), int(block.timestamp_ms[row]), block.key(row), block.value(row))
        for block in blocks
        for row in range(len(block))
    ]


def read(
    content: bytes,
    start: int = 0,
    stop: int = 2**62,
    aborted: list[tuple[int, int]] | None = None,
    block_bytes: int = 1 << 20,
) -> list[tuple[int, int, bytes | None, bytes | None]]:
    section = RangeCursor(span(start, stop)).take(fetched(content, aborted))
    return rows(list(section.blocks(block_bytes)))


@given(logs(), st.data())
def test_any_cut_of_a_log_gives_exactly_its_records(
    batches: list[tuple[list[Record], str, int, int]], draw: st.DataObject
) -> None:
    end = batches[-1][3] + 2 if batches else 2
    first = batches[0][2] if batches else 0
    start = draw.draw(st.integers(max(first - 1, 0), end))
    stop = draw.draw(st.integers(start, end))
    block_bytes = draw.draw(st.sampled_from([1, 100, 1000, 1 << 20]))
    got = read(b"".join(log_bytes(batches)), start, stop, block_bytes=block_bytes)
    assert got == [
        (record.offset, record.timestamp_ms, record.key, record.value)
        for records, _, _, _ in batches
        for record in records
        if start <= record.offset < stop
    ]


@given(logs(), st.data())
def test_a_partial_batch_at_the_end_is_left_for_the_next_fetch(
    batches: list[tuple[list[Record], str, int, int]], draw: st.DataObject
) -> None:
    parts = log_bytes(batches)
    content = b"".join(parts)
    size = draw.draw(st.integers(0, len(content)))
    whole = 0
    while whole < len(parts) and sum(map(len, parts[: whole + 1])) <= size:
        whole += 1
    cursor = RangeCursor(span(0, 2**62))
    section = cursor.take(fetched(content[:size]))
    assert cursor.position == (batches[whole - 1][3] + 1 if whole else 0)
    assert section.size_bytes == sum(map(len, parts[:whole]))
    assert [row[0] for row in rows(list(section.blocks(1 << 20)))] == [
        record.offset for records, _, _, _ in batches[:whole] for record in records
    ]


@given(st.data())
def test_a_flipped_bit_is_noticed(draw: st.DataObject) -> None:
    records = [Record(offset, offset, b"key", b"value") for offset in range(4)]
    content = bytearray(
        batch_bytes(records, compression=draw.draw(st.sampled_from(["none", "lz4"])))
    )
    content[draw.draw(st.integers(17, len(content) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(RetryableError, match=r"batch at offset 0 of sales-3.*checksum"):
        read(bytes(content))


@given(st.binary(max_size=400), st.integers(0, 5))
def test_records_that_do_not_fit_their_batch_are_refused_not_read(junk: bytes, count: int) -> None:
    good = batch_bytes([Record(0, 0, b"k", b"v")])
    body = good[21:57] + (count + 1).to_bytes(4, "big") + junk
    head = good[:8] + (len(body) + 9).to_bytes(4, "big") + good[12:17]
    content = head + calc_crc32c(body).to_bytes(4, "big") + body
    with contextlib.suppress(RetryableError):
        assert len(read(content)) <= count + 1


def test_an_old_message_format_is_refused_for_good() -> None:
    content = bytearray(batch_bytes([Record(7, 0, None, b"v")]))
    content[16] = 1
    with pytest.raises(FatalError, match="offset 7 of sales-3: expected message format 2"):
        read(bytes(content))


def test_bytes_that_do_not_decompress_are_refused() -> None:
    content = batch_bytes([Record(0, 0, None, b"v")], attributes=4)
    with pytest.raises(RetryableError, match="expected it to decompress"):
        read(content)


def test_log_append_time_is_the_time_of_the_whole_batch() -> None:
    records = [Record(0, 5, None, b"a"), Record(1, 9, None, b"b")]
    content = batch_bytes(records) + batch_bytes(
        [Record(2, 5, None, b"c"), Record(3, 6, None, b"d")], attributes=8, max_timestamp_ms=77
    )
    blocks = list(RangeCursor(span(0, 9)).take(fetched(content)).blocks(1 << 20))
    assert [(block.log_append_time, block.timestamp_ms.tolist()) for block in blocks] == [
        (False, [5, 9]),
        (True, [77, 77]),
    ]


@pytest.mark.parametrize(
    ("last", "complete"), [(8, False), (9, True), (10, True)], ids=["before", "at", "beyond"]
)
def test_a_range_is_complete_when_its_last_offset_was_passed(last: int, complete: bool) -> None:
    cursor = RangeCursor(span(5, 10))
    cursor.take(fetched(b""))
    assert (cursor.position, cursor.complete) == (5, False)
    cursor.take(fetched(batch_bytes([Record(6, 0, None, b"v")], last_offset=last)))
    assert cursor.complete is complete


def test_a_batch_that_starts_after_stop_completes_a_range_of_gaps() -> None:
    cursor = RangeCursor(span(5, 10))
    section = cursor.take(fetched(batch_bytes([Record(40, 0, None, b"v")])))
    assert cursor.complete
    assert list(section.blocks(1 << 20)) == []


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("dpca")), max_size=25), st.data())
def test_only_committed_transactions_are_seen(
    steps: list[tuple[int, str]], draw: st.DataObject
) -> None:
    # A producer writes data in a transaction, plain data, commits or aborts.
    content, offsets = [], []
    opened: dict[int, list[int]] = {}
    expected: set[int] = set()
    aborted: list[tuple[int, int, int]] = []
    for offset, (producer, step) in enumerate(steps):
        offsets.append(offset)
        record = [Record(offset, 0, None, b"v")]
        if step == "d":
            opened.setdefault(producer, []).append(offset)
            content.append(batch_bytes(record, attributes=0x10, producer_id=producer))
        elif step == "p":
            expected.add(offset)
            content.append(batch_bytes(record))
        else:
            mine = opened.pop(producer, [])
            if step == "c":
                expected.update(mine)
            elif mine:
                aborted.append((producer, mine[0], offset))
            content.append(marker_bytes(offset, producer, commit=step == "c"))
    stable = min((mine[0] for mine in opened.values()), default=len(steps))
    start = draw.draw(st.integers(0, stable))
    reaching = [(producer, first) for producer, first, last in aborted if last >= start]
    draw.draw(st.randoms()).shuffle(reaching)
    got = read(b"".join(content[start:stable]), 0, stable, aborted=reaching)
    assert [row[0] for row in got] == sorted(o for o in expected if start <= o < stable)


@given(st.binary(max_size=200), st.integers(0, 9), st.integers(0, 9))
def test_both_checksums_are_castagnoli(content: bytes, skip: int, drop: int) -> None:
    buffer = np.frombuffer(content, np.uint8)
    start = min(skip, len(content))
    end = max(start, len(content) - drop)
    expected = calc_crc32c(content[start:end])
    assert int(crc32c(buffer, start, end)) == expected
    assert int(crc32c_by_table(buffer, start, end)) == expected


@given(
    st.lists(st.tuples(TIMESTAMP, CONTENT, CONTENT, HEADERS), min_size=1, max_size=8),
    st.integers(0, 4),
)
def test_batches_of_aiokafka_are_read(
    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]],
    compression: int,
) -> None:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=compression, is_transactional=0, producer_id=-1,
        producer_epoch=-1, base_sequence=-1, batch_size=1 << 30,
    )  # fmt: skip
    for row, (timestamp, key, value, headers) in enumerate(records):
        builder.append(row * 2, timestamp, key, value, headers)
    assert read(bytes(builder.build())) == [
        (row * 2, timestamp, key, value) for row, (timestamp, key, value, _) in enumerate(records)
    ]
