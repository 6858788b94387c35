"""Kernels that write version 2 record batches from columns, without a Python object per record."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import int64, njit, uint64

from connectors import kafka_batch, kafka_crc
from connectors.kafka_batch import HEADER_BYTES, Bytes, Int32s, Int64s
from connectors.kafka_compression import LZ4, NONE, compress_lz4
from connectors.kafka_crc import crc32c
from streaming.json_jit import fingerprint
from streaming.record_block import RecordBlock

RECORD_OVERHEAD_BYTES: Final = 32
"""More than the varints of one record ever take."""

_SOURCE = fingerprint(kafka_batch, kafka_crc)


@njit(cache=True, nogil=True)
def _put(buffer: Bytes, at: int, value: int, size: int) -> None:
    for index in range(size):
        buffer[at + index] = (value >> (8 * (size - 1 - index))) & 0xFF


@njit(cache=True, nogil=True)
def _put_varint(buffer: Bytes, at: int, value: int) -> int:
    raw = (uint64(value) << uint64(1)) ^ uint64(int64(value) >> 63)
    while raw >= uint64(0x80):
        buffer[at] = (raw & uint64(0x7F)) | uint64(0x80)
        raw >>= uint64(7)
        at += 1
    buffer[at] = raw
    return at + 1


@njit(cache=True, nogil=True)
def _varint_size(value: int) -> int:
    raw = (uint64(value) << uint64(1)) ^ uint64(int64(value) >> 63)
    size = 1
    while raw >= uint64(0x80):
        raw >>= uint64(7)
        size += 1
    return size


@njit(cache=True, nogil=True)
def _put_slice(target: Bytes, at: int, source: Bytes, start: int, size: int) -> int:
    """Write length and bytes; -1 is null."""
    at = _put_varint(target, at, size)
    if size > 0:
        target[at : at + size] = source[start : start + size]
        at += size
    return at


def _counter(source: str) -> Callable[..., tuple[int, int]]:
    @njit(cache=True, nogil=True)
    def count_fitting(
        value_size: Int32s, key_size: Int32s, first: int, batch_bytes: int
    ) -> tuple[int, int]:
        """Count the records from `first` on that fit one batch; at least one."""
        size = HEADER_BYTES + 0 * len(source)
        for row in range(first, len(value_size)):
            size += RECORD_OVERHEAD_BYTES + max(value_size[row], 0) + max(key_size[row], 0)
            if size > batch_bytes and row > first:
                return row - first, size
        return len(value_size) - first, size

    return count_fitting


count_fitting = _counter(_SOURCE)
"""Count the records that fit one batch."""


@njit(cache=True, nogil=True)
def write_records(  # noqa: PLR0913 - one array per column
    target: Bytes,
    at: int,
    first: int,
    count: int,
    buffer: Bytes,
    timestamp: Int64s,
    value_start: Int64s,
    value_size: Int32s,
    key_start: Int64s,
    key_size: Int32s,
) -> int:
    """Write `count` records from row `first` on at `at`; returns the position after them."""
    base = timestamp[first]
    for index in range(count):
        row = first + index
        delta = timestamp[row] - base
        size = (
            2  # attributes, count of headers
            + _varint_size(delta)
            + _varint_size(index)
            + _varint_size(key_size[row])
            + max(key_size[row], 0)
            + _varint_size(value_size[row])
            + max(value_size[row], 0)
        )
        at = _put_varint(target, at, size)
        target[at] = 0
        at = _put_varint(target, at + 1, delta)
        at = _put_varint(target, at, index)
        at = _put_slice(target, at, buffer, key_start[row], key_size[row])
        at = _put_slice(target, at, buffer, value_start[row], value_size[row])
        target[at] = 0
        at += 1
    return at


def _header_writer(source: str) -> Callable[..., None]:
    @njit(cache=True, nogil=True)
    def write_header(
        target: Bytes, end: int, codec: int, count: int, base_timestamp: int, max_timestamp: int
    ) -> None:
        """Write the header of the records that end at `end`, checksum last; no producer id."""
        _put(target, 0, 0 * len(source), 8)  # base offset, set by the broker
        _put(target, 8, end - 12, 4)
        _put(target, 12, -1, 4)  # leader epoch
        target[16] = 2
        _put(target, 21, codec, 2)
        _put(target, 23, count - 1, 4)
        _put(target, 27, base_timestamp, 8)
        _put(target, 35, max_timestamp, 8)
        _put(target, 43, -1, 14)  # producer id, epoch, sequence
        _put(target, 57, count, 4)
        _put(target, 17, int(crc32c(target, 21, end)), 4)

    return write_header


write_header = _header_writer(_SOURCE)
"""Write a batch's header and checksum."""


def encode_batch(
    block: RecordBlock, first: int, batch_bytes: int, codec: int = NONE
) -> tuple[npt.NDArray[np.uint8], int]:
    """Encode as many records of a block as fit one batch, from row `first` on.

    Args:
        block: Columns of the records; its offsets are not used.
        first: Row of the first record, below the length of the block.
        batch_bytes: Limit before compression; one record may exceed it.
        codec: NONE or LZ4.

    Returns:
        (the batch, count of its records).
    """
    value_size, key_size = _column(block.value_size, np.int32), _column(block.key_size, np.int32)
    timestamp = _column(block.timestamp_ms, np.int64)
    count, bound = count_fitting(value_size, key_size, first, batch_bytes)
    target = np.empty(bound + HEADER_BYTES, np.uint8)
    end = write_records(
        target, HEADER_BYTES, first, count, _column(block.buffer, np.uint8), timestamp,
        _column(block.value_start, np.int64), value_size,
        _column(block.key_start, np.int64), key_size,
    )  # fmt: skip
    if codec == LZ4:
        packed = np.frombuffer(compress_lz4(target[HEADER_BYTES:end].data), np.uint8)
        target = np.concatenate([target[:HEADER_BYTES], packed])
        end = len(target)
    times = timestamp[first : first + count]
    write_header(target, end, codec, count, int(times[0]), int(times.max()))
    return target[:end], count


def _column(values: npt.NDArray[Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """View a column in the one form that the kernels are compiled for: contiguous and read-only."""
    column = np.ascontiguousarray(values, dtype).view()
    column.flags.writeable = False
    return column


def warm_up() -> None:
    """Compile the kernels, or load them from the cache; seconds the first time on a machine."""
    places, sizes = np.zeros(1, np.int64), np.zeros(1, np.int32)
    buffer = np.zeros(1, np.uint8)
    encode_batch(RecordBlock("", 0, buffer, places, places, places, sizes, places, sizes), 0, 1)
