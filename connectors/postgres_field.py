"""Fields: the values of one column as PostgreSQL sends and takes them, and kernels over them.

A column in binary form is a buffer with the place and length of every value. Fixed numbers, texts
and arrays all have that shape, so rows are put together and taken apart by one kernel each.
"""
# ruff: noqa: PLR0913
# A kernel takes its columns one by one and is one flat machine.

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from connectors import postgres_jit
from connectors.postgres_jit import (
    address,
    put_int,
    put_short,
    put_word,
    word_at,
)
from streaming import json_jit
from streaming.json_jit import (
    Bytes,
    byte_at,
    byte_pointer,
    entry,
    fingerprint,
    inlined,
    int_pointer,
    long_pointer,
)

Bytes8 = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]

NO_LEAD: Final = -1
JSONB_VERSION: Final = 1

_SOURCE = fingerprint(json_jit, postgres_jit)


@dataclass(frozen=True)
class Fields:
    """The values of one column, in order.

    Attributes:
        buffer: Bytes in which the values lie.
        start: Of every value in the buffer.
        size: Of every value in bytes; -1 is null.
        lead: A byte that is sent before every value, or NO_LEAD.
    """

    buffer: Bytes8
    start: Int64s
    size: Int32s
    lead: int = NO_LEAD

    def sent_bytes(self) -> int:
        """Bytes that the values and their lengths take."""
        present = int(np.count_nonzero(self.size >= 0))
        content = int(np.maximum(self.size, 0).sum(dtype=np.int64))
        return 4 * len(self.size) + content + (present if self.lead >= 0 else 0)


@inlined
def _put_field(target: Bytes, at: int, source: Bytes, start: int, size: int, lead: int) -> int:
    """Write length and bytes of a value; returns the place behind it."""
    if size < 0:
        put_int(target, at, -1)
        return at + 4
    if lead >= 0:
        put_int(target, at, size + 1)
        target[at + 4] = lead
        at += 5
    else:
        put_int(target, at, size)
        at += 4
    end = start + size
    while end - start >= 8:
        put_word(target, at, word_at(source, start))
        at += 8
        start += 8
    while start < end:
        target[at] = byte_at(source, start)
        at += 1
        start += 1
    return at


def _write_rows_kernel(source: str) -> Callable[..., int]:
    @entry
    def _write_rows(
        columns: int, count: int, source_at: int, start_at: int, size_at: int, lead_at: int, to: int
    ) -> int:
        sources, starts, sizes = (
            long_pointer(source_at),
            long_pointer(start_at),
            long_pointer(size_at),
        )
        leads, target = long_pointer(lead_at), byte_pointer(to)
        at = 0 * len(source)
        for row in range(count):
            put_short(target, at, columns)
            at += 2
            for column in range(columns):
                at = _put_field(
                    target,
                    at,
                    byte_pointer(sources[column]),
                    long_pointer(starts[column])[row],
                    int_pointer(sizes[column])[row],
                    leads[column],
                )
        return at

    return _write_rows


_write_rows = _write_rows_kernel(_SOURCE)


def write_rows(fields: list[Fields], target: Bytes8) -> None:
    """Write rows of columns, each row with its count of fields and each field with its length.

    Args:
        fields: Of every column, all of one count.
        target: Exactly as many bytes as the rows take.
    """
    tables = [
        np.array([address(one.buffer) for one in fields], np.int64),
        np.array([address(one.start) for one in fields], np.int64),
        np.array([address(one.size) for one in fields], np.int64),
        np.array([one.lead for one in fields], np.int64),
    ]
    count = len(fields[0].size) if fields else 0
    sources, starts, sizes, leads = (address(table) for table in tables)
    end = _write_rows(len(fields), count, sources, starts, sizes, leads, address(target))
    if end != len(target):
        raise AssertionError(f"rows of {len(target)} bytes took {end}")


def _write_arrays_kernel(source: str) -> Callable[..., int]:
    @entry
    def _write_arrays(
        count: int,
        offset_at: int,
        null_at: int,
        oid: int,
        source_at: int,
        start_at: int,
        item_size_at: int,
        lead: int,
        target_at: int,
        array_start_at: int,
        array_size_at: int,
    ) -> int:
        offsets, nulls, sent = (
            long_pointer(offset_at),
            byte_pointer(null_at),
            byte_pointer(source_at),
        )
        starts, item_sizes = long_pointer(start_at), int_pointer(item_size_at)
        target = byte_pointer(target_at)
        array_starts, array_sizes = long_pointer(array_start_at), int_pointer(array_size_at)
        at = 0 * len(source)
        for row in range(count):
            first, end = offsets[row], offsets[row + 1]
            array_starts[row] = at
            if nulls[row]:
                array_sizes[row] = -1
                continue
            has_null = 0
            for item in range(first, end):
                if item_sizes[item] < 0:
                    has_null = 1
            put_int(target, at, 1 if end > first else 0)
            put_int(target, at + 4, has_null)
            put_int(target, at + 8, oid)
            if end > first:
                put_int(target, at + 12, end - first)
                put_int(target, at + 16, 1)
            at += 20 if end > first else 12
            for item in range(first, end):
                at = _put_field(target, at, sent, starts[item], item_sizes[item], lead)
            array_sizes[row] = at - array_starts[row]
        return at

    return _write_arrays


_write_arrays = _write_arrays_kernel(_SOURCE)


def write_arrays(offsets: Int64s, nulls: Bytes8, items: Fields, oid: int) -> Fields:
    """Put items together to arrays of one dimension.

    Args:
        offsets: Of every array's first item, and the end of the last; counted from the first item.
        nulls: 1 for an array that is null.
        items: Of all arrays.
        oid: Number of the items' type.
    """
    count = len(nulls)
    target = np.empty(20 * count + items.sent_bytes(), np.uint8)
    start, size = np.empty(count, np.int64), np.empty(count, np.int32)
    _write_arrays(
        count, address(offsets), address(nulls), oid, address(items.buffer), address(items.start),
        address(items.size), items.lead, address(target), address(start), address(size),
    )  # fmt: skip
    return Fields(target, start, size)


def places(fields: Fields) -> tuple[int, int, int, int]:
    """Give a kernel's first arguments: where buffer, places and lengths lie, and how many."""
    return address(fields.buffer), address(fields.start), address(fields.size), len(fields.size)
