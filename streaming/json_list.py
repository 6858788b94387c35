"""Lists in records: their elements become records of their own, so that one kernel decodes both."""
# ruff: noqa: PLR0913
# A kernel is one flat machine over bytes: every call and every cleverer comparison costs speed.

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from streaming import json_code, json_jit, json_text
from streaming.json_code import MAX_DEPTH
from streaming.json_column import Bytes, Longs
from streaming.json_jit import (
    byte_at,
    byte_pointer,
    entry,
    fingerprint,
    int_pointer,
    long_pointer,
)
from streaming.json_text import CLOSE_BRACKET, skip_space, skip_value

ELEMENT = "v"
_FRAME = np.frombuffer(bytearray(b'{"v":}'), dtype=np.uint8)
GROWTH = 4
"""An element of n bytes takes n + 1 in its list and n + 6 as a record: up to 3.5 times as many."""


def _wrapper(source: str) -> Callable[..., int]:
    @entry
    def wrap(
        text_address: int, at_address: int, length_address: int, list_count: int,
        frame_address: int, stack_address: int,
        into_address: int, start_address: int, size_address: int, count_address: int,
    ) -> int:  # fmt: skip
        text = byte_pointer(text_address)
        list_at = long_pointer(at_address)
        list_size = long_pointer(length_address)
        frame = byte_pointer(frame_address)
        stack = byte_pointer(stack_address)
        into = byte_pointer(into_address)
        start = long_pointer(start_address)
        size = int_pointer(size_address)
        count = long_pointer(count_address)
        written = 0
        element = 0 * len(source)
        for row in range(list_count):
            count[row] = 0
            end = list_at[row] + list_size[row]
            at = list_at[row] + 1
            while at < end:
                at = skip_space(text, at, end)
                if at >= end or byte_at(text, at) == CLOSE_BRACKET:
                    break
                after, _ = skip_value(text, at, end, stack, 1)
                start[element] = written
                for i in range(5):
                    into[written + i] = frame[i]
                written += 5
                for i in range(at, after):
                    into[written] = byte_at(text, i)
                    written += 1
                into[written] = frame[5]
                written += 1
                size[element] = written - start[element]
                element += 1
                count[row] += 1
                at = skip_space(text, after, end) + 1
        return element

    return wrap


_wrap = _wrapper(fingerprint(json_code, json_jit, json_text))


def wrap_elements(
    text: Bytes, list_at: Longs, list_size: Longs
) -> tuple[Bytes, Longs, npt.NDArray[np.int32], Longs]:
    """Write every element of some lists as a record `{"v":element}`.

    Args:
        text: The block's bytes.
        list_at: First byte of each list; the lists were checked by the kernel.
        list_size: Length of each list in bytes; 0 for a null.

    Returns:
        The records' bytes, their starts and sizes, and the number of elements per list.
    """
    byte_count = int(list_size.sum())
    into = np.empty(GROWTH * byte_count, dtype=np.uint8)
    start = np.empty(byte_count, dtype=np.int64)
    size = np.empty(byte_count, dtype=np.int32)
    count = np.empty(len(list_at), dtype=np.int64)
    stack = np.zeros(MAX_DEPTH + 2, dtype=np.uint8)
    elements = _wrap(
        text.ctypes.data, list_at.ctypes.data, list_size.ctypes.data, len(list_at),
        _FRAME.ctypes.data, stack.ctypes.data, into.ctypes.data,
        start.ctypes.data, size.ctypes.data, count.ctypes.data,
    )  # fmt: skip
    return into, start[:elements].copy(), size[:elements].copy(), count
