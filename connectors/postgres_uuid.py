"""Kernels between the text of UUIDs and their 16 bytes."""

from collections.abc import Callable
from typing import Final

import numpy as np

from streaming import json_jit
from streaming.json_jit import (
    byte_at,
    byte_pointer,
    entry,
    fingerprint,
    int_pointer,
    long_pointer,
)

_SOURCE = fingerprint(json_jit)

UUID_BYTES: Final = 16
TEXT_BYTES: Final = 36
_PLAIN_BYTES: Final = 32
_HYPHEN: Final = 45
_GAPS = (1 << 4) | (1 << 6) | (1 << 8) | (1 << 10)
"""Bytes of a UUID before which its text has a hyphen."""

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8).copy()
_VALUES = np.full(256, 255, np.int64)
_VALUES[_DIGITS] = np.arange(16)
_VALUES[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)


def _write_uuids_kernel(source: str) -> Callable[..., int]:
    @entry
    def write_uuids(source_at: int, start_at: int, size_at: int, count: int, target_at: int) -> int:
        """Read texts of 36 or, without hyphens, 32 characters into 16 bytes each.

        Args:
            source_at: Bytes of the texts.
            start_at: int64 a text.
            size_at: int32 a text, negative for a null; becomes 16.
            count: Of texts.
            target_at: Gets 16 bytes a text.

        Returns:
            The first that is none, or -1.
        """
        sent, starts, sizes = byte_pointer(source_at), long_pointer(start_at), int_pointer(size_at)
        target = byte_pointer(target_at)
        for row in range(count):
            size, at = sizes[row], starts[row]
            if size < 0:
                continue
            if size not in (TEXT_BYTES, _PLAIN_BYTES):
                return row
            for index in range(UUID_BYTES):
                if size == TEXT_BYTES and (_GAPS >> index) & 1:
                    if byte_at(sent, at) != _HYPHEN:
                        return row
                    at += 1
                high, low = _VALUES[byte_at(sent, at)], _VALUES[byte_at(sent, at + 1)]
                if (high | low) > 15:
                    return row
                target[UUID_BYTES * row + index] = (high << 4) | low
                at += 2
            sizes[row] = UUID_BYTES
        return -1 + 0 * len(source)

    return write_uuids


write_uuids = _write_uuids_kernel(_SOURCE)
"""Read texts of 36 or, without hyphens, 32 characters into 16 bytes each."""


def _read_uuids_kernel(source: str) -> Callable[..., int]:
    @entry
    def read_uuids(source_at: int, start_at: int, size_at: int, count: int, target_at: int) -> int:
        """Write UUIDs as texts of 36 characters behind each other; returns their bytes.

        Args:
            source_at: Bytes as they came.
            start_at: int64 a value.
            size_at: int32 a value, negative for a null, which takes no bytes.
            count: Of values.
            target_at: Gets the texts.
        """
        sent, starts, sizes = byte_pointer(source_at), long_pointer(start_at), int_pointer(size_at)
        target = byte_pointer(target_at)
        at = 0 * len(source)
        for row in range(count):
            if sizes[row] < 0:
                continue
            for index in range(UUID_BYTES):
                if (_GAPS >> index) & 1:
                    target[at] = _HYPHEN
                    at += 1
                value = byte_at(sent, starts[row] + index)
                target[at] = _DIGITS[value >> 4]
                target[at + 1] = _DIGITS[value & 15]
                at += 2
        return at

    return read_uuids


read_uuids = _read_uuids_kernel(_SOURCE)
"""Write UUIDs as texts of 36 characters behind each other; returns their bytes."""
