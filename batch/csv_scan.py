"""Kernel that finds the records of CSV text: where they end, how many fields they have."""
# ruff: noqa: C901, PLR0912
# A kernel is one flat machine over bytes: every call and every cleverer comparison costs speed.

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from numba import njit

BLANK = 0
GOOD = 1
BEHIND_QUOTE = 2
UNCLOSED = 3

FAULTS = MappingProxyType(
    {
        BEHIND_QUOTE: "text behind a closing quote; a quote within quotes is written twice",
        UNCLOSED: "a quote that is never closed",
    }
)
"""What is wrong with a record, by its mark."""

_QUOTE, _LF, _CR = 34, 10, 13


@dataclass(frozen=True)
class Records:
    """Records at the beginning of a text; n is their number.

    Attributes:
        end: int64 (n), the first byte behind each record and its line end.
        fields: int32 (n), how many fields each has.
        mark: uint8 (n), `BLANK` of an empty line, `GOOD`, or what is wrong.
    """

    end: npt.NDArray[np.int64]
    fields: npt.NDArray[np.int32]
    mark: npt.NDArray[np.uint8]

    @property
    def size_bytes(self) -> int:
        """Length of all records together."""
        return int(self.end[-1]) if len(self.end) else 0


def find_records(text: npt.NDArray[np.uint8], delimiter: int, *, last: bool) -> Records:
    """Find the whole records of a text that begins with one.

    A quote opens a field only as its first byte; within quotes line ends and delimiters are text.
    LF, CR and CRLF end a record.

    Args:
        text: uint8, the bytes.
        delimiter: The byte between fields.
        last: Whether nothing follows the text, so that its end ends a record.
    """
    room = int(np.count_nonzero(text == _LF) + np.count_nonzero(text == _CR)) + 1
    end = np.empty(room, np.int64)
    fields = np.empty(room, np.int32)
    mark = np.empty(room, np.uint8)
    count = _scan(text, delimiter, last, end, fields, mark)
    return Records(end[:count], fields[:count], mark[:count])


@njit(cache=True, nogil=True)
def _scan(
    text: npt.NDArray[np.uint8],
    delimiter: int,
    last: bool,  # noqa: FBT001 (kernels take no keywords)
    end: npt.NDArray[np.int64],
    fields: npt.NDArray[np.int32],
    mark: npt.NDArray[np.uint8],
) -> int:
    size = len(text)
    count = 0
    at = 0
    while at < size:
        begin = at
        field_count = 1
        verdict = GOOD
        whole = False
        while not whole:
            if at < size and text[at] == _QUOTE:
                at += 1
                closed = False
                while at < size and not closed:
                    if text[at] != _QUOTE:
                        at += 1
                    elif at + 1 < size and text[at + 1] == _QUOTE:
                        at += 2
                    elif at + 1 == size and not last:
                        return count
                    else:
                        at += 1
                        closed = True
                if not closed:
                    if not last:
                        return count
                    verdict = UNCLOSED
                elif at < size and text[at] != delimiter and text[at] != _LF and text[at] != _CR:
                    verdict = BEHIND_QUOTE
            while at < size and text[at] != delimiter and text[at] != _LF and text[at] != _CR:
                at += 1
            if at < size and text[at] == delimiter:
                field_count += 1
                at += 1
                continue
            if at >= size and not last:
                return count
            whole = True
        if at == begin:
            verdict = BLANK
        if at < size:
            if text[at] == _CR:
                if at + 1 == size and not last:
                    return count
                if at + 1 < size and text[at + 1] == _LF:
                    at += 1
            at += 1
        end[count] = at
        fields[count] = field_count
        mark[count] = verdict
        count += 1
    return count


def warm_up() -> None:
    """Compile the kernel, or load it from the cache."""
    find_records(np.frombuffer(b"a\n", np.uint8), ord(","), last=True)
