"""Kernels over the bytes of a record set: walk version 2 batches, check them, find records.

Layout: Apache Kafka, "Record Batch" of the message format documentation. A kernel never trusts a
length: everything is checked against the end of its batch, so a damaged batch ends in a status, not
in a wild read.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import int64, njit, uint64

from connectors import kafka_crc
from connectors.kafka_crc import crc32c
from streaming.json_jit import fingerprint

HEADER_BYTES: Final = 61
"""Bytes of a batch before its first record."""

POSITION, END, BASE_OFFSET, LAST_OFFSET, ATTRIBUTES, PRODUCER_ID = range(6)
BASE_TIMESTAMP, MAX_TIMESTAMP, RECORD_COUNT, MARKER = range(6, 10)
BATCH_COLUMNS: Final = 10
"""Columns of the table of `scan_batches`; MARKER is the type of a control record, else -1."""

COMPRESSION_MASK: Final = 0x07
LOG_APPEND_TIME: Final = 0x08
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20
ABORT_MARKER: Final = 0

OK, BAD_CHECKSUM, BAD_LENGTH, OLD_FORMAT = range(4)

Bytes = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def _int16(buffer: Bytes, at: int) -> int:
    value = (int64(buffer[at]) << 8) | int64(buffer[at + 1])
    return int(value - 0x10000 if value >= 0x8000 else value)


@njit(cache=True, nogil=True)
def _int32(buffer: Bytes, at: int) -> int:
    value = int64(0)
    for index in range(at, at + 4):
        value = (value << 8) | int64(buffer[index])
    return int(value - 0x100000000 if value >= 0x80000000 else value)


@njit(cache=True, nogil=True)
def _int64(buffer: Bytes, at: int) -> int:
    value = int64(0)
    for index in range(at, at + 8):
        value = (value << 8) | int64(buffer[index])
    return int(value)


@njit(cache=True, nogil=True)
def _varint(buffer: Bytes, at: int, end: int) -> tuple[int, int]:
    """Read a zigzag varint: (value, next position); position -1 when it does not end in time."""
    raw = uint64(0)
    shift = uint64(0)
    while at < end and shift < uint64(70):
        byte = uint64(buffer[at])
        at += 1
        raw |= (byte & uint64(0x7F)) << shift
        if byte < uint64(0x80):
            return int(int64(raw >> uint64(1)) ^ -int64(raw & uint64(1))), at
        shift += uint64(7)
    return 0, -1


@njit(cache=True, nogil=True)
def count_batches(buffer: Bytes) -> tuple[int, int]:
    """Count the batches that lie whole in the buffer; returns (count, position after them)."""
    position, count, size = 0, 0, len(buffer)
    while position + 12 <= size:
        length = _int32(buffer, position + 8)
        if length < 0 or position + 12 + length > size:
            break
        position += 12 + length
        count += 1
    return count, position


def _scanner(source: str) -> Callable[..., tuple[int, int]]:
    @njit(cache=True, nogil=True)
    def scan_batches(buffer: Bytes, table: Int64s) -> tuple[int, int]:
        """Fill one row of `table` per whole batch and check its checksum.

        Returns:
            (status, rows): rows before the first batch that cannot be read; all of them when the
            status is OK.
        """
        position = 0 * len(source)
        for row in range(len(table)):
            end = position + 12 + _int32(buffer, position + 8)
            table[row, POSITION] = position
            table[row, END] = end
            table[row, BASE_OFFSET] = _int64(buffer, position)
            if end - position <= 16:
                return BAD_LENGTH, row
            if buffer[position + 16] < 2:
                return OLD_FORMAT, row
            if end - position < HEADER_BYTES or buffer[position + 16] > 2:
                return BAD_LENGTH, row
            if crc32c(buffer, position + 21, end) != uint64(_int32(buffer, position + 17)) & uint64(
                0xFFFFFFFF
            ):
                return BAD_CHECKSUM, row
            attributes = _int16(buffer, position + 21)
            table[row, LAST_OFFSET] = table[row, BASE_OFFSET] + _int32(buffer, position + 23)
            table[row, ATTRIBUTES] = attributes
            table[row, BASE_TIMESTAMP] = _int64(buffer, position + 27)
            table[row, MAX_TIMESTAMP] = _int64(buffer, position + 35)
            table[row, PRODUCER_ID] = _int64(buffer, position + 43)
            table[row, RECORD_COUNT] = _int32(buffer, position + 57)
            table[row, MARKER] = -1
            if attributes & CONTROL:
                table[row, MARKER] = _marker_type(buffer, position + HEADER_BYTES, end)
            position = end
        return OK, len(table)

    return scan_batches


scan_batches = _scanner(fingerprint(kafka_crc))
"""List the batches of a record set, see `scan`."""


@njit(cache=True, nogil=True)
def _marker_type(buffer: Bytes, at: int, end: int) -> int:
    """Read the type in the key of a control record: 0 abort, 1 commit, -1 none."""
    _, at = _varint(buffer, at, end)
    at = at + 1 if at >= 0 else end
    _, at = _varint(buffer, at, end)
    _, at = _varint(buffer, at if at >= 0 else end, end)
    size, at = _varint(buffer, at if at >= 0 else end, end)
    if at < 0 or size < 4 or at + 4 > end:
        return -1
    return _int16(buffer, at + 2)


@njit(cache=True, nogil=True)
def find_records(  # noqa: PLR0913 - one array per column
    buffer: Bytes,
    spans: Int64s,
    start: int,
    stop: int,
    offset: Int64s,
    timestamp: Int64s,
    value_start: Int64s,
    value_size: Int32s,
    key_start: Int64s,
    key_size: Int32s,
) -> tuple[int, int]:
    """Find the records with `start <= offset < stop` in the record sections of batches.

    Args:
        buffer: uint8, holds the sections, uncompressed.
        spans: int64, one row per batch: first byte, end, base offset, base timestamp, 1 if the
            records' timestamp deltas count or 0 if not (log-append time), record count.
        start: First offset wanted.
        stop: Offset after the last one wanted.
        offset: Output, as are the columns after it; each as long as all record counts together.
        timestamp: Output.
        value_start: Output.
        value_size: Output.
        key_start: Output.
        key_size: Output.

    Returns:
        (rows written, row of the damaged batch or -1).
    """
    row = 0
    for batch in range(len(spans)):
        at, section_end = spans[batch, 0], spans[batch, 1]
        base_offset, base_timestamp, own_time = spans[batch, 2], spans[batch, 3], spans[batch, 4]
        for _ in range(spans[batch, 5]):
            length, at = _varint(buffer, at, section_end)
            if at < 0 or length < 1 or length > section_end - at:
                return row, batch
            end = at + length
            timestamp_delta, at = _varint(buffer, at + 1, end)
            if at < 0:
                return row, batch
            offset_delta, at = _varint(buffer, at, end)
            if at < 0:
                return row, batch
            key_length, at = _varint(buffer, at, end)
            if at < 0 or key_length > end - at:
                return row, batch
            key_at = at
            at += max(key_length, 0)
            value_length, at = _varint(buffer, at, end)
            if at < 0 or value_length > end - at:
                return row, batch
            position = base_offset + offset_delta
            if start <= position < stop:
                offset[row] = position
                timestamp[row] = base_timestamp + own_time * timestamp_delta
                key_start[row] = key_at
                key_size[row] = key_length if key_length >= 0 else -1
                value_start[row] = at
                value_size[row] = value_length if value_length >= 0 else -1
                row += 1
            at = end
    return row, -1


def scan(buffer: Bytes) -> tuple[Int64s, int, int]:
    """List the whole batches of a record set.

    Returns:
        (table, status, rows): one row of BATCH_COLUMNS per whole batch; rows before the first
        unreadable one.
    """
    count, _ = count_batches(buffer)
    table = np.zeros((count, BATCH_COLUMNS), np.int64)
    status, rows = scan_batches(buffer, table)
    return table, int(status), int(rows)


def warm_up() -> None:
    """Compile the kernels, or load them from the cache; seconds the first time on a machine."""
    buffer = np.zeros(HEADER_BYTES, np.uint8)
    buffer.flags.writeable = False
    scan(buffer)
    places, sizes = np.empty(0, np.int64), np.empty(0, np.int32)
    spans = np.zeros((1, 6), np.int64)
    find_records(buffer, spans, 0, 1, places, places, places, sizes, places, sizes)
