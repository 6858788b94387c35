"""Kernels that take apart what PostgreSQL sent: rows into fields, arrays into items."""
# ruff: noqa: C901, PLR0913
# A kernel is one flat machine and takes its columns one by one.

from collections.abc import Callable

from connectors import postgres_jit
from connectors.postgres_jit import int_at, long_at, put_word, short_at, word_at
from streaming import json_jit
from streaming.json_jit import (
    byte_at,
    byte_pointer,
    entry,
    fingerprint,
    int_pointer,
    long_pointer,
)

_SOURCE = fingerprint(json_jit, postgres_jit)

ROWS_DONE, MORE_NEEDED, AT_TRAILER, WRONG_COUNT, WRONG_LENGTH = range(5)


def _split_rows_kernel(source: str) -> Callable[..., tuple[int, int, int]]:
    @entry
    def split_rows(
        source_at: int,
        at: int,
        end: int,
        columns: int,
        row: int,
        row_limit: int,
        byte_limit: int,
        start_at: int,
        size_at: int,
    ) -> tuple[int, int, int]:
        """Note place and length of every field of whole rows.

        Args:
            source_at: Bytes as they came.
            at: Where a row begins.
            end: Behind the last byte.
            columns: Of every row.
            row: Rows noted before.
            row_limit: Rows at which to stop.
            byte_limit: Place at which to stop, behind the row that reaches it.
            start_at: Gets int64 places, `row_limit` a column.
            size_at: Gets int32 lengths, `row_limit` a column; -1 is null.

        Returns:
            (rows noted, place behind them, why it stopped).
        """
        sent, starts, sizes = byte_pointer(source_at), long_pointer(start_at), int_pointer(size_at)
        begin = at
        while True:
            if row == row_limit or at >= byte_limit:
                return row, at, ROWS_DONE
            begin = at
            if end - at < 2:
                return row, begin, MORE_NEEDED
            found = short_at(sent, at)
            if found == -1:
                return row, begin, AT_TRAILER
            if found != columns:
                return row, begin, WRONG_COUNT + 0 * len(source)
            at += 2
            for column in range(columns):
                if end - at < 4:
                    return row, begin, MORE_NEEDED
                size = int_at(sent, at)
                at += 4
                if size < -1:
                    return row, begin, WRONG_LENGTH
                if size > 0 and end - at < size:
                    return row, begin, MORE_NEEDED
                starts[column * row_limit + row] = at
                sizes[column * row_limit + row] = size
                if size > 0:
                    at += size
            row += 1

    return split_rows


split_rows = _split_rows_kernel(_SOURCE)
"""Note place and length of every field of whole rows."""


def _count_items_kernel(source: str) -> Callable[..., int]:
    @entry
    def count_items(
        source_at: int, start_at: int, size_at: int, count: int, oid: int, length_at: int
    ) -> int:
        """Count the items of arrays.

        Args:
            source_at: Bytes as they came.
            start_at: int64 a value.
            size_at: int32 a value; negative for a null.
            count: Of values.
            oid: Expected type of the items.
            length_at: Gets int32 a value: the count, -1 for a null, -2 for more than one
                dimension, -3 for anything else.

        Returns:
            The items of all.
        """
        sent, starts, sizes = byte_pointer(source_at), long_pointer(start_at), int_pointer(size_at)
        lengths = int_pointer(length_at)
        total = 0 * len(source)
        for row in range(count):
            at = starts[row]
            if sizes[row] < 0:
                lengths[row] = -1
            elif sizes[row] < 12 or int_at(sent, at + 8) != oid:
                lengths[row] = -3
            elif int_at(sent, at) > 1:
                lengths[row] = -2
            elif int_at(sent, at) == 0:
                lengths[row] = 0
            elif sizes[row] < 20 or int_at(sent, at + 12) * 4 + 20 > sizes[row]:
                lengths[row] = -3
            else:
                lengths[row] = int_at(sent, at + 12)
                total += lengths[row]
        return total

    return count_items


count_items = _count_items_kernel(_SOURCE)
"""Count the items of arrays."""


def _split_arrays_kernel(source: str) -> Callable[..., int]:
    @entry
    def split_arrays(
        source_at: int,
        start_at: int,
        size_at: int,
        count: int,
        length_at: int,
        to: int,
        to_size: int,
    ) -> int:
        """Note place and length of every item of counted arrays; returns how many are broken.

        Args:
            source_at: Bytes as they came.
            start_at: int64 an array.
            size_at: int32 an array.
            count: Of arrays.
            length_at: What `count_items` noted.
            to: Gets int64 an item.
            to_size: Gets int32 an item.
        """
        sent, starts, sizes = byte_pointer(source_at), long_pointer(start_at), int_pointer(size_at)
        lengths, items, item_sizes = int_pointer(length_at), long_pointer(to), int_pointer(to_size)
        item, broken = 0, 0 * len(source)
        for row in range(count):
            at, end = starts[row] + 20, starts[row] + sizes[row]
            for _ in range(lengths[row]):
                size = int_at(sent, at) if end - at >= 4 else -2
                at += 4
                if size < -1 or (size > 0 and end - at < size):
                    broken += 1
                    size = -1
                    end = at
                items[item], item_sizes[item] = at, size
                at += max(size, 0)
                item += 1
        return broken

    return split_arrays


split_arrays = _split_arrays_kernel(_SOURCE)
"""Note place and length of every item of counted arrays; returns how many are broken."""


def _gather_longs_kernel(source: str) -> Callable[..., int]:
    @entry
    def gather_longs(source_at: int, start_at: int, size_at: int, count: int, to: int) -> int:
        """Read eight bytes a value; 0 for a null."""
        sent, starts, sizes = byte_pointer(source_at), long_pointer(start_at), int_pointer(size_at)
        target = long_pointer(to)
        for row in range(count):
            target[row] = long_at(sent, starts[row]) if sizes[row] >= 0 else 0
        return len(source)

    return gather_longs


gather_longs = _gather_longs_kernel(_SOURCE)
"""Read eight bytes a value; 0 for a null."""


def _gather_ints_kernel(source: str) -> Callable[..., int]:
    @entry
    def gather_ints(source_at: int, start_at: int, size_at: int, count: int, to: int) -> int:
        """Read four bytes a value; 0 for a null."""
        sent, starts, sizes = byte_pointer(source_at), long_pointer(start_at), int_pointer(size_at)
        target = int_pointer(to)
        for row in range(count):
            target[row] = int_at(sent, starts[row]) if sizes[row] >= 0 else 0
        return len(source)

    return gather_ints


gather_ints = _gather_ints_kernel(_SOURCE)
"""Read four bytes a value; 0 for a null."""


def _gather_bytes_kernel(source: str) -> Callable[..., int]:
    @entry
    def gather_bytes(source_at: int, start_at: int, size_at: int, count: int, to: int) -> int:
        """Copy values behind each other; returns their bytes."""
        sent, starts, sizes = byte_pointer(source_at), long_pointer(start_at), int_pointer(size_at)
        target = byte_pointer(to)
        at = 0 * len(source)
        for row in range(count):
            start, end = starts[row], starts[row] + sizes[row]
            while end - start >= 8:
                put_word(target, at, word_at(sent, start))
                at += 8
                start += 8
            while start < end:
                target[at] = byte_at(sent, start)
                at += 1
                start += 1
        return at

    return gather_bytes


gather_bytes = _gather_bytes_kernel(_SOURCE)
"""Copy values behind each other; returns their bytes."""
